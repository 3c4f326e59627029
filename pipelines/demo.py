"""The whole workflow on generated slides: what a newcomer runs first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image
from rich.progress import track

from pipelines.config import load_config
from pipelines.console import err
from wsi.phantom import CLASSES, Phantom, PhantomSpec, class_tiles
from wsi.phantom.files import write_flat, write_tiled, write_truth

_ROOT = Path(__file__).resolve().parent.parent
_CONFIG = _ROOT / "configs" / "demo.yaml"
_TILE_PX = 160  # larger than the model's 128, so that training can crop
_TILES_PER_CLASS = 90
_TEST_TILES_PER_CLASS = 20
_MPP = 0.5

# Each shows one thing: a common slide; pens, dust and a stitched background; a flat file that must be converted;
# and one whose file states no mpp, which the sheet gives.
_SLIDES = {
    "phantom-1": PhantomSpec(11, 4096, 3072, _MPP, pieces=2),
    "phantom-2": PhantomSpec(12, 4096, 3072, _MPP, pieces=3, pens=("blue",), dust=25, background_steps=True),
    "phantom-flat": PhantomSpec(13, 3001, 2203, _MPP, pieces=1),
    "phantom-no-mpp": PhantomSpec(14, 3000, 2000, _MPP, pieces=1),
}


def run_demo(folder: Path, cores: int | None) -> int:
    """Generate, then run Snakemake; returns its exit code."""
    cores = cores or _cores()
    err.print("1/2 drawing phantom slides and tiles", style="bold")
    _draw_slides(folder / "slides")
    _draw_tiles(folder / "tiles" / "train", seed=1, count=_TILES_PER_CLASS)
    _draw_tiles(folder / "tiles" / "test", seed=2, count=_TEST_TILES_PER_CLASS)
    os.environ["TESELA_DEMO"] = str(folder)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = load_config(_CONFIG).folder
    err.print(f"2/2 snakemake --cores {cores} --configfile configs/demo.yaml", style="bold")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(_ROOT / "Snakefile"), "--cores", str(cores)]
    # A demo that was killed must start again by the same command: nobody else works in its folder.
    done = subprocess.run([*command, "--configfile", str(_CONFIG), "--nolock"], check=False)
    if done.returncode == 0:
        err.print(f"\nreport:  {run / 'report.html'}")
        err.print(f"overlay: {run / 'slides' / 'phantom-1' / 'overlay.png'}")
    return done.returncode


def _cores() -> int:
    """Those that this process may use; of the whole machine where a system does not say that."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _draw_slides(folder: Path) -> None:
    rows = ["slide,id,case,mpp,note"]
    for name, spec in track(_SLIDES.items(), "slides", console=err):
        target = folder / f"{name}.tif"
        stated = "" if name != "phantom-no-mpp" else f"{_MPP},the file does not state its mpp; given here"
        rows.append(f"{target.name},{name},{name},{stated or ','}")
        if target.exists():
            continue
        phantom = Phantom(spec)
        write_truth(phantom, folder / f"{name}.geojson")
        if name == "phantom-flat":
            write_flat(phantom, target)
        else:
            write_tiled(phantom, target, with_mpp=not stated)
    (folder / "slides.csv").write_text("\n".join(rows) + "\n", "utf-8")


def _draw_tiles(folder: Path, seed: int, count: int) -> None:
    for name in track(CLASSES, f"tiles for {folder.name}", console=err):
        target = folder / name
        if len(list(target.glob("*.png"))) == count:
            continue
        target.mkdir(parents=True, exist_ok=True)
        for number, tile in enumerate(class_tiles(seed, name, count, _TILE_PX, _MPP)):
            Image.fromarray(tile).save(target / f"{name}-{number:03}.png")
