"""Tiles that touch are of one slide: they are found by what goes on from one to the next, and never by chance alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from models.data import FolderSet, grouped_by_stain, read_folder
from models.data.touching import SAMPLES, Borders, borders_of, touching_across, touching_within
from pipelines.cli import app

SIDE, ROWS, COLS = 64, 8, 9


def scene(seed: int, rows: int = ROWS, cols: int = COLS, side: int = SIDE) -> NDArray[np.uint8]:
    """A picture with structure at the scale of nuclei, as large as so many tiles."""
    generator = np.random.default_rng(seed)
    size = (rows * side, cols * side)
    noise = generator.normal(0, 1, (*size, 1)) + generator.normal(0, 0.3, (*size, 3))  # mostly the same in all colours
    smooth = gaussian_filter(noise, (2.5, 2.5, 0))
    return np.clip(170 + 25 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def cut(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Edge to edge, row by row."""
    rows, cols = picture.shape[0] // SIDE, picture.shape[1] // SIDE
    return [picture[r * SIDE : (r + 1) * SIDE, c * SIDE : (c + 1) * SIDE] for r in range(rows) for c in range(cols)]


def neighbours(rows: int = ROWS, cols: int = COLS) -> set[tuple[int, int]]:
    """What touches in `cut`: (left, right) and (upper, lower)."""
    beside = {(r * cols + c, r * cols + c + 1) for r in range(rows) for c in range(cols - 1)}
    below = {(r * cols + c, (r + 1) * cols + c) for r in range(rows - 1) for c in range(cols)}
    return beside | below


def jpeg(tile: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.uint8)


def seen_of(tiles: list[NDArray[np.uint8]]) -> tuple[Borders, NDArray[np.int64]]:
    """Borders and labels of tiles of one class."""
    return np.stack([borders_of(tile) for tile in tiles]), np.zeros(len(tiles), np.int64)


def as_set(pairs: NDArray[np.int64]) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in pairs}


def pairs_among(tiles: list[NDArray[np.uint8]]) -> set[tuple[int, int]]:
    return as_set(touching_within(*seen_of(tiles)).touching())


