"""tiles.geojson.gz: one QuPath object a tile, with its class and all probabilities.

QuPath 0.4 and later reads `"objectType": "tile"` back as tile objects (a kind of detection: light, shown by
"Measurement maps"), measurements as an object of numbers by name, and a classification as a name with a colour
[r, g, b]; without the colour it refuses the file.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.colours import class_colours
from wsi.exports.scored import ScoredTiles

# A float32 below 1 has seven digits; six are told apart in any figure.
_DECIMALS = 6
# Features held as text at a time.
_CHUNK = 4096
# Above 3, a tenth less space costs twice the time.
_ZLIB_LEVEL = 3
_GZIP_WINDOW_BITS = 31


def write_tiles(path: Path, tiles: ScoredTiles, about: dict[str, Any], offset_px: tuple[int, int], source: str) -> None:
    """Write the tiles; `about` becomes the file's member "tesela".

    A tile is drawn as its cell: whole where tiles do not overlap, else its middle, one stride wide. Tiles laid over
    each other would hide the slide, and their areas would be counted more than once. It stays a square where it is
    partly glass: the measurement tissue_um2 is the area of its tissue, where that is known.
    offset_px: level-0 (x, y) of the file's (0, 0). source: digest of the predictions; ids are made of it, so that the
    same scores give the same file.
    """
    packer = zlib.compressobj(_ZLIB_LEVEL, wbits=_GZIP_WINDOW_BITS)  # unlike the module gzip, it writes no time
    with writing(path) as temporary, temporary.open("wb") as stream:
        stream.write(packer.compress(f'{{"type":"FeatureCollection","tesela":{_json(about)},"features":['.encode()))
        for text in _features(tiles, offset_px, source):
            stream.write(packer.compress(text.encode("ascii")))
        stream.write(packer.compress(b"]}\n"))
        stream.write(packer.flush())


def _features(tiles: ScoredTiles, offset_px: tuple[int, int], source: str) -> Iterator[str]:
    """Features as text, a few thousand at a time, with the commas between them."""
    templates = _templates(tiles, uuid.uuid5(uuid.NAMESPACE_OID, source))
    areas = () if tiles.tissue_um2 is None else (tiles.tissue_um2,)
    for start in range(0, len(tiles), _CHUNK):
        part = slice(start, start + _CHUNK)
        corners = _corners(tiles.cells[part], offset_px)
        numbers = range(start, start + len(corners))
        columns = (*corners.T.tolist(), *tiles.probabilities[part].T.tolist(), *(area[part].tolist() for area in areas))
        rows = zip(numbers, *columns, strict=True)
        features = (templates[winner] % row for winner, row in zip(tiles.winners[part].tolist(), rows, strict=True))
        yield ("," if start else "") + ",\n".join(features)


def _corners(boxes: NDArray[np.int64], offset_px: tuple[int, int]) -> NDArray[np.int64]:
    """(n, 10): x and y of a closed ring's five points, from the top left; counter-clockwise in x and y as numbers."""
    left, top = boxes[:, 0] - offset_px[0], boxes[:, 1] - offset_px[1]
    right, bottom = left + boxes[:, 2], top + boxes[:, 3]
    return np.stack([left, top, right, top, right, bottom, left, bottom, left, top], axis=1)


def _templates(tiles: ScoredTiles, base: uuid.UUID) -> list[str]:
    """For each class, a feature with gaps for: number, five points, probabilities, area of tissue if known."""
    ring = ",".join(["[%d,%d]"] * 5)
    measurements = ",".join(f"{_literal(f'prob_{name}')}:%.{_DECIMALS}f" for name in tiles.classes)
    if tiles.tissue_um2 is not None:
        measurements += ',"tissue_um2":%.1f'
    colours = class_colours(tiles.classes)
    return [
        # The last 12 of a UUID's digits number the tile.
        f'{{"type":"Feature","id":"{str(base)[:-12]}%012x","geometry":{{"type":"Polygon","coordinates":[[{ring}]]}},'
        f'"properties":{{"objectType":"tile",'
        f'"classification":{{"name":{_literal(name)},"color":{_json(list(colours[name]))}}},'
        f'"measurements":{{{measurements}}}}}}}'
        for name in tiles.classes
    ]


def _literal(text: str) -> str:
    """A JSON string inside a template: a % of its own is doubled."""
    return _json(text).replace("%", "%%")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
