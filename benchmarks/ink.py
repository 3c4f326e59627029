"""Pen outlines read as regions, against the tissue that people marked inside them, on 213 outlined slides.

The settings were chosen on one half of the slides; the figures are of the other. Both halves are fixed by a seed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from wsi import processes
from wsi.ink import InkOptions, ink_regions, regions_mask
from wsi.slide import open_slide
from wsi.tissue import TissueOptions, find_tissue

_SEED = 4
_FAILED = 0.5
# An outline lies this near the tissue that was marked in it; fewer px of plain ink do not tell the pen's colour.
_NEAR_PX, _LEAST_INK_PX = 40, 50
# Of plain black ink every channel is below this grey level.
_BLACK = 60
# For the tissue mask, which needs an mpp: sections of these thumbnails are 20 to 25 mm long.
_MPP = 22.0


@dataclass(frozen=True)
class Outlined:
    """How one slide came out: Dice of its regions, the pen's colour (see `pen_colour`), and how the tissue mask did.

    tissue_kept: share of the stained px of the truth that are in the tissue mask. ink_taken: share of plain ink that
    is in it, NaN where there is no plain ink.
    """

    name: str
    pen: str
    dice: float
    tissue_kept: float
    ink_taken: float


def measure() -> list[Figure]:
    """`ink.dice`, `ink.failed` and how the tissue mask treats pen and tissue; [] where the slides are not there."""
    folder = pens()
    if folder is None:
        return []
    tuned, reported = halves(folder)
    with ProcessPoolExecutor(2, mp_context=processes.fresh("benchmarks.ink")) as pool:
        found = dict(zip(tuned + reported, pool.map(outlined, tuned + reported, chunksize=4), strict=True))
    half = [found[path] for path in reported]
    _print(half, [found[path] for path in tuned])
    against = f"tissue marked by people, {len(half)} slides that nothing was tuned on"
    kept = [each.tissue_kept for each in found.values()]
    taken = [each.ink_taken for each in found.values() if not np.isnan(each.ink_taken)]
    everywhere = f"all {len(found)} outlined slides"
    return [
        Figure("ink.dice", float(np.mean([each.dice for each in half])), "", against, 0.93),
        Figure(
            "ink.failed",
            float(np.mean([each.dice < _FAILED for each in half])),
            "",
            f"share with Dice below {_FAILED}; {against}",
            0.03,
            at_least=False,
        ),
        Figure(
            "tissue.kept_by_pen", float(np.mean(kept)), "", f"share of stained px inside outlines, {everywhere}", 0.97
        ),
        Figure(
            "tissue.ink_taken", float(np.mean(taken)), "", f"share of plain ink px, {everywhere}", 0.01, at_least=False
        ),
    ]


def pens() -> Path | None:
    """The folder of outlined slides and their masks, where there is one."""
    data = os.environ.get("TESELA_TEST_DATA")
    folder = Path(data) / "pens" if data else None
    return folder if folder is not None and folder.is_dir() else None


def halves(folder: Path) -> tuple[list[Path], list[Path]]:
    """The slides that settings were chosen on, and those that are reported."""
    paths = sorted((folder / "slides").glob("*.jpg"))
    order = np.random.default_rng(_SEED).permutation(len(paths))
    first, second = np.sort(order[: len(paths) // 2]), np.sort(order[len(paths) // 2 :])
    return [paths[i] for i in first], [paths[i] for i in second]


def outlined(path: Path) -> Outlined:
    """Measure one slide."""
    cv2.setNumThreads(0)
    truth = read_truth(path)
    with open_slide(path) as slide:
        found = ink_regions(slide, InkOptions()).regions
        rgb = slide.read(slide.bounds)
    mask = regions_mask(found, slide.size)
    with open_slide(path, _MPP) as slide:
        tissue, _ = find_tissue(slide, TissueOptions())
    stained = truth & (np.ptp(rgb, axis=2) > 20)
    ink = plain_ink(rgb)
    return Outlined(
        path.stem,
        pen_colour(rgb, truth),
        2 * float((mask & truth).sum()) / max(1, int(mask.sum() + truth.sum())),
        float(tissue.mask[stained].mean()),
        float(tissue.mask[ink].mean()) if ink.any() else float("nan"),
    )


def read_truth(path: Path) -> NDArray[np.bool_]:
    """(h, w) the marked tissue: pure red on white, with a soft edge."""
    red, green, _ = np.moveaxis(cv2.imread(str(path.parent.parent / "masks" / f"{path.stem}.png"))[..., ::-1], 2, 0)
    return np.asarray((red > 200) & (green < 128))


def plain_ink(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h, w) px so black, so blue or so green that no tissue is, 3 px deep; not the rule of the product."""
    red, green, blue = (rgb[..., channel].astype(int) for channel in range(3))
    plain = (rgb.max(axis=2) < _BLACK) | (blue > red + 90) | (green > red + 30)
    return np.asarray(cv2.erode(plain.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def pen_colour(rgb: NDArray[np.uint8], truth: NDArray[np.bool_]) -> str:
    """black, blue or green: most of the plain ink around the truth; "unclear" where there is little.

    Told from the picture, not from what was found: a slide whose outline was missed counts against its pen.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _NEAR_PX + 1, 2 * _NEAR_PX + 1))
    near = (cv2.dilate(truth.astype(np.uint8), kernel) > 0) & ~truth
    ink = rgb[near & plain_ink(rgb)]
    if len(ink) < _LEAST_INK_PX:
        return "unclear"
    black = ink.max(axis=1) < _BLACK
    blue = ~black & (ink[:, 2] > ink[:, 1])
    counts = {"black": black.sum(), "blue": blue.sum(), "green": (~black & ~blue).sum()}
    return max(counts, key=lambda pen: int(counts[pen]))


def _print(reported: list[Outlined], tuned: list[Outlined]) -> None:
    by_pen: dict[str, list[float]] = defaultdict(list)
    for each in reported:
        by_pen[each.pen].append(each.dice)
    table = Table("pen", "slides", "mean Dice", "median", f"below {_FAILED}", title="Outlines, the reported half")
    rows = [*sorted(by_pen.items()), ("all", [each.dice for each in reported])]
    rows.append(("(the tuned half)", [each.dice for each in tuned]))
    for pen, dices in rows:
        failed = sum(dice < _FAILED for dice in dices)
        table.add_row(pen, f"{len(dices)}", f"{np.mean(dices):.3f}", f"{np.median(dices):.3f}", f"{failed}")
    Console(stderr=True).print(table)
