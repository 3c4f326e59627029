"""The whole way of one slide of 29,104 tiles, stage by stage, beside what a pipeline of this design took in 2018.

That pipeline ran on a Xeon and a GTX 1080, this one on two cores: other hardware, and no fair race. The figures tell
where the time goes, and what became of the stages that took longest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.predicting import ARCHITECTURE, untrained
from benchmarks.slides import flat
from benchmarks.tiling import tile_spec
from models.predict import PredictOptions
from pipelines import stages
from pipelines.predicting import Request, predict
from wsi.blank import BlankOptions
from wsi.exports import ExportOptions
from wsi.overlay import OverlayOptions
from wsi.tissue import TissueOptions

# 136 × 214 tiles of 128 px.
_WIDTH_PX, _HEIGHT_PX = 17_408, 27_392
_FOLDER = Path("build/bench/whole")
# Seconds in 2018. Its alpha-blending and reconstruction are one stage here.
_THEN = {"convert": 47, "tissue": 13, "tiles": 60, "predict": 120, "overlay": 17 * 60 + 27}


def measure() -> list[Figure]:
    """`whole.<stage>_s` for each stage that both have; what only this one does is told in the detail."""
    source = flat(_WIDTH_PX, _HEIGHT_PX)
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    seconds: dict[str, float] = {}
    said: dict[str, str] = {}
    for name, stage in _stages(source).items():
        began = time.perf_counter()
        said[name] = stage()
        seconds[name] = time.perf_counter() - began
    more = ", ".join(f"{name} {seconds[name]:.1f} s" for name in seconds if name not in _THEN)
    said["overlay"] += f"; not in 2018: {more}; all stages {sum(seconds.values()):.0f} s"
    return [
        Figure(
            f"whole.{name}_s",
            seconds[name],
            "s",
            "the 2018 pipeline on a Xeon and a GTX 1080: other hardware",
            then,
            at_least=False,
            detail=said[name],
        )
        for name, then in _THEN.items()
    ]


def _stages(source: Path) -> dict[str, Callable[[], str]]:
    """Each stage of the workflow, in order; it says what it did."""
    slide, tiles, predictions = (_FOLDER / name for name in ("slide.json", "tiles.parquet", "predictions.parquet"))
    spec = tile_spec(0.5)
    untrained(_FOLDER / "model", ARCHITECTURE, spec)

    def convert() -> str:
        stages.ingest(source, _FOLDER, None)
        return f"striped LZW, {_WIDTH_PX} × {_HEIGHT_PX} px, to a lossless pyramid"

    def tissue() -> str:
        return f"{stages.tissue(slide, _FOLDER, TissueOptions())['tissue_area_mm2']:.0f} mm² of tissue"

    def cut() -> str:
        kept = stages.tiles(
            slide,
            tiles,
            spec,
            BlankOptions(),
            min_tissue=0.1,
            allow_upsample=False,
            tissue_path=_FOLDER / "tissue.geojson",
            tissue_options=TissueOptions(),
            scheduler=None,
        )
        return f"29,104 tiles of 128 px, {kept:,} of them to score; no tile files"

    def score() -> str:
        (outcome,) = predict([Request(slide, _FOLDER, tiles)], _FOLDER / "model", PredictOptions())
        if outcome.error is not None:
            raise outcome.error
        return f"{ARCHITECTURE}; with loading the model"

    def paint() -> str:
        out, preview = _FOLDER / "overlay.ome.tif", _FOLDER / "overlay.png"
        stages.overlay(slide, predictions, out, OverlayOptions(), preview=preview, slide_id="whole")
        return "blend and pyramid in one, and overlay.png; 2018: alpha-blend 17 min, reconstruct 27 s"

    def export() -> str:
        return ", ".join(path.name for path in stages.export(slide, predictions, _FOLDER, ExportOptions()))

    return {"convert": convert, "tissue": tissue, "tiles": cut, "predict": score, "overlay": paint, "export": export}
