"""Which way of finding tissue is best, on phantoms whose truth is known: a table, method × phantom."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu
from skimage.filters.rank import entropy
from skimage.morphology import disk

from benchmarks.figures import Figure
from benchmarks.slides import slides
from wsi import quality
from wsi.phantom import CLASSES, Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.slide import open_slide
from wsi.tissue import TissueOptions, survey
from wsi.tissuepixels import tidied

Mask = NDArray[np.bool_]
Method = Callable[[NDArray[np.uint8]], Mask]

_SIZE = (3600, 2800, 1.0)
_OPTIONS = TissueOptions()
# Pixels this near the outline are the outline's error, not tissue found on glass.
_NEAR_PX = 3
# On these phantoms a perfect mask grown (or shrunk) by one px of 8 µm all around has an IoU of 0.97: 0.95 is less than
# two px off, and leaves no room for a region missed.
_LEAST_IOU = 0.95
_REPEATS = 3

CASES = {
    "clean": PhantomSpec(31, *_SIZE),
    "pale": PhantomSpec(32, *_SIZE, classes=("ADI", "MUC"), fragments=("ADI", "MUC", "MUC")),
    "fragments": PhantomSpec(33, *_SIZE, fragments=("TUM", "STR", "ADI", "MUC"), dust=60),
    "stitched": PhantomSpec(34, *_SIZE, background_steps=True, shading=True),
    "glass": PhantomSpec(35, *_SIZE, pieces=1, bubbles=6, coverslip=True, dark_edges=True, dust=40),
    "faint": PhantomSpec(36, *_SIZE, stain_strength=0.5, background_steps=True),
    "folds": PhantomSpec(37, *_SIZE, folds=5, defocus_um=3.0),
    "pens": PhantomSpec(38, *_SIZE, pens=("black", "blue", "green", "red")),
    "all": PhantomSpec(
        39,
        *_SIZE,
        fragments=("TUM", "ADI", "MUC"),
        pens=("blue",),
        dust=60,
        background_steps=True,
        bubbles=4,
        folds=3,
        coverslip=True,
        dark_edges=True,
        shading=True,
        defocus_um=3.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """Of one mask, away from ink: IoU, recall of pale classes (NaN where there are none), share of it that is glass."""

    iou: float
    fat: float
    mucus: float
    on_glass: float


def measure() -> list[Figure]:
    """Figures `tissue.*`; prints a table of how the rival methods do."""
    scores = {name: _scores_of(spec) for name, spec in CASES.items()}
    _print(scores)
    ours = [methods["tesela"] for methods in scores.values()]
    best_rival = max(_mean(scores, method) for method in _RIVALS)
    pale = [recall for score in ours for recall in (score.fat, score.mucus) if not np.isnan(recall)]
    against = "the phantoms' truth at 8 µm/px, with the same least area and hole, away from ink"
    return [
        Figure(
            "tissue.iou",
            statistics.mean(score.iou for score in ours),
            "IoU",
            against,
            _LEAST_IOU,
            detail=f"worst {min(score.iou for score in ours):.3f}; best rival {best_rival:.3f}",
        ),
        Figure(
            "tissue.pale_recall",
            statistics.mean(pale),
            "share",
            against + "; of fat and mucus",
            0.95,
            detail=f"worst {min(pale):.3f}",
        ),
        Figure("tissue.on_glass", max(score.on_glass for score in ours), "share", against, 0.01, at_least=False),
        *_seconds(),
    ]


def _seconds() -> list[Figure]:
    """What finding tissue and measuring quality take on a slide of 21,760 px square, opening included."""
    found, measured = [], []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        with open_slide(slides()["phantom"]) as slide:
            seen = survey(slide, _OPTIONS)
            found.append(time.perf_counter() - began)
            quality.measure(slide, seen)
            measured.append(time.perf_counter() - began - found[-1])
    against = "nothing: one slide of 21,760 px square at 0.5 mpp"
    return [
        Figure("tissue.find_s", min(found), "s", against, 1.0, at_least=False),
        Figure("tissue.quality_s", min(measured), "s", against, 1.0, at_least=False),
    ]


def _scores_of(spec: PhantomSpec) -> dict[str, Scores]:
    phantom = Phantom(spec)
    with open_slide(phantom_file(spec)) as slide:
        ours = survey(slide, _OPTIONS).tissue.mask
        rgb = slide.read_to(slide.bounds, (ours.shape[1], ours.shape[0]))
    masks = {"tesela": ours, **{name: _tidy(method(rgb)) for name, method in _RIVALS.items()}}
    return {name: _score(mask, phantom) for name, mask in masks.items()}


def phantom_file(spec: PhantomSpec) -> Path:
    """The phantom as a slide, written once."""
    path = Path("build/bench") / f"tissue-{hashlib.sha256(repr(spec).encode()).hexdigest()[:12]}.ome.tif"
    if not path.exists():
        write_tiled(Phantom(spec), path)
    return path


def _score(mask: Mask, phantom: Phantom) -> Scores:
    truth = _tidy(_shrunk(phantom.tissue, mask.shape))
    clear = ~cv2.dilate(_shrunk(phantom.ink, mask.shape).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    near = cv2.dilate(truth.astype(np.uint8), disk(_NEAR_PX)).astype(bool)
    recalls = {}
    for name in ("ADI", "MUC"):
        of_class = _shrunk(phantom.class_map == CLASSES.index(name), mask.shape) & truth & clear
        recalls[name] = float(mask[of_class].mean()) if of_class.any() else float("nan")
    found, wanted = mask & clear, truth & clear
    return Scores(
        float((found & wanted).sum() / (found | wanted).sum()),
        recalls["ADI"],
        recalls["MUC"],
        float((found & ~near).sum() / max(1, found.sum())),
    )


def _shrunk(mask: Mask, shape: tuple[int, ...]) -> Mask:
    return np.asarray(cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5)


def _tidy(mask: Mask) -> Mask:
    """Least areas and holes as the options say: what is smaller is not asked for, nor counted against a method."""
    px_mm2 = _OPTIONS.mask_mpp**2 / 1e6
    return tidied(mask, _OPTIONS.min_area_mm2 / px_mm2, _OPTIONS.max_hole_mm2 / px_mm2)


def _saturation(rgb: NDArray[np.uint8]) -> Mask:
    """Otsu on HSV saturation, smoothed."""
    saturation = cv2.medianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1], 7)
    return _closed(saturation > threshold_otsu(saturation))


def _entropy(rgb: NDArray[np.uint8]) -> Mask:
    """Otsu on local entropy of grey levels, in a disc of 5 px (40 µm)."""
    found = entropy(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), disk(5))
    return _closed(found > threshold_otsu(found))


def _hed(rgb: NDArray[np.uint8]) -> Mask:
    """Otsu on hematoxylin plus eosin after colour deconvolution."""
    hed = rgb2hed(rgb)
    stain = cv2.GaussianBlur((hed[..., 0] + hed[..., 1]).astype(np.float32), (0, 0), 1)
    return _closed(stain > threshold_otsu(stain))


def _grey(rgb: NDArray[np.uint8]) -> Mask:
    """Otsu on grey level: the plainest of all."""
    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1)
    return _closed(grey < threshold_otsu(grey))


def _closed(mask: Mask) -> Mask:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disk(3)), bool)


_RIVALS: dict[str, Method] = {"saturation": _saturation, "entropy": _entropy, "HED": _hed, "grey": _grey}


def _mean(scores: dict[str, dict[str, Scores]], method: str) -> float:
    return statistics.mean(methods[method].iou for methods in scores.values())


def _print(scores: dict[str, dict[str, Scores]]) -> None:
    methods = ["tesela", *_RIVALS]
    table = Table("phantom", *methods, title="IoU · recall of fat, of mucus · share on glass, in %")
    for name, by_method in scores.items():
        table.add_row(name, *(_cell(by_method[method]) for method in methods))
    table.add_row("mean IoU", *(f"{_mean(scores, method):.3f}" for method in methods))
    Console(width=160).print(table)


def _cell(score: Scores) -> str:
    recalls = " ".join("  –" if np.isnan(value) else f"{value * 100:3.0f}" for value in (score.fat, score.mucus))
    return f"{score.iou:.3f} · {recalls} · {score.on_glass * 100:4.1f}"