def spots(side: int, count: int = 400) -> list[NDArray[np.uint8]]:
    """Tiles of one tissue with gaps between them."""
    step = side + max(10, side // 4)
    rows = int(np.ceil(np.sqrt(count)))
    picture = scene(5, side=1, rows=rows * step, cols=rows * step)
    return [
        picture[y : y + side, x : x + side] for y in range(0, rows * step, step) for x in range(0, rows * step, step)
    ]


def test_borders_are_read_in_one_direction_and_have_one_length() -> None:
    tile = np.zeros((SAMPLES, SAMPLES, 3), np.uint8)
    tile[:, -1, 0], tile[:, 0, 1] = np.arange(SAMPLES), np.arange(SAMPLES)
    right, left, bottom, top = borders_of(tile)
    assert np.array_equal(right[:, 0], np.arange(SAMPLES))
    assert np.array_equal(left[:, 1], np.arange(SAMPLES))
    assert bottom[-1, 0] == SAMPLES - 1
    assert not top[1:-1].any()
    assert borders_of(np.zeros((224, 37, 3), np.uint8)).shape == (4, SAMPLES, 3)


@pytest.mark.parametrize("quality", [None, 80])
def test_tiles_cut_edge_to_edge_are_found_in_any_order(quality: int | None) -> None:
    tiles = [*cut(scene(0)), *cut(scene(1))]
    count = len(tiles) // 2
    truth = neighbours() | {(a + count, b + count) for a, b in neighbours()}
    order = np.random.default_rng(0).permutation(len(tiles))
    seen = [tiles[i] if quality is None else jpeg(tiles[i], quality) for i in order]
    found = {(int(order[a]), int(order[b])) for a, b in pairs_among(seen)}
    assert len(found & truth) >= 0.9 * len(truth)
    assert len(found - truth) <= 0.05 * len(found)


def test_tiles_of_two_classes_are_not_compared() -> None:
    borders, _ = seen_of(cut(scene(0)))
    labels = np.arange(len(borders)) // (len(borders) // 2)
    found = touching_within(borders, labels).touching()
    assert len(found)
    assert np.array_equal(labels[found[:, 0]], labels[found[:, 1]])


def test_tiles_of_two_sets_are_found_although_each_has_better_partners_in_its_own() -> None:
    """The second set holds the first one's slide, saved anew."""
    tiles = cut(scene(2))
    found = touching_across(*seen_of(tiles), *seen_of([jpeg(tile, 90) for tile in tiles])).touching()
    truth = neighbours() | {(b, a) for a, b in neighbours()}
    assert len(as_set(found) & truth) >= 0.9 * len(truth)
    assert len(as_set(found) - truth) <= 0.05 * len(found)


def test_a_class_may_be_in_one_set_only() -> None:
    borders, labels = seen_of(cut(scene(2)))
    alone = np.arange(len(labels)) % 2
    found = touching_across(borders, alone, borders, labels + 1).touching()
    assert len(found)
    assert set(alone[found[:, 0]]) == {1}


def test_a_mirrored_copy_touches_its_original() -> None:
    tiles = spots(SIDE, 64)
    count = len(tiles)
    found = {(a % count, b % count) for a, b in pairs_among([*tiles, *(tile[:, ::-1] for tile in tiles)])}
    assert found >= {(i, i) for i in range(count)}
    assert len(found) <= 1.05 * count


def padded(tile: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    return np.concatenate([tile[:-rows], np.full_like(tile[-rows:], 255)])


def round_spot(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As of a tissue microarray."""
    y, x = np.indices(tile.shape[:2]) - (len(tile) - 1) / 2
    return np.where((np.hypot(x, y) > 0.52 * len(tile))[..., None], np.uint8(245), tile)


# What makes borders alike that do not go on in one another.
ALIKE = {
    "64 px": lambda: spots(64),
    "odd sizes, resampled out of step": lambda: spots(39),
    "small": lambda: spots(16),
    "a few px": lambda: spots(5),
    "round": lambda: [round_spot(tile) for tile in spots(64)],
    "padded as much": lambda: [padded(tile, 20) for tile in spots(64)],
    "padded more and less": lambda: [padded(tile, 5 + i % 30) for i, tile in enumerate(spots(64))],
    "JPEG blocks": lambda: [jpeg(tile, 10) for tile in spots(60)],
    "every tile twice": lambda: [*spots(64, 200), *spots(64, 200)],
    "one tile": lambda: spots(64)[:1] * 300,
    "glass": lambda: [np.full((64, 64, 3), 245, np.uint8)] * 200,
    "a single one": lambda: spots(64)[:1],
    "every second of tiles that touch": lambda: [t for i, t in enumerate(cut(scene(3, 16, 16))) if (i // 16 + i) % 2],
}


@pytest.mark.parametrize("kind", ALIKE)
def test_what_does_not_touch_is_no_pair(kind: str) -> None:
    assert pairs_among(ALIKE[kind]()) == set()


def test_few_pairs_cannot_be_told_from_chance() -> None:
    assert pairs_among(cut(scene(4, 3, 3))) == set()


def save(root: Path, name: str, tiles: list[NDArray[np.uint8]], first: int = 0, case: str | None = None) -> None:
    """As <case>-<number>.png; without a case, as of P0 and P1 in turn."""
    (root / name).mkdir(parents=True, exist_ok=True)
    for i, tile in enumerate(tiles, first):
        Image.fromarray(tile).save(root / name / f"{case or f'P{i % 2}'}-{i:03}.png")


def checked(folder: Path, *more: str) -> dict[str, list[str] | dict[str, int | None]]:
    done = CliRunner().invoke(app, ["dataset", "check", str(folder), "--source-mpp", "0.5", "--json", *more])
    assert done.exit_code == 0, done.output
    facts: dict[str, list[str] | dict[str, int | None]] = json.loads(done.stdout)
    return facts


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """A picture's even columns of tiles in one set, its odd ones in the other."""
    tiles = cut(scene(7, 12, 12))
    save(tmp_path / "train", "a", tiles[::2])
    save(tmp_path / "test", "a", tiles[1::2], len(tiles))
    return tmp_path / "train", tmp_path / "test"


def test_a_slide_in_both_sets_is_found_without_any_name_of_a_case(sets: tuple[Path, Path]) -> None:
    train, test = sets
    alone, both = checked(train), checked(train, "--test-folder", str(test))
    assert isinstance(both["touching"], dict)
    assert (both["touching"]["across"], both["touching"]["two_cases"]) == (pytest.approx(132, rel=0.1), None)
    assert "slides that are trained on are tested on: " in str(both["warnings"])
    assert isinstance(alone["touching"], dict)
    assert alone["touching"]["across"] is None
    assert "split by tile parts many" in str(alone["warnings"])


def test_cases_that_touching_tiles_contradict_are_named(tmp_path: Path) -> None:
    save(tmp_path, "a", cut(scene(7)))
    found = checked(tmp_path, "--case-pattern", r"^P(\d)")
    assert isinstance(found["touching"], dict)
    assert found["touching"]["two_cases"] > 0
    assert "touch and are of two cases, so case ids are wrong" in str(found["warnings"])
    assert "name the cases" not in str(found["warnings"])


def test_a_set_whose_cases_are_right_is_told_so(tmp_path: Path) -> None:
    """Pairs that are chance lie across cases, nearly all of them: few are found there, where none are."""
    for slide in range(3):
        save(tmp_path / "train", "a", cut(scene(30 + slide)), 1000 * slide, case=f"T{slide}")
    for i, tile in enumerate(spots(64, 300)):
        save(tmp_path / "train", "a", [tile], 9000 + i, case=f"S{i}")
    save(tmp_path / "test", "a", cut(scene(40)), case="U")
    found = checked(tmp_path / "train", "--test-folder", str(tmp_path / "test"), "--case-pattern", r"^(\w+)-")
    assert isinstance(found["touching"], dict)
    assert found["touching"].pop("within") == pytest.approx(3 * len(neighbours()), rel=0.1)
    assert found["touching"] == {"across": 0, "two_cases": 0}
    assert found["warnings"] == []


HUE = 12  # grey levels


def stained_slides(root: Path, gap_px: int) -> FolderSet:
    """Eight slides of one class, each from pale to dark, and a little different in hue."""
    dark = np.linspace(0, -90, 6 * SIDE)[None, :, None]
    for slide in range(8):
        angle = 2 * np.pi * slide / 8
        hue = np.array([0, -40, 0]) + HUE * np.array([np.cos(angle), 0, np.sin(angle)])
        picture = np.clip(scene(20 + slide, 4, 6) + dark + hue, 0, 255).astype(np.uint8)
        save(root, "a", [tile[gap_px:, gap_px:] for tile in cut(picture)], case=f"slide{slide}")
    return grouped_by_stain(read_folder(root, 0.5))


def purity(grouped: FolderSet) -> float:
    """Share of the tiles that are of the slide which most tiles of their group are of."""
    slide = np.array([int(path.stem[5]) for path in grouped.paths])
    found = np.array(grouped.groups)
    return sum(np.bincount(slide[found == name]).max() for name in set(found)) / len(found)


def test_touching_tiles_tell_stain_from_tissue(tmp_path: Path) -> None:
    """What touching tiles differ in is no stain: here the tissue is dark or pale, and a slide's hue is its own."""
    told, untold = (purity(stained_slides(tmp_path / str(gap_px), gap_px)) for gap_px in (0, 6))
    assert told > untold + 0.2  # untold, dark tiles of many slides are in one group


def test_mirrored_copies_say_nothing_of_stain(tmp_path: Path) -> None:
    tiles = spots(65, 64)
    save(tmp_path, "a", [*tiles, *(tile[:, ::-1] for tile in tiles)])
    grouped = grouped_by_stain(read_folder(tmp_path, 0.5))
    assert len(set(grouped.groups or ())) == 8
