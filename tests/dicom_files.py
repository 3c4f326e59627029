"""Whole-slide DICOM files as small as OpenSlide opens them: uncompressed, tiled, one file a level."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_LONG = {"OB", "OW", "SQ", "UN", "UT"}
_ROOT = "1.2.826.0.1.3680043.10.99999"
_WHOLE_SLIDE, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.1"


def _element(group: int, number: int, kind: str, value: bytes | str | int | list[bytes]) -> bytes:
    if isinstance(value, list):
        value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in value)
    elif isinstance(value, str):
        value = value.encode() + (b" " if kind not in ("UI", "OB") else b"\0") * (len(value) % 2)
    elif isinstance(value, int):
        value = struct.pack("<H" if kind == "US" else "<I", value)
    head = struct.pack("<HH", group, number) + kind.encode()
    return head + (struct.pack("<HI", 0, len(value)) if kind in _LONG else struct.pack("<H", len(value))) + value


def write_level(path: Path, pixels: Pixels, series: int, instance: int, mpp: float = 0.5, tile: int = 128) -> None:
    """(h, w, 3) RGB as one level of a series."""
    height, width = pixels.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
    padded[:height, :width] = pixels
    frames = padded.reshape(rows, tile, columns, tile, 3).transpose(0, 2, 1, 3, 4).tobytes()
    uid = f"{_ROOT}.{series}.{instance}"
    spacing = _element(0x28, 0x30, "DS", f"{mpp / 1000:.6f}\\{mpp / 1000:.6f}")
    meta = b"".join(
        [
            _element(2, 1, "OB", b"\0\1"),
            _element(2, 2, "UI", _WHOLE_SLIDE),
            _element(2, 3, "UI", uid),
            _element(2, 0x10, "UI", _EXPLICIT),
            _element(2, 0x12, "UI", _ROOT),
        ]
    )
    data = [
        _element(8, 8, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\" + ("NONE" if instance == 0 else "RESAMPLED")),
        _element(8, 0x16, "UI", _WHOLE_SLIDE),
        _element(8, 0x18, "UI", uid),
        _element(8, 0x60, "CS", "SM"),
        # A series that is referred to is not the file's own.
        _element(8, 0x1115, "SQ", [_element(0x20, 0xE, "UI", f"{_ROOT}.777")]),
        _element(0x20, 0xD, "UI", f"{_ROOT}.1"),
        _element(0x20, 0xE, "UI", f"{_ROOT}.{series}"),
        _element(0x20, 0x52, "UI", f"{_ROOT}.2"),
        _element(0x20, 0x9311, "CS", "TILED_FULL"),
        _element(0x28, 2, "US", 3),
        _element(0x28, 4, "CS", "RGB"),
        _element(0x28, 6, "US", 0),
        _element(0x28, 8, "IS", str(rows * columns)),
        _element(0x28, 0x10, "US", tile),
        _element(0x28, 0x11, "US", tile),
        _element(0x28, 0x100, "US", 8),
        _element(0x28, 0x101, "US", 8),
        _element(0x28, 0x102, "US", 7),
        _element(0x28, 0x103, "US", 0),
        _element(0x48, 6, "UL", width),
        _element(0x48, 7, "UL", height),
        _element(0x5200, 0x9229, "SQ", [_element(0x28, 0x9110, "SQ", [spacing])]),
        _element(0x7FE0, 0x10, "OB", frames),
    ]
    path.write_bytes(bytes(128) + b"DICM" + _element(2, 0, "UL", len(meta)) + meta + b"".join(data))
