"""The tiles worth a look: the hottest, the most uncertain, those just below a threshold; cut from the slide now.

Which they are is in summary.json; of an older one, which does not say it, they are found in the predictions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.reporting.pictures import Budget, Picture, small_jpeg
from wsi.errors import MismatchError, WsiError
from wsi.exports.notable import notable
from wsi.geometry import Box
from wsi.overlay import UNPAINTED
from wsi.scores import TileScores
from wsi.slide import Slide, open_slide
from wsi.slideinfo import SlideInfo
from wsi.tiles import read_table

# Lists of summary.json with their titles; of the first, twice as many are shown.
LISTS = (
    ("top_tiles", "Hottest"),
    ("uncertain", "Most uncertain"),
    ("below_threshold", "Just below the threshold"),
)


@dataclass(frozen=True)
class ListedTile:
    """A tile of one of the lists: what it was called, how probable, where (level-0 px)."""

    name: str
    probability: float
    box: Box


@dataclass(frozen=True)
class ShownTile:
    """A listed tile with its picture."""

    tile: ListedTile
    picture: Picture


@dataclass(frozen=True)
class Gallery:
    """Rows of (title, tiles); `problem` says why tiles are missing, empty where none are."""

    rows: tuple[tuple[str, tuple[ShownTile, ...]], ...] = ()
    problem: str = ""


def gallery_of(folder: Path, summary: dict[str, Any], budget: Budget) -> Gallery:
    """The gallery of a slide that was scored; `folder`: the slide's. Whatever is wrong with it is said, not raised."""
    if budget.tiles == 0:
        return Gallery(problem="With so many slides, the page has no room for tiles.")
    try:
        lists = _listed(folder, summary)
        most = {name: budget.tiles * (2 if name == "top_tiles" else 1) for name, _ in LISTS}
        chosen = {name: lists[name][: most[name]] for name, _ in LISTS}
        if not any(chosen.values()):
            return Gallery()
        with open_slide(folder / "slide.json") as slide:
            _check_size(slide, SlideInfo.load(folder / "slide.json"))
            rows = [(title, tuple(_shown(slide, tile, budget) for tile in chosen[name])) for name, title in LISTS]
    except (WsiError, OSError, ValueError, KeyError, TypeError) as error:
        return Gallery(problem=f"Tiles cannot be shown: {error}")
    return Gallery(tuple((title, tiles) for title, tiles in rows if tiles))


def _check_size(slide: Slide, info: SlideInfo) -> None:
    """Raise MismatchError where another slide lies there now: its tiles would be shown for those that were scored."""
    if slide.size != (info.width, info.height):
        now, then = (f"{width} × {height} px" for width, height in (slide.size, (info.width, info.height)))
        raise MismatchError(f"{slide.name}: is {now} now, and was {then} when it was scored; run again")


def _shown(slide: Slide, tile: ListedTile, budget: Budget) -> ShownTile:
    longest = max(tile.box.width, tile.box.height)
    # A tile smaller than the picture would be is shown as it is.
    side = min(budget.tile_px, longest)
    size = (max(1, round(side * tile.box.width / longest)), max(1, round(side * tile.box.height / longest)))
    pixels = slide.read_to(tile.box, size)
    return ShownTile(tile, small_jpeg(Image.fromarray(pixels), size, budget.tile_bytes))


def _listed(folder: Path, summary: dict[str, Any]) -> dict[str, list[ListedTile]]:
    if "top_tiles" not in summary:
        path = folder / "predictions.parquet"
        summary = notable(TileScores.of_table(read_table(path), path))
    found = {name: [_parsed(entry) for entry in summary[name]] for name, _ in LISTS}
    # The most certain glass is nothing to look at.
    found["top_tiles"] = _in_turns(tile for tile in found["top_tiles"] if tile.name not in UNPAINTED)
    return found


def _parsed(entry: dict[str, Any]) -> ListedTile:
    x, y, width, height = (int(value) for value in entry["box"])
    return ListedTile(str(entry["class"]), float(entry["probability"]), Box(x, y, width, height))


def _in_turns(tiles: Iterable[ListedTile]) -> list[ListedTile]:
    """The first of each class, then the second of each: a short list shows every class."""
    by_class: dict[str, list[ListedTile]] = {}
    for tile in tiles:
        by_class.setdefault(tile.name, []).append(tile)
    return [tile for tile in chain.from_iterable(zip_longest(*by_class.values())) if tile is not None]
