"""Labelled tiles cut straight from slides: tables say where they lie, and no tile is ever a file."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.data.sets import list_some
from wsi.errors import InputError, WsiError
from wsi.fingerprint import fingerprint
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.names import alike_notes
from wsi.provenance import require_slide, slide_of_table
from wsi.slide import Slide, open_slide
from wsi.slideinfo import SlideInfo

_INFO = "slide.json"


@dataclass(frozen=True)
class LabelledSlide:
    """One slide and its tile table; `case` is the patient, `mpp` overrides the file's, `site` is where it is from."""

    slide: Path
    tiles: Path
    case: str | None = None
    mpp: float | None = None
    site: str | None = None

    @property
    def name(self) -> str:
        """File name; of a slide.json the name of its folder, which is the slide's id."""
        return self.slide.absolute().parent.name if self.slide.name == _INFO else self.slide.name

    @cached_property
    def fingerprint(self) -> str:
        """Of the slide itself, whatever its file is called; of a slide.json, that of the slide it points to.

        Raises InputError where there is no such file.
        """
        if self.slide.name == _INFO:
            return SlideInfo.load(self.slide).fingerprint
        try:
            return fingerprint(self.slide)
        except OSError as error:
            raise InputError(f"{self.slide}: cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True, eq=False)
class SlideSet:
    """Labelled tiles of slides. xy: (n, 2) int64, level-0 px, top-left; slide_of: (n,) int64 into `slides`.

    left_out: slide → why → rows of its table that are no tiles here.
    """

    slides: tuple[LabelledSlide, ...]
    slide_of: NDArray[np.int64]
    xy: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def group_kind(self) -> str:
        """Cases where every slide has one, else slides."""
        return "case" if all(slide.case for slide in self.slides) else "slide"

    @property
    def groups(self) -> tuple[str, ...] | None:
        """The case (or the slide) of every tile."""
        by_case = self.group_kind == "case"
        names = [(s.case or "") if by_case else str(s.slide) for s in self.slides]
        return tuple(names[i] for i in self.slide_of)

    @property
    def sites(self) -> tuple[str, ...] | None:
        """The site of every tile, where every slide has one."""
        names = [slide.site for slide in self.slides if slide.site]
        return tuple(names[i] for i in self.slide_of) if len(names) == len(self.slides) else None

    @property
    def sources(self) -> tuple[str, ...]:
        """The slide of every tile: its name, or its path where two slides have the same name."""
        names = _names(self.slides)
        return tuple(names[i] for i in self.slide_of)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: the rows that are left out, and classes whose names are nearly the same."""
        rows = Counter({"labelled": len(self)})
        for counts in self.left_out.values():
            rows.update(counts)
        kinds = ", ".join(f"{count} {kind}" for kind, count in rows.items())
        counted = f"{rows.total()} rows in the tables of {len(self.slides)} slides: {kinds}"
        return (*((counted,) if self.left_out else ()), *alike_notes(self.classes))

    @property
    def keys(self) -> tuple[str, ...]:
        """<slide>@<x>,<y> of every tile, level-0 px."""
        return tuple(f"{name}@{x},{y}" for name, (x, y) in zip(self.sources, self.xy.tolist(), strict=True))

    def load(self, index: int, tile: TileSpec) -> NDArray[np.uint8]:
        """(size_px, size_px, 3) RGB read from the slide. Raises SlideError, MppError."""
        source = self.slides[self.slide_of[index]]
        slide = _opened(source.slide, source.mpp, os.getpid())
        x, y = (int(value) for value in self.xy[index])
        return slide.read_to(tile_box(slide, tile, x, y), (tile.size_px, tile.size_px))

    def probe(self) -> Sequence[int]:
        """The first tile of every slide: decoding all of them would be an epoch by itself."""
        return [int(i) for i in np.unique(self.slide_of, return_index=True)[1]]

    def fingerprint(self) -> str:
        """SHA-256 over the slides' fingerprints and every tile's place and label."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for slide in self.slides:
            digest.update(f"{slide.slide.name} {slide.mpp} {slide.fingerprint}\n".encode())
        for array in (self.slide_of, self.xy, self.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def tile_box(slide: Slide, tile: TileSpec, x: int, y: int) -> Box:
    """The level-0 box of a tile of `slide` whose top-left is (x, y), level-0 px: the grid's own, on its grid."""
    grid = TileGrid.of(tile, slide.size, slide.mpp, name=slide.name)
    dx, dy = grid.downsample
    box = grid.grid_box(round(x / dx), round(y / dy), tile.size_px, tile.size_px)
    if (box.x, box.y) == (x, y):
        return box
    return Box(x, y, round(tile.size_px * dx), round(tile.size_px * dy))


def read_slides(slides: Sequence[LabelledSlide], classes: Sequence[str] | None = None) -> SlideSet:
    """The labelled, not blank tiles of each slide's parquet table (columns x, y, label, blank).

    classes: the classes to train on (others are an error); None takes those found, sorted by name.
    Raises InputError with every bad table at once, where a slide is given twice (by its content, whatever its name), or
    where no tile has a label.
    """
    tables, faults = [], []
    for slide in slides:
        try:
            tables.append(_labelled_rows(slide))
        except WsiError as error:
            faults.append(str(error))
    if faults:
        raise InputError("; ".join(faults))
    _refuse_twice(slides)
    found = sorted({str(name) for table in tables for name in np.unique(table.labels)})
    if not found:
        raise InputError(f"no labelled tile in {len(slides)} tables; run `tesela label` on them first")
    names = tuple(sorted(classes)) if classes is not None else tuple(found)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise InputError(f"the tables hold labels {unknown}, which are not among the classes {list(names)}")
    index = {name: i for i, name in enumerate(names)}
    return SlideSet(
        slides=tuple(slides),
        slide_of=np.repeat(np.arange(len(tables), dtype=np.int64), [len(table.xy) for table in tables]),
        xy=np.concatenate([table.xy for table in tables]),
        labels=np.array([index[str(name)] for table in tables for name in table.labels], np.int64),
        classes=names,
        left_out={name: table.left_out for name, table in zip(_names(slides), tables, strict=True) if table.left_out},
    )


def same_slides(first: Sequence[LabelledSlide], second: Sequence[LabelledSlide]) -> list[str]:
    """Each slide of `first` that is also in `second`, by its content, named with its two paths."""
    named = {slide.fingerprint: slide.slide for slide in first}
    return [f"{named[slide.fingerprint]} = {slide.slide}" for slide in second if slide.fingerprint in named]


def _refuse_twice(slides: Sequence[LabelledSlide]) -> None:
    twice = [pair for i, slide in enumerate(slides) for pair in same_slides(slides[:i], [slide])]
    if twice:
        raise InputError(f"the same slide is given twice: {list_some(twice, ', ')}; give each once, with one table")


def _names(slides: Sequence[LabelledSlide]) -> list[str]:
    """Of each slide: its name, or its path where two have the same name."""
    names = [slide.name for slide in slides]
    return names if len(set(names)) == len(names) else [str(slide.slide) for slide in slides]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Of a table: (n, 2) level-0 (x, y) and (n,) labels of the rows that are trained on; how many others there are."""

    xy: NDArray[np.int64]
    labels: NDArray[np.str_]
    left_out: dict[str, int]


def _labelled_rows(slide: LabelledSlide) -> _Rows:
    """The rows that have a label and are not blank.

    Raises InputError for a table that cannot be used, MismatchError for one that says that it is of another slide.
    """
    path = slide.tiles
    try:
        table = pq.read_table(path, columns=["x", "y", "label", "blank"])
        lost = sorted({"x", "y", "label", "blank"} - set(table.column_names))
        if lost:
            raise InputError(f"{path}: no column {', '.join(lost)}; run `tesela label`")
        xy = np.stack([table[name].cast(pa.int64()).to_numpy() for name in ("x", "y")], axis=1)
        labels = table["label"].cast(pa.string()).to_pylist()
        blank = table["blank"].cast(pa.bool_()).fill_null(True).to_numpy().astype(bool)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such tile table; run `tesela label`") from error
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a table with columns x, y, label, blank ({reason})") from error
    if recorded := slide_of_table(table):  # a table that a person made says nothing
        require_slide(path, recorded, slide.fingerprint, str(slide.slide))
    labelled = np.array([bool(name) for name in labels], bool)
    keep = ~blank & labelled
    left_out = {"blank": int(blank.sum()), "without a label": int((~blank & ~labelled).sum())}
    return _Rows(
        xy[keep],
        np.array([name for name, kept in zip(labels, keep, strict=True) if kept], np.str_),
        {why: count for why, count in left_out.items() if count},
    )


@functools.lru_cache(maxsize=256)
def _opened(path: Path, mpp: float | None, process: int) -> Slide:  # noqa: ARG001  (part of the key)
    """An open slide of this process: a forked worker must not share its parent's file position."""
    return open_slide(path, mpp)
