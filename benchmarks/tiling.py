"""The whole tiles stage ÷ plain decoding of the native tiles that candidates touch, and ÷ an OpenSlide loop."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import tifffile
from numpy.typing import NDArray

from benchmarks.figures import Figure, paired_seconds
from benchmarks.slides import tissue_slide
from pipelines import stages
from wsi.blank import BlankOptions
from wsi.geometry import TileGrid, TileSpec
from wsi.ink import ink_pixels
from wsi.slide import open_slide
from wsi.tiles import grid_of, read_table
from wsi.tilestats import Measures
from wsi.tissue import TissueOptions

_THREADS = 2
_REPEATS, _LOOPS = 21, 3
_TILE_PX = 128
# Native tiles handed to a decoding thread at once.
_CHUNK = 32

# What a loop does with a tile (h, w, 3).
Numbers = Callable[[NDArray[np.uint8]], None]

# (columns, rows) of patches: once, twice and four times the area.
_AREAS = ((4, 4), (4, 8), (8, 8))


def tile_spec(mpp: float) -> TileSpec:
    """The tiles that are measured, at the slide's own mpp."""
    return TileSpec(_TILE_PX, mpp, _TILE_PX)


@dataclass(frozen=True)
class Case:
    """A slide, its outlines as `tesela tissue` leaves them, and where the table goes."""

    slide: Path
    outlines: Path
    table: Path
    spec: TileSpec

    @classmethod
    def of(cls, name: str, slide: Path) -> Case:
        """Find the tissue, once: in the workflow it is a stage before this one, and its outlines are a file."""
        folder = Path("build/bench") / f"tiling-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        stages.tissue(slide, folder, TissueOptions())
        with open_slide(slide) as opened:
            mpp = opened.require_mpp()[0]
        return cls(slide, folder / "tissue.geojson", folder / "tiles.parquet", tile_spec(mpp))

    def run(self) -> int:
        """The whole stage, as `tesela tiles` runs it: opens, reads outlines, lays the grid, reads, decides, writes."""
        return stages.tiles(
            self.slide,
            self.table,
            self.spec,
            BlankOptions(),
            min_tissue=0.1,
            allow_upsample=False,
            tissue_path=self.outlines,
            tissue_options=TissueOptions(),
            scheduler=None,
        )


def measure(name: str, path: Path) -> list[Figure]:
    """`tiles.vs_decode` and `tiles.vs_openslide` on one slide; those of the real slide carry its name."""
    case = Case.of(name, path)
    kept = case.run()
    table = read_table(case.table)
    grid = grid_of(table, case.table)
    read = ~np.isnan(table["bright"].to_numpy())
    native = _native_tiles(path, grid.boxes()[read])
    beside_decode, decoded = paired_seconds(case.run, native.decode, _REPEATS)
    beside_loop, loop = paired_seconds(case.run, partial(_openslide_loop, path, grid, _plain_numbers), _LOOPS)
    beside_quick, quick = paired_seconds(case.run, partial(_openslide_loop, path, grid, _our_numbers), _LOOPS)
    count = len(read)
    detail = (
        f"{min(beside_decode):.2f} s for {count:,} tiles, {read.sum():,} of them read, {kept:,} kept; "
        f"decoding {min(decoded):.2f} s, OpenSlide {min(loop):.1f} s; "
        f"taking the numbers as Tesela does {min(quick):.1f} s ({_ratio(beside_quick, quick):.3f})"
    )
    suffix = "" if name == "tissue" else f".{name}"
    return [
        Figure(
            f"tiles.vs_decode{suffix}",
            _ratio(beside_decode, decoded),
            "×",
            f"imagecodecs decoding the {len(native.indices):,} native tiles that candidates touch, {_THREADS} threads",
            1.5,
            at_least=False,
            detail=detail,
        ),
        Figure(
            f"tiles.vs_openslide{suffix}",
            _ratio(beside_loop, loop),
            "×",
            f"OpenSlide loop over all {count:,} tiles, the same numbers of each by numpy, {_THREADS} threads",
            0.067,
            at_least=False,
            detail=detail,
        ),
    ]


