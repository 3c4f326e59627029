"""What a finished training is worth: what validation may be trusted to say, and what it may not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coloured_tiles import TILE

from models.data import read_folder
from models.evaluation.thresholds import Rule
from models.splits import Split
from models.training.fit import Outcome
from models.training.judge import Seen, Verdict, judge


def judged(folder: Path, by_tile: bool, scale: float) -> Verdict:
    """A network whose logits are `scale` apart and right but for every tenth tile; half of the tiles are validation."""
    tiles = read_folder(folder, 0.5)
    every = np.arange(len(tiles))
    parts = Split(every[::2], every[1::2], "no case ids: split by tile" if by_tile else "split by case", by_tile)
    labels = tiles.labels[parts.val]
    said = np.where(np.arange(len(labels)) % 10 == 0, (labels + 1) % 3, labels)
    val = Outcome((scale * np.eye(3)[said]).astype(np.float32), labels, 0.5)
    return judge(Seen(tiles, None), parts, val, None, None, TILE, Rule())


@pytest.mark.parametrize("by_tile", [True, False])
def test_too_sure_a_network_is_made_less_sure_whatever_the_split(tiles: Path, by_tile: bool) -> None:
    assert judged(tiles, by_tile, 20).temperature > 2


def test_only_tiles_of_other_cases_make_probabilities_surer(tiles: Path) -> None:
    """Right in nine of ten cases, and said with hardly more than a third."""
    by_case, by_tile = judged(tiles, False, 0.2), judged(tiles, True, 0.2)
    assert by_case.temperature < 0.2
    assert by_tile.temperature == 1
    assert not any("1 was kept" in note for note in by_case.val["notes"])
    assert any(
        f"temperature {by_case.temperature:.2f} fits validation; 1 was kept, since a split by tile" in note
        for note in by_tile.val["notes"]
    )
