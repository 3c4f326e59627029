"""What comes from outside of a run counts by its content: a slide, a model or an annotation that was replaced is seen.

`cp -p`, `rsync -a`, unzip and restores leave a replaced file with its own, often older, time; Snakemake compares times.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from models.checkpoint import Checkpoint, save_checkpoint
from models.network import build
from wsi.digest import sha256_of
from wsi.fingerprint import fingerprint
from wsi.geometry import TileSpec
from wsi.overlay import overlay_provenance
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.scores import made_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
OLD_NS = 1_600_000_000 * 10**9


def write_slide(path: Path, seed: int) -> None:
    write_tiled(Phantom(PhantomSpec(seed, 512, 448, 1.0, pieces=1, classes=("LYM", "STR"))), path)
    os.utime(path, ns=(OLD_NS, OLD_NS))


def write_model(folder: Path, seed: int) -> None:
    """A network that was never trained: what it says is of no matter here."""
    torch.manual_seed(seed)
    network = build("resnet10t", 2, False, 64)
    checkpoint = Checkpoint("resnet10t", ("A", "B"), TileSpec(64, 1.0, 64), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    save_checkpoint(folder, checkpoint, network.state_dict())


def run(folder: Path, *words: str) -> set[str]:
    """Run the workflow; the names of the rules that ran, none where nothing was to be done. Fails where it does."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, "--directory", str(folder), "--configfile", str(folder / "run.yaml"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    if (start := next((i for i, line in enumerate(lines) if line.startswith("Job stats:")), None)) is None:
        return set()
    names = (line.split() for line in lines[start + 3 :])
    return {words[0] for words in iter(lambda: next(names, []), []) if words[0] not in ("total", "all")}


def configure(folder: Path, **changes: object) -> None:
    config = {
        "run": "test",
        "slides": str(folder / "slides"),
        "model": {"path": str(folder / "model")},
        "predict": {"precision": "32-true"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump({**config, **changes}))


def whose(folder: Path) -> set[str]:
    """The fingerprints of slides that the results of slide s speak of."""
    results = folder / "results" / "test" / "slides" / "s"
    texts = [json.loads((results / name).read_text()) for name in ("slide.json", "quality.json", "summary.json")]
    tables = [made_of(results / "predictions.parquet")["slide"], overlay_provenance(results / "overlay.ome.tif")[0]]
    return {texts[0]["fingerprint"], texts[1]["slide"], texts[2]["slide"], *tables}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replaced")
    write_slide(folder / "slides" / "s.tif", 4)
    write_model(folder / "model", 1)
    configure(folder)
    run(folder)
    return folder


def test_a_slide_replaced_by_an_older_one_is_made_anew_from_its_first_stage(finished: Path) -> None:
    slide = finished / "slides" / "s.tif"
    before = fingerprint(slide)
    assert run(finished, "--dry-run") == set()
    other = finished / "other.tif"
    write_slide(other, 5)
    shutil.copy2(other, slide)  # with its time
    os.utime(slide, ns=(OLD_NS - 10**12, OLD_NS - 10**12))
    assert run(finished) == {"ingest", "tissue", "tiles", "predict", "overlay", "export", "report"}
    assert whose(finished) == {fingerprint(slide)} != {before}
    configure(finished, overlay={"alpha": 0.3})
    assert run(finished) == {"overlay", "report"}
    assert whose(finished) == {fingerprint(slide)}

    slide.touch()
    assert run(finished) == set(), "a time alone makes nothing anew"

    write_model(finished / "model", 2)
    for name in ("model.json", "model.safetensors"):
        os.utime(finished / "model" / name, ns=(OLD_NS, OLD_NS))
    assert run(finished) == {"predict", "overlay", "export", "report"}
    weights = made_of(finished / "results" / "test" / "slides" / "s" / "predictions.parquet")["weights"]
    assert weights == sha256_of(finished / "model" / "model.safetensors")
