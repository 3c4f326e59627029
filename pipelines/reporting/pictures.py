"""Pictures inside the page: small JPEGs as data addresses, so that however many slides there are, the page opens."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

# All pictures of all slides together. In the page they take a third more, as text: 56 MB.
_SLIDES_BYTES = 42_000_000
_MOST_FOR_A_SLIDE = 500_000
# Sides of a slide's picture: sharp on a screen, with a legend that can still be read.
_OVERVIEW_PX = (1400, 1000)
# A tile of 128 px fills about 5.5 kB, one of 96 px 3.5 kB.
_LARGE_TILE, _SMALL_TILE = (128, 5500), (96, 3500)
_MOST_TILES = 6
# Shares of the gallery's bytes: twice as many of the hottest tiles as of the other two kinds.
_TILE_SHARES = 4
# Rather a little coarser than smaller; then smaller.
_QUALITIES, _LEAST_PX = (82, 68), 16
# A plot larger than this (tiles are drawn on it) becomes a JPEG.
_PLOT_BYTES, _PLOT_PX = 200_000, (1000, 1400)
_BAR_PX = 200


@dataclass(frozen=True)
class Picture:
    """A picture as the page holds it: its data address, its size in px."""

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Budget:
    """What one slide's pictures may take: bytes of the overview; how many tiles a list, of how many px and bytes."""

    overview_bytes: int
    tiles: int
    tile_px: int
    tile_bytes: int

    @classmethod
    def of(cls, slides: int) -> Budget:
        """An equal share for each of so many slides."""
        each = min(_MOST_FOR_A_SLIDE, _SLIDES_BYTES // max(1, slides))
        gallery = each // 2
        tile_px, tile_bytes = _LARGE_TILE if gallery >= _TILE_SHARES * _MOST_TILES * _LARGE_TILE[1] else _SMALL_TILE
        return cls(each - gallery, min(_MOST_TILES, gallery // (_TILE_SHARES * tile_bytes)), tile_px, tile_bytes)


def overview(path: Path, most_bytes: int) -> Picture:
    """The picture in a file, shrunk until it takes at most `most_bytes`. Raises OSError where there is none."""
    with Image.open(path) as picture:
        return small_jpeg(picture.convert("RGB"), _OVERVIEW_PX, most_bytes)


def small_jpeg(picture: Image.Image, within_px: tuple[int, int], most_bytes: int) -> Picture:
    """A JPEG within (width, height) px, shrunk further until it takes at most `most_bytes`; never below 16 px."""
    ratio = min(1.0, *(most / side for most, side in zip(within_px, picture.size, strict=True)))
    while True:
        size = (max(1, int(picture.width * ratio)), max(1, int(picture.height * ratio)))
        small = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0) if size != picture.size else picture
        for quality in _QUALITIES:
            encoded = _jpeg(small, quality)
            if len(encoded) <= most_bytes or max(size) <= _LEAST_PX:
                return Picture(_data_url("jpeg", encoded), *size)
        ratio *= max(0.5, 0.95 * math.sqrt(most_bytes / len(encoded)))


def plot(path: Path) -> Picture:
    """A plot as it is; a JPEG where tiles make it large. Raises OSError where it is no picture."""
    with Image.open(path) as picture:
        if path.stat().st_size > _PLOT_BYTES:
            return small_jpeg(picture.convert("RGB"), _PLOT_PX, _PLOT_BYTES)
        return Picture(_data_url("png", path.read_bytes()), *picture.size)


def share_bar(parts: Sequence[tuple[float, str]]) -> str:
    """A bar of (share, `#rrggbb`) side by side, 1 px high, as a data address; '' where there are none.

    A picture, since 500 drawings in a table take longer to sort than a person likes to wait.
    """
    if not parts:
        return ""
    bar, start = Image.new("RGB", (_BAR_PX, 1), "white"), 0.0
    for share, colour in parts:
        bar.paste(colour, (round(_BAR_PX * start), 0, max(round(_BAR_PX * start), round(_BAR_PX * (start + share))), 1))
        start += share
    stream = io.BytesIO()
    bar.save(stream, "PNG")
    return _data_url("png", stream.getvalue())


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
