"""What a compressed picture declares of itself, read from its own header before anything is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

Bytes = bytes | mmap

_JXL_BOX = b"\0\0\0\x0cJXL \r\n\x87\n"
_JP2_BOX = b"\0\0\0\x0cjP  \r\n\x87\n"
_J2K = b"\xff\x4f\xff\x51"
# Start-of-frame markers: all of C0 to CF but the tables (C4, CC) and an extension (C8).
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
# Markers that stand alone: restarts, start of image, one for private use.
_BARE = frozenset(range(0xD0, 0xD9)) | {0x01}


def kind_of(data: Bytes) -> str | None:
    """By the first bytes: "jpeg", "png", "jp2", "webp", "bmp" or "jxl"; None for anything else."""
    head = bytes(data[:16])
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((_JP2_BOX, _J2K)):
        return "jp2"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"\xff\x0a", _JXL_BOX)):
        return "jxl"
    # Two letters are no proof: the size of the header that follows is one of few.
    if head.startswith(b"BM") and struct.unpack("<I", head[14:16].ljust(4, b"\0"))[0] in (12, 40, 52, 56, 64, 108, 124):
        return "bmp"
    return None


def declared_size(data: Bytes) -> tuple[int, int] | None:
    """(width, height) px that the picture says it holds, as its decoder would believe it; nothing is decoded.

    None where the header is of no known kind, ends too early or states no size.
    """
    kind = kind_of(data)
    if kind is None:
        return None
    readers = {"jpeg": _jpeg, "png": _png, "jp2": _jp2, "webp": _webp, "bmp": _bmp, "jxl": _jxl}
    try:
        size = readers[kind](data)
    except (struct.error, IndexError):
        return None
    return size if size is not None and min(size) > 0 else None


def held_whole(data: Bytes) -> bool:
    """A JPEG or PNG whose rows come several times over (progressive, interlaced): decoders hold all of it."""
    if kind_of(data) == "png":
        return bytes(data[28:29]) == b"\1"
    return any(marker in _PROGRESSIVE for marker, _ in jpeg_segments(data))


def jpeg_segments(data: Bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length field) of a JPEG's segments, up to the start of the pixel data."""
    at, end = 2, len(data)
    while at + 4 <= end:
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)  # as libjpeg does: it passes over what is no marker
            if at < 0:
                return
            continue
        marker = data[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):
            return
        yield marker, at + 2
        length = int(struct.unpack(">H", data[at + 2 : at + 4])[0])
        if length < 2:
            return
        at += 2 + length


def boxes(data: Bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end of the content) of the top boxes of a JPEG 2000 or JPEG XL file."""
    at, end = 0, len(data)
    while at + 8 <= end:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        start = at + 8
        if length == 1:
            length, start = int(struct.unpack(">Q", data[start : start + 8])[0]), at + 16
        stop = end if length == 0 else at + length
        if stop < start:
            return
        yield kind, start, min(stop, end)
        at = stop


def codestream_of(data: Bytes) -> int:
    """Offset of the JPEG 2000 codestream in a file with or without boxes. Raises IndexError where there is none."""
    if bytes(data[:4]) == _J2K:
        return 0
    return next((start for kind, start, _ in boxes(data) if kind == b"jp2c"), len(data))


def samples_of(data: Bytes) -> tuple[int, int] | None:
    """(bits, channels) of a JPEG's or JPEG 2000's samples; None where signed, unlike each other or not understood."""
    try:
        if kind_of(data) == "jpeg":
            at = next(at for marker, at in jpeg_segments(data) if marker in _SOF)
            return data[at + 2], data[at + 7]
        at = codestream_of(data) + 40
        channels = int(struct.unpack(">H", data[at : at + 2])[0])
        each = {bytes(data[at + 2 + 3 * i : at + 5 + 3 * i]) for i in range(min(channels, 8))}
    except (StopIteration, struct.error, IndexError):
        return None
    depth, *steps = each.pop() if len(each) == 1 else b"\xff"
    return None if depth & 0x80 or steps != [1, 1] else (depth + 1, channels)


def _jpeg(data: Bytes) -> tuple[int, int] | None:
    for marker, at in jpeg_segments(data):
        if marker in _SOF:
            height, width = struct.unpack(">HH", data[at + 3 : at + 7])
            return width, height
    return None


def _png(data: Bytes) -> tuple[int, int] | None:
    kind, width, height = struct.unpack(">4sII", data[12:24])
    return (width, height) if kind == b"IHDR" else None


def _bmp(data: Bytes) -> tuple[int, int]:
    if struct.unpack("<I", data[14:18])[0] == 12:
        width, height = struct.unpack("<HH", data[18:22])
    else:
        width, height = struct.unpack("<ii", data[18:26])
    return width, abs(height)  # a negative height means that the top row comes first


def _jp2(data: Bytes) -> tuple[int, int] | None:
    # The boxes state a size as well, but memory is allocated by the codestream's.
    at = codestream_of(data)
    if bytes(data[at : at + 4]) != _J2K:
        return None
    right, bottom, left, top = struct.unpack(">4I", data[at + 8 : at + 24])
    return right - left, bottom - top


def _webp(data: Bytes) -> tuple[int, int] | None:
    kind, at = bytes(data[12:16]), 20
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[at + 4 : at + 7], "little"), 1 + int.from_bytes(data[at + 7 : at + 10], "little")
    if kind == b"VP8L" and data[at] == 0x2F:
        bits = int(struct.unpack("<I", data[at + 1 : at + 5])[0])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and bytes(data[at + 3 : at + 6]) == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[at + 6 : at + 10])
        return width & 0x3FFF, height & 0x3FFF  # the upper two bits ask for scaling when shown
    return None


# Width over height, where a JPEG XL header states only the height.
_JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def _jxl(data: Bytes) -> tuple[int, int] | None:
    bits = _jxl_bits(data)
    return None if bits is None else _jxl_size(bits)


def jxl_depth(data: Bytes) -> int | None:
    """Bits of a JPEG XL's samples; None where they are floats, or the picture is turned, animated or has a preview."""
    bits = _jxl_bits(data)
    if bits is None:
        return None
    try:
        _jxl_size(bits)
        if bits.take(1):
            return 8  # everything as by default
        # Orientation, size on paper, preview and animation: each would have to be followed.
        if (bits.take(1) and bits.take(6)) or bits.take(1):
            return None
        choice = bits.take(2)
        return (8, 10, 12)[choice] if choice < 3 else 1 + bits.take(6)
    except IndexError:
        return None


def _jxl_bits(data: Bytes) -> _Bits | None:
    at = 0
    if bytes(data[:12]) == _JXL_BOX:
        # A codestream in parts has a number before each; the header is in the first.
        starts = (start + 4 * (kind == b"jxlp") for kind, start, _ in boxes(data) if kind in (b"jxlc", b"jxlp"))
        at = next(starts, len(data))
    if bytes(data[at : at + 2]) != b"\xff\x0a":
        return None
    return _Bits(bytes(data[at + 2 : at + 18]))


def _jxl_size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else 1 + bits.take((9, 13, 18, 30)[bits.take(2)])

    height = side()
    ratio = bits.take(3)
    if ratio == 0:
        return side(), height
    across, down = _JXL_RATIOS[ratio - 1]
    return height * across // down, height


class _Bits:
    """The bits of some bytes, taken from the lowest of the first byte up."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next `count` bits as a number. Raises IndexError where there are fewer."""
        if count > self._left:
            raise IndexError("the header ends too early")
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return taken
