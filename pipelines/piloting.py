"""A pilot on a small labelled set: pilot.json, a plot of the learning curve and one page."""

from __future__ import annotations

import base64
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from models.pilot import pilot as run_pilot
from models.pilot.plots import plot_learning_curve
from models.pilot.summary import summary
from pipelines import learning
from pipelines.config import TrainFile
from pipelines.console import err, progress_bar
from pipelines.reporting.page import write_page
from wsi.atomic import write_json
from wsi.preview import RESEARCH_USE

FORMAT = "tesela-pilot/1"


def pilot(
    config: TrainFile,
    out: Path,
    slides: learning.TrainingSlides,
    *,
    sizes: int,
    seeds: int,
    quick: bool,
    threads: int | None = None,
) -> dict[str, Any]:
    """Write pilot.json, pilot.html, plots/ and points/ into `out`; returns what pilot.json says.

    The configuration's test folder is not touched. Raises InputError for tiles too few to try.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    settings = learning.settings_of(config)
    tiles, _ = learning.tile_sets(config.train, slides, tested=False)
    found = run_pilot(
        settings,
        tiles,
        out,
        sizes=sizes,
        seeds=seeds,
        quick=quick,
        bar=progress_bar,
        said=lambda line: err.print(line),
    )
    result = {
        "format": FORMAT,
        "tile": {"size_px": settings.tile.size_px, "mpp": settings.tile.mpp},
        "settings": settings.plain(),
        **summary(found),
    }
    plot = out / "plots" / "learning_curve.png"
    plot_learning_curve(plot, found)
    write_json(out / "pilot.json", result)
    _write_page(out / "pilot.html", result, plot)
    return result


def _write_page(path: Path, result: dict[str, Any], plot: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(plot.read_bytes()).decode()
    write_page(path, "pilot", found=result, plot=url, version=version("tesela"), research_use=RESEARCH_USE, zip=zip)
