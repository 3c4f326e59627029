"""A guess at cases by stain: what looks alike stays on one side of a split, and the guess is called one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data import FolderSet, grouped_by_stain, read_folder
from models.evaluation import Scored
from models.splits import holdout, k_folds
from pipelines.config import TrainConfig
from pipelines.learning import TrainingSlides, tile_sets
from wsi.errors import InputError

STAINS = {"pink": (225, 160, 190), "violet": (150, 90, 170), "pale": (240, 225, 235), "brown": (160, 120, 90)}
TILES = 8  # of each stain and class


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes in four stains, 8 noisy tiles of each; the stain is in the file's name."""
    root = tmp_path_factory.mktemp("stained")
    generator = np.random.default_rng(0)
    for name in ("normal", "tumour"):
        (root / name).mkdir()
        for stain, colour in STAINS.items():
            for i in range(TILES):
                noise = generator.normal(0, 8, (32, 32, 3)) + generator.normal(0, 3, 3)
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / name / f"{stain}-{i}.png")
    return root


@pytest.fixture(scope="module")
def grouped(folder: Path) -> FolderSet:
    return grouped_by_stain(read_folder(folder, 0.5))


def groups_by_stain(tiles: FolderSet) -> dict[tuple[str, str], set[str]]:
    assert tiles.groups is not None
    found: dict[tuple[str, str], set[str]] = {}
    for key, group in zip(tiles.keys, tiles.groups, strict=True):
        name, file = key.split("/")
        found.setdefault((name, file.split("-")[0]), set()).add(group)
    return found


def test_tiles_of_one_group_are_of_one_stain_and_class(grouped: FolderSet) -> None:
    groups = list(groups_by_stain(grouped).values())
    assert sum(len(each) for each in groups) == len(set.union(*groups))  # no group is of two stains


def test_the_groups_are_the_same_every_time(folder: Path, grouped: FolderSet) -> None:
    told: list[float] = []
    assert grouped_by_stain(read_folder(folder, 0.5), told.append).groups == grouped.groups
    assert told[-1] == 1


def test_a_split_keeps_them_whole_and_calls_them_a_guess(grouped: FolderSet) -> None:
    groups = np.array(grouped.groups)
    for split in (holdout(grouped, 0.25, 0), *k_folds(grouped, 4, 0.2, 0)):
        assert not set(groups[split.val]) & set(groups[split.train])
        assert split.how == "no case ids: split by stain group, a guess"
        assert not split.by_tile


def test_intervals_over_them_say_what_they_are(grouped: FolderSet) -> None:
    logits = np.eye(2)[grouped.labels]
    units = Scored(grouped.classes, logits, grouped.labels, grouped.groups, grouped.group_kind).units
    assert units.count == len(set(grouped.groups or ()))
    assert "groups of tiles of like stain, a guess at cases" in str(units.caution)


def test_known_cases_are_better_than_a_guess(folder: Path) -> None:
    known = read_folder(folder, 0.5, r"^(\w+)-")
    with pytest.raises(InputError, match=r"cases are known.*train\.group_by: case"):
        grouped_by_stain(known)


def test_few_tiles_are_one_group_and_broken_ones_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (32, 32), (200, 10 * i, 90)).save(tmp_path / name / f"{i}.png")
    assert set(grouped_by_stain(read_folder(tmp_path, 0.5)).groups or ()) == {"a 1", "b 1"}
    (tmp_path / "b" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1 of 6 tiles cannot be used: .*1\.png"):
        grouped_by_stain(read_folder(tmp_path, 0.5))


def test_tiles_that_are_all_alike_are_no_trouble(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(16):
            Image.new("RGB", (32, 32), (255, 255, 255)).save(tmp_path / name / f"{i}.png")
    assert len(set(grouped_by_stain(read_folder(tmp_path, 0.5)).groups or ())) == 2


def test_the_configuration_asks_for_them(folder: Path) -> None:
    asked = {"folder": str(folder), "source_mpp": 0.5}
    plain, _ = tile_sets(TrainConfig.model_validate(asked), TrainingSlides())
    by_stain, _ = tile_sets(TrainConfig.model_validate(asked | {"group_by": "stain"}), TrainingSlides())
    assert (plain.group_kind, by_stain.group_kind) == ("tile", "stain group")
    with pytest.raises(ValueError, match="group_by"):
        TrainConfig.model_validate({"slides": True, "group_by": "stain"})
