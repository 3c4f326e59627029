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
from models.data.touching import SAMPLES, borders_of, find_touching
from pipelines.cli import app

SIDE, ROWS, COLS = 64, 8, 9


def scene(seed: int, rows: int = ROWS, cols: int = COLS) -> NDArray[np.uint8]:
    """A picture with structure at the scale of nuclei, as large as so many tiles."""
    generator = np.random.default_rng(seed)
    size = (rows * SIDE, cols * SIDE)
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


def pairs_among(tiles: list[NDArray[np.uint8]]) -> set[tuple[int, int]]:
    borders = np.stack([borders_of(tile) for tile in tiles])
    return {(int(a), int(b)) for a, b in find_touching(borders, np.zeros(len(tiles), np.int64))}


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
    assert len(found - truth) <= 0.02 * len(found)


def test_tiles_that_do_not_touch_are_no_pairs() -> None:
    apart = [cut(scene(seed, 1, 1))[0] for seed in range(150)]
    assert pairs_among(apart) == set()


def test_every_second_tile_touches_none() -> None:
    tiles, cols = cut(scene(3, 16, 16)), 16
    apart = [tile for i, tile in enumerate(tiles) if (i // cols + i % cols) % 2 == 0]
    assert pairs_among(apart) == set()


def test_tiles_of_two_classes_are_not_compared() -> None:
    borders = np.stack([borders_of(tile) for tile in cut(scene(0))])
    labels = np.arange(len(borders)) // (len(borders) // 2)
    found = find_touching(borders, labels)
    assert len(found)
    assert np.array_equal(labels[found[:, 0]], labels[found[:, 1]])


def test_a_mirrored_copy_touches_its_original() -> None:
    tiles = [cut(scene(seed, 1, 1))[0] for seed in range(60)]
    copies = [tile[:, ::-1] for tile in tiles]
    found = {(a % 60, b % 60) for a, b in pairs_among([*tiles, *copies])}
    truth = {(i, i) for i in range(60)}
    assert found >= truth
    assert len(found - truth) <= 1


def test_few_pairs_cannot_be_told_from_chance() -> None:
    tiles = cut(scene(4, 3, 3))
    assert pairs_among(tiles) == set()


@pytest.mark.parametrize("count", [1, 2, 200])
def test_glass_is_like_no_other(count: int) -> None:
    assert pairs_among([np.full((SIDE, SIDE, 3), 245, np.uint8)] * count) == set()


def save(root: Path, name: str, tiles: list[NDArray[np.uint8]], first: int = 0) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    for i, tile in enumerate(tiles, first):
        Image.fromarray(tile).save(root / name / f"P{i % 2}-{i:03}.png")


def checked(folder: Path, *more: str) -> dict[str, list[str] | dict[str, int]]:
    done = CliRunner().invoke(app, ["dataset", "check", str(folder), "--source-mpp", "0.5", "--json", *more])
    assert done.exit_code == 0, done.output
    facts: dict[str, list[str] | dict[str, int]] = json.loads(done.stdout)
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
    assert (both["touching"]["across"], both["touching"]["two_cases"]) == (pytest.approx(132, abs=7), 0)
    assert "slides that are trained on are tested on: " in str(both["warnings"])
    assert isinstance(alone["touching"], dict)
    assert alone["touching"]["across"] == 0
    assert "split by tile parts many" in str(alone["warnings"])


def test_cases_that_touching_tiles_contradict_are_named(tmp_path: Path) -> None:
    save(tmp_path, "a", cut(scene(7)))
    found = checked(tmp_path, "--case-pattern", r"^P(\d)")
    assert isinstance(found["touching"], dict)
    assert found["touching"]["two_cases"] > 0
    assert "touch and are of two cases, so a case is wrong" in str(found["warnings"])
    assert "name the cases" not in str(found["warnings"])


def stained_slides(root: Path, gap_px: int) -> FolderSet:
    """Two slides of one class, each from pale to dark, and a little different in hue; `gap_px` are lost in between."""
    for slide, hue in enumerate([(0, -40, 2), (2, -40, 0)]):
        dark = np.linspace(0, -90, COLS * SIDE)[None, :, None]
        picture = np.clip(scene(20 + slide) + dark + np.array(hue), 0, 255).astype(np.uint8)
        save(root, "a", [tile[gap_px:, gap_px:] for tile in cut(picture)], slide * ROWS * COLS)
    return grouped_by_stain(read_folder(root, 0.5))


def purity(grouped: FolderSet) -> float:
    """Share of the tiles that are of the slide which most tiles of their group are of."""
    slide = np.array([int(path.stem.split("-")[1]) // (ROWS * COLS) for path in grouped.paths])
    found = np.array(grouped.groups)
    return sum(np.bincount(slide[found == name]).max() for name in set(found)) / len(found)


def test_touching_tiles_tell_stain_from_tissue(tmp_path: Path) -> None:
    touching, apart = stained_slides(tmp_path / "touching", 0), stained_slides(tmp_path / "apart", 6)
    assert purity(touching) == 1
    assert purity(apart) < 0.95  # dark tiles of both slides are in one group
    assert len(set(touching.groups or ())) == 2  # each slide is one piece
