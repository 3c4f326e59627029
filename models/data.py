"""Labelled tiles: class folders of images, and tables of tiles cut straight from slides."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsi.errors import InputError, MppError
from wsi.geometry import MPP_TOLERANCE, Box, TileGrid, TileSpec
from wsi.slide import Slide, fingerprint, open_slide

_ENDINGS = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})
_MISSING_PX = 2  # a tile this much too small is rounding; more is another field of view
_LISTED = 10


class TileSet(Protocol):
    """Labelled tiles, by index. `labels`: (n,) int64 indices into `classes`, which are sorted by name.

    groups: one per tile, the case it is of (or the slide); None where nobody knows.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, sorted."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) indices into `classes`."""

    @property
    def groups(self) -> tuple[str, ...] | None:
        """(n,) case or slide of each tile."""

    @property
    def group_kind(self) -> str:
        """What a group is: "case" or "slide"; "tile" where there are none."""

    def __len__(self) -> int: ...

    def load(self, index: int, tile: TileSpec) -> NDArray[np.uint8]:
        """(h, w, 3) RGB at `tile.mpp`, at least size_px a side but for two; InputError if it cannot be."""

    def probe(self) -> Sequence[int]:
        """The tiles to decode before training, so that a broken file is found then."""

    def fingerprint(self) -> str:
        """SHA-256 that changes when the tiles or their labels do."""


@dataclass(frozen=True, eq=False)
class FolderSet:
    """Images in one sub-folder a class, all at `source_mpp` µm/px."""

    root: Path
    source_mpp: float
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def group_kind(self) -> str:
        """Folders say nothing of slides: a group, where given, is a case."""
        return "case" if self.groups is not None else "tile"

    def load(self, index: int, tile: TileSpec) -> NDArray[np.uint8]:
        """(h, w, 3) RGB at `tile.mpp`, shrunk by area. Raises InputError, naming the file."""
        path = self.paths[index]
        if self.source_mpp > tile.mpp * (1 + MPP_TOLERANCE):
            raise MppError(
                f"{self.root}: tiles of {self.source_mpp:g} mpp cannot show {tile.mpp:g} mpp; "
                f"set tile.mpp to {self.source_mpp:g} or coarser"
            )
        pixels = read_image(path)
        height, width = pixels.shape[:2]
        scale = self.source_mpp / tile.mpp
        to_height, to_width = round(height * scale), round(width * scale)
        if min(to_height, to_width) < tile.size_px - _MISSING_PX:
            raise InputError(
                f"{path.name}: {width} × {height} px at {self.source_mpp:g} mpp is {to_width} × {to_height} px "
                f"at {tile.mpp:g} mpp, but tile.size_px is {tile.size_px}"
            )
        if (to_height, to_width) == (height, width):
            return pixels
        shrunk = cv2.resize(pixels, (to_width, to_height), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, np.uint8)

    def probe(self) -> Sequence[int]:
        """All of them: each is a file of its own."""
        return range(len(self))

    def fingerprint(self) -> str:
        """SHA-256 over class, name and size in bytes of every file, and the mpp."""
        digest = hashlib.sha256(f"{self.source_mpp:g}\n".encode())
        for path in self.paths:
            digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
        return digest.hexdigest()


def read_folder(root: Path, source_mpp: float) -> FolderSet:
    """The images below `root`/<class>/, classes and files sorted by name.

    Raises InputError where the folder is missing, has no class folders, or some of them hold no image.
    """
    if not source_mpp > 0:
        raise InputError(f"{root}: source_mpp is {source_mpp}; give the µm per pixel of the images, above 0")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give one with a sub-folder of images per class")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(f"{root}: no class folders in it; make one sub-folder of images per class")
    images = [sorted(p for p in f.iterdir() if _is_image(p)) for f in folders]
    empty = [folder.name for folder, found in zip(folders, images, strict=True) if not found]
    if empty:
        raise InputError(
            f"{root}: no images ({', '.join(sorted(_ENDINGS))}) in class folder {', '.join(empty)}; "
            "add some or remove the folder"
        )
    labels = np.repeat(np.arange(len(folders), dtype=np.int64), [len(found) for found in images])
    paths = tuple(path for found in images for path in found)
    return FolderSet(root, source_mpp, paths, labels, tuple(folder.name for folder in folders))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file()


def read_image(path: Path) -> NDArray[np.uint8]:
    """(h, w, 3) RGB of an 8-bit image file. Raises InputError where it is damaged, even if only cut short."""
    try:
        # Pillow, since OpenCV fills up a truncated JPEG with grey and says nothing.
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise InputError(f"{path.name}: more than 8 bits a pixel ({image.mode}); save it as 8-bit RGB")
            return np.array(image.convert("RGB"), np.uint8)
    except InputError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise InputError(f"{path.name}: cannot be decoded ({reason[:120]})") from error


@dataclass(frozen=True)
class LabelledSlide:
    """One slide and its tile table; `case` is the patient, `mpp` overrides the file's."""

    slide: Path
    tiles: Path
    case: str | None = None
    mpp: float | None = None


@dataclass(frozen=True, eq=False)
class SlideSet:
    """Labelled tiles of slides. xy: (n, 2) int64, level-0 px, top-left; slide_of: (n,) int64 into `slides`."""

    slides: tuple[LabelledSlide, ...]
    slide_of: NDArray[np.int64]
    xy: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

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
            digest.update(f"{slide.slide.name} {slide.mpp} {fingerprint(slide.slide)}\n".encode())
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
    Raises InputError with every bad table at once, or where no tile has a label.
    """
    tables, faults = [], []
    for slide in slides:
        try:
            tables.append(_labelled_rows(slide.tiles))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("; ".join(faults))
    found = sorted({str(name) for _, names in tables for name in np.unique(names)})
    if not found:
        raise InputError(f"no labelled tile in {len(slides)} tables; run `tesela label` on them first")
    names = tuple(sorted(classes)) if classes is not None else tuple(found)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise InputError(f"the tables hold labels {unknown}, which are not among the classes {list(names)}")
    index = {name: i for i, name in enumerate(names)}
    return SlideSet(
        slides=tuple(slides),
        slide_of=np.repeat(np.arange(len(tables), dtype=np.int64), [len(xy) for xy, _ in tables]),
        xy=np.concatenate([xy for xy, _ in tables]),
        labels=np.array([index[str(name)] for _, ns in tables for name in ns], np.int64),
        classes=names,
    )


def _labelled_rows(path: Path) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """(n, 2) level-0 (x, y) and (n,) labels of the rows that have one and are not blank."""
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
    keep = ~blank & np.array([bool(name) for name in labels], bool)
    return xy[keep], np.array([name for name, kept in zip(labels, keep, strict=True) if kept], np.str_)


@functools.lru_cache(maxsize=256)
def _opened(path: Path, mpp: float | None, process: int) -> Slide:  # noqa: ARG001  (part of the key)
    """An open slide of this process: a forked worker must not share its parent's file position."""
    return open_slide(path, mpp)


def list_some(messages: Sequence[str]) -> str:
    """The first ten of many messages, and how many more there are."""
    more = f"; and {len(messages) - _LISTED} more" if len(messages) > _LISTED else ""
    return "; ".join(messages[:_LISTED]) + more
