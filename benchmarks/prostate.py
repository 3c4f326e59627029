"""Tumour or not: learned from seven images that somebody drew on, measured on four others, by the workflow itself.

The copies are drawn here, around the tumour of each image's mask. The four are measured against their masks, not
against what was read from a pen.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.figures import Figure
from benchmarks.marked import COPIES, MPP, TUMOUR_CLASSES, drawn, joined, moved_copy
from wsi.annotations import Region, write_geojson
from wsi.pictures import jpeg_bytes
from wsi.shapes import polygons_of

_FOLDER = Path("build/bench/prostate")
_CONFIG = Path("configs/prostate.yaml")
_TEST = 4
_PEN = "green"


def measure() -> list[Figure]:
    """`prostate.*`: tumour tiles found, and balanced accuracy beside a colour histogram; [] where there are no images.

    No bound was set for these before they were measured: they are to be better than colour, and the rest is reported.
    """
    data = os.environ.get("TESELA_TEST_DATA")
    paths = sorted(Path(data, "prostate", "images").glob("*.jpg")) if data else []
    if not paths:
        return []
    _prepare(paths)
    _run("snakemake", "--cores", "2", "--quiet", "--configfile", str(_CONFIG))
    run, out = _FOLDER / "results" / "prostate", _FOLDER / "evaluation"
    _run("tesela", "evaluate", str(run / "models" / "prostate"), str(run), "--out", str(out))
    found = json.loads((out / "evaluation.json").read_text())
    against = f"labels from the masks, {_TEST} images of {len(paths)}, by image"
    recall, between = found["per_class"]["tumour"]["recall"], found["intervals"]["per_class"]["tumour"]["recall"]
    worst = min(slide["recall"]["tumour"] for slide in found["slides"]["tiles"])
    beside = max(found["baselines"], key=lambda entry: entry["balanced_accuracy"])
    return [
        Figure(
            "prostate.sensitivity",
            100 * recall,
            "%",
            against,
            90.0,
            detail=f"95 % interval {between}; worst image {worst:.1%}",
        ),
        Figure(
            "prostate.over_colour",
            100 * beside["margin"],
            "points",
            f"balanced accuracy of {beside['name']}, {beside['balanced_accuracy']:.1%}",
            0.0,
            detail=f"the model's {found['balanced_accuracy']:.1%}; {found['tiles']} tiles",
        ),
    ]


def _prepare(paths: list[Path]) -> None:
    """A marked copy of each training image, outlines of each test image, and the sheet."""
    tested = set(np.random.default_rng(0).choice(len(paths), _TEST, replace=False).tolist())
    _FOLDER.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, path in enumerate(paths):
        row = {
            "slide": path.resolve(),
            "id": path.stem,
            "case": path.stem,
            "mpp": MPP,
            "note": "its mpp is not known: 0.5 is assumed",
        }
        mask = cv2.imread(str(path.parent.parent / "masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        area, outlines = joined(np.isin(mask, TUMOUR_CLASSES))
        if number in tested:
            truth = _FOLDER / f"{path.stem}.geojson"
            write_geojson(truth, [Region(polygon, "tumour", "mask") for polygon in polygons_of(area, (1, 1))])
            rows.append({**row, "annotation": truth.resolve(), "split": "test"})
        else:
            rgb = np.asarray(cv2.imread(str(path))[..., ::-1], np.uint8)
            moved = COPIES["label.marked_agreement"]
            picture = moved_copy(drawn(rgb, outlines, np.random.default_rng(number), _PEN), moved)
            copy = _FOLDER / f"{path.stem}-marked.jpg"
            copy.write_bytes(jpeg_bytes(picture, moved.quality))
            rows.append({**row, "marked": copy.resolve(), "split": "train"})
    with (_FOLDER / "slides.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["slide", "id", "case", "mpp", "annotation", "marked", "split", "note"])
        writer.writeheader()
        writer.writerows(rows)


def _run(*command: str) -> None:
    environment = {
        **os.environ,
        "TESELA_PROSTATE": str(_FOLDER),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    subprocess.run(command, check=True, env=environment)
