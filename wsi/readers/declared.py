"""The size that a compressed picture declares, read from its own header before anything is decoded."""

from __future__ import annotations

import struct

_SOF = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) px that a JPEG or JPEG 2000 stream says it holds; None where the header is not understood."""
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        siz = data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
        if siz >= 0:
            right, bottom, left, top = struct.unpack_from(">4I", data, siz + 8)
            return right - left, bottom - top
    except (struct.error, IndexError):
        pass
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data):
        marker = data[at + 1]
        if marker in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None
