"""Pictures too large to hold: decoded from top to bottom by libvips, a few rows at a time."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi.errors import SlideError
from wsi.readers.samples import depth_lut, rgb_of, rgb_of_cmyk, without_alpha
from wsi.readers.values import ALL_BITS, Values

if TYPE_CHECKING:
    import pyvips

# Rows are decoded and kept in strips of this many; the last ones stay, up to so many bytes.
_STRIP_ROWS = 64
_KEPT_BYTES = 64 * 1024 * 1024

# Held around every use of libvips, and by whoever forks: so a child finds none of libvips' own locks held. Its threads
# are gone there, but reading from top to bottom needs none.
_using_libvips = threading.RLock()


class StreamedPicture:
    """The rows of one JPEG, PNG or TIFF page of any size. Safe with threads and fork: one strip is decoded at a time.

    Fast from top to bottom; reading above the strips that are still kept decodes the file from its start again.
    Memory is a few strips, except for progressive JPEG and interlaced PNG, which libvips holds whole, and for TIFF,
    of which it holds a strip in its compressed form.
    """

    def __init__(
        self, path: Path, width: int, height: int, full_scale: int = ALL_BITS, *, ignores_alpha: bool = False
    ) -> None:
        """full_scale: the value of full intensity where samples have 16 bits. ignores_alpha: alpha is not applied."""
        self._path = path
        self._size = width, height
        self._full_scale, self._ignores_alpha = full_scale, ignores_alpha
        self._strips: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._image: pyvips.Image | None = None
        self._region: pyvips.Region | None = None
        self._process = 0
        self._next = 0

    def rows(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB at (x, y); the rectangle lies inside the picture. Raises SlideError where damaged."""
        out = np.empty((height, width, 3), np.uint8)
        for index in range(y // _STRIP_ROWS, (y + height - 1) // _STRIP_ROWS + 1):
            top = index * _STRIP_ROWS
            with _using_libvips:
                strip = self._strip(index)
            first, last = max(top, y), min(top + len(strip), y + height)
            out[first - y : last - y] = strip[first - top : last - top, x : x + width]
        return out

    def _strip(self, index: int) -> NDArray[np.uint8]:
        held = self._strips.get(index)
        if held is not None:
            return held
        if self._region is None or self._image is None or index < self._next or self._process != os.getpid():
            # In a forked process, too: parent and child would move the same position in the file.
            self._image, self._region = self._opened()
            self._process = os.getpid()
        width, height = self._size
        top = index * _STRIP_ROWS
        count = min(_STRIP_ROWS, height - top)
        import pyvips

        try:
            raw = self._region.fetch(0, top, width, count)
        except pyvips.Error as error:
            self._region = None  # what it would give from here on is not known
            raise SlideError(
                f"{self._path}: rows {top} to {top + count} cannot be decoded ({_one_line(error)}); "
                "the file is damaged, copy it again from its source"
            ) from error
        strip = self._rgb(raw, self._image, count)
        self._next = index + 1
        self._strips[index] = strip
        while len(self._strips) * strip.nbytes > _KEPT_BYTES and len(self._strips) > 1:
            self._strips.popitem(last=False)
        return strip

    def _opened(self) -> tuple[pyvips.Image, pyvips.Region]:
        import pyvips

        options = _options(self._path)
        try:
            image = pyvips.Image.new_from_file(str(self._path), access="sequential", revalidate=True, **options)
        except pyvips.Error as error:
            raise SlideError(f"{self._path}: libvips cannot open it ({_one_line(error)})") from error
        if (image.width, image.height) != self._size or image.format not in ("uchar", "ushort") or image.bands > 4:
            raise SlideError(
                f"{self._path}: {image.width} × {image.height} px of {image.bands} {image.format} samples for libvips, "
                f"its header says {self._size[0]} × {self._size[1]}; convert it to 8-bit RGB TIFF first"
            )
        return image, pyvips.Region.new(image)

    def _rgb(self, raw: bytes, image: pyvips.Image, rows: int) -> NDArray[np.uint8]:
        shape = rows, image.width, image.bands
        if image.format == "uchar":
            eight = np.frombuffer(raw, np.uint8).reshape(shape)
        else:
            eight = depth_lut(self._full_scale)[np.frombuffer(raw, np.uint16).reshape(shape)]
        if image.interpretation == "cmyk":
            return rgb_of_cmyk(eight)
        return rgb_of(without_alpha(eight) if self._ignores_alpha else eight)

    def close(self) -> None:
        """Let go of the file and of the rows held."""
        with _using_libvips:
            self._image = self._region = None
            self._strips.clear()


def streamed_values(path: Path) -> Values:
    """The largest values of a whole picture, colours first; all of it is decoded, a few rows at a time.

    Raises SlideError where it is damaged.
    """
    import pyvips

    with _using_libvips:
        try:
            image = pyvips.Image.new_from_file(str(path), access="sequential", **_options(path))
            # One pass over all channels: each row of the table is a channel, its column 1 the largest value.
            table = image.stats()
            largest = [int(table.getpoint(1, channel + 1)[0]) for channel in range(image.bands)]
        except pyvips.Error as error:
            what = f"{path}: cannot be decoded ({_one_line(error)})"
            raise SlideError(f"{what}; copy it again from its source") from error
    if image.interpretation == "cmyk" or len(largest) not in (2, 4):
        return Values(max(largest), None)
    return Values(max(largest[:-1]), largest[-1])


def _options(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        start = stream.read(2)
    # libjpeg fills what is damaged with grey and only warns; warnings of the other libraries are about less.
    options: dict[str, Any] = {"fail_on": "warning" if start == b"\xff\xd8" else "error"}
    # libvips lets a TIFF's strip take 50 MB in its compressed form; here there may be one for the whole picture.
    return {**options, "unlimited": True} if start in (b"II", b"MM") else options


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_using_libvips.acquire, after_in_parent=_using_libvips.release, after_in_child=_using_libvips.release
    )