def measure_growth() -> list[Figure]:
    """`tiles.rss_mb` and `tiles.linear`: memory, and time against area, each run in a process of its own."""
    cases = [Case.of(f"{columns}x{rows}", tissue_slide(columns, rows)) for columns, rows in _AREAS]
    runs = [[_child(case) for case in cases] for _ in range(5)]
    times = [statistics.median(run[number][0] for run in runs) for number in range(len(cases))]
    areas = [columns * rows / (_AREAS[0][0] * _AREAS[0][1]) for columns, rows in _AREAS]
    off = max(abs(time / times[0] / area - 1) for time, area in zip(times, areas, strict=True))
    peaks = [max(run[number][1] for run in runs) for number in range(len(cases))]
    detail = ", ".join(f"{a:g} × {t:.2f} s {p:.0f} MB" for a, t, p in zip(areas, times, peaks, strict=True))
    return [
        Figure("tiles.rss_mb", max(peaks), "MB", "nothing: peak memory of the whole process", 600, False, detail),
        Figure("tiles.linear", off, "off", "time in proportion to area, at 2 × and 4 × the area", 0.15, False, detail),
    ]


def _child(case: Case) -> tuple[float, float]:
    """(seconds, peak MB) of the stage."""
    words = [str(case.slide), str(case.outlines), str(case.table), str(case.spec.mpp)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tiling_child", *words], check=True, capture_output=True, text=True
    )
    measured = json.loads(done.stdout)
    return measured["seconds"], measured["rss_mb"]


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class _NativeTiles:
    """Compressed tiles in memory, and which of them to decode."""

    raw: bytes
    tables: bytes | None
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    indices: NDArray[np.int64]

    def decode(self) -> None:
        """The bound: through libjpeg-turbo and nothing else."""

        def some(start: int) -> None:
            for index in self.indices[start : start + _CHUNK]:
                at = self.offsets[index]
                data = self.raw[at : at + self.counts[index]]
                imagecodecs.jpeg8_decode(data, tables=self.tables, outcolorspace="RGB")

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(some, range(0, len(self.indices), _CHUNK)))


def _native_tiles(path: Path, boxes: NDArray[np.int64]) -> _NativeTiles:
    """The level-0 native tiles that boxes (N, 4: x, y, width, height) touch."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        tables, offsets, counts = page.jpegtables, page.dataoffsets, page.databytecounts
        side, columns, rows = (
            page.tilewidth,
            -(-page.imagewidth // page.tilewidth),
            -(-page.imagelength // page.tilelength),
        )
    touched = np.zeros((rows, columns), bool)
    for x, y, width, height in boxes:
        touched[y // side : (y + height - 1) // side + 1, x // side : (x + width - 1) // side + 1] = True
    return _NativeTiles(path.read_bytes(), tables, offsets, counts, np.flatnonzero(touched))


def _openslide_loop(path: Path, grid: TileGrid, numbers: Numbers) -> None:
    """The same decision without a mask, as most people write it: one slide, a pool of threads, one tile a task."""
    slide = openslide.OpenSlide(path)

    def read(number: int) -> None:
        row, col = divmod(number, grid.cols)
        box = grid.box(col, row)
        numbers(np.asarray(slide.read_region((box.x, box.y), 0, (box.width, box.height)).convert("RGB")))

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(read, range(grid.rows * grid.cols)):
            pass


def _plain_numbers(pixels: NDArray[np.uint8]) -> None:
    """The numbers of `wsi.tilestats`, of all pixels of a tile, in plain numpy."""
    darkest, green = pixels.min(axis=2), pixels[..., 1].astype(np.float32)
    spread = pixels.max(axis=2) - darkest
    _ = (darkest > BlankOptions.bright_level).mean(), spread.mean(), spread.std(), green.std()
    _ = np.abs(np.diff(green, axis=1)).mean(), ink_pixels(pixels).mean()


def _our_numbers(pixels: NDArray[np.uint8]) -> None:
    """The same as Tesela takes them: of every eighth row, by OpenCV."""
    measures = Measures(BlankOptions.bright_level)
    measures.of(np.ascontiguousarray(pixels[None, :: measures.row_step]), 1.0)
