"""The workflow itself: a cohort with every kind of slide, run as a user would, with a model that it trains."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import yaml
from page_policy import assert_reaches_for_nothing
from PIL import Image

from wsi.phantom import Phantom, PhantomSpec, class_tiles
from wsi.phantom.files import write_flat, write_tiled

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
CLASSES = ("BACK", "LYM", "STR")


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow of `folder`; stdout and stderr together."""
    return subprocess.run(command(folder, *words), capture_output=True, text=True, check=False, env=environment())


def command(folder: Path, *words: str) -> list[str]:
    base = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    return [*base, "--directory", str(folder), "--configfile", str(folder / "run.yaml"), *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def jobs(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Names of the rules that a dry run would run."""
    lines = (done.stdout + done.stderr).splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Job stats:")), None)
    if start is None:
        return set()
    names = (line.split() for line in lines[start + 3 :])
    return {words[0] for words in iter(lambda: next(names, []), []) if words[0] not in ("total", "all")}


def configure(folder: Path, **changes: object) -> None:
    config = {
        "run": "test",
        "slides": str(folder / "slides"),
        "sheet": str(folder / "slides.csv"),
        "tile": {"size_px": 64, "mpp": 1.0},
        "train": {
            "folder": str(folder / "tiles"),
            "source_mpp": 1.0,
            "architecture": "resnet10t",
            "epochs": 3,
            "batch_size": 16,
            "precision": "32-true",
            "learning_rate": 0.003,
        },
        "predict": {"precision": "32-true"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump({**config, **changes}))


def sheet(folder: Path, rows: dict[str, str]) -> None:
    lines = [f"{slide},{mpp}" for slide, mpp in rows.items()]
    (folder / "slides.csv").write_text("\n".join(["slide,mpp", *lines]) + "\n")


def draw_tiles(folder: Path) -> None:
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number, tile in enumerate(class_tiles(3, name, 24, 64, mpp=1.0)):
            Image.fromarray(tile).save(folder / name / f"{number}.png")


def status(folder: Path) -> dict[str, dict[str, str]]:
    found = json.loads((folder / "results" / "test" / "status.json").read_text())
    return {slide["id"]: slide for slide in found["slides"]}


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A cohort with good slides of one name in two folders, and one of each bad kind; run once."""
    folder = tmp_path_factory.mktemp("hard")
    slides = folder / "slides"
    phantom = Phantom(PhantomSpec(4, 1100, 900, 0.5, pieces=1, classes=("LYM", "STR")))
    write_tiled(phantom, slides / "monday" / "a.tif")
    write_flat(phantom, slides / "tuesday" / "a.tif")
    write_tiled(phantom, slides / "no-mpp.tif", with_mpp=False)
    write_tiled(Phantom(PhantomSpec(4, 600, 500, 2.0, pieces=1)), slides / "coarse.tif")
    (slides / "text.tif").write_text("not a slide")
    (slides / "odd {x}.tif").write_text("a name that Snakemake takes for a wildcard")
    white = np.full((700, 800, 3), 243, np.uint8)
    tifffile.imwrite(
        slides / "white.tif", white, photometric="rgb", tile=(256, 256), resolution=(1e4, 1e4), resolutionunit=3
    )
    draw_tiles(folder / "tiles")
    rows = ("monday/a.tif", "tuesday/a.tif", "no-mpp.tif", "coarse.tif", "text.tif", "odd {x}.tif", "white.tif")
    sheet(folder, dict.fromkeys(rows, ""))
    configure(folder)
    return folder, snakemake(folder)


def test_one_bad_slide_loses_nothing_else_and_the_exit_code_says_so(
    hard: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = hard
    assert done.returncode != 0
    states = {slide_id: slide["state"] for slide_id, slide in status(folder).items()}
    assert states == {
        "monday__a": "ok",
        "tuesday__a": "ok",
        "no-mpp": "failed",
        "coarse": "failed",
        "text": "failed",
        "odd-x-": "failed",
        "white": "no-tissue",
    }


def test_a_home_that_cannot_be_written_is_no_matter(hard: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """As in containers and on nodes of a cluster; Snakemake keeps its cache there unless it is told otherwise."""
    homeless = {key: value for key, value in environment().items() if not key.startswith("XDG_")} | {"HOME": "/proc/x"}
    done = subprocess.run(command(hard[0], "-n"), capture_output=True, text=True, check=False, env=homeless)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_braces_in_options_are_no_wildcards(
    hard: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """A pattern of cases has them, a class or a case may."""
    given = yaml.safe_load((hard[0] / "run.yaml").read_text())
    train = {**given["train"], "case_pattern": r"(\d{1,3})"}
    configure(tmp_path, **{**given, "train": train, "label": {"name": "{x}"}})
    done = snakemake(tmp_path, "-n", "-p")
    assert done.returncode == 0, done.stdout + done.stderr
    assert r"(\\d{1,3})" in done.stdout + done.stderr


def test_a_failed_slide_says_why_and_what_to_do(hard: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    found = status(hard[0])
    assert "column 'mpp' of the sheet" in found["no-mpp"]["reason"]
    assert "1 mpp asked, the finest level has 2" in found["coarse"]["reason"]
    assert "allow_upsample" in found["coarse"]["reason"]
    assert "text.tif: not a slide" in found["text"]["reason"]
    assert "rename it" in found["odd-x-"]["reason"]


def test_the_report_shows_every_slide_and_reaches_for_nothing(
    hard: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    html = (hard[0] / "results" / "test" / "report.html").read_text()
    for slide_id, slide in status(hard[0]).items():
        assert f'id="{slide_id}"' in html
        assert slide["reason"].split(";")[0].split("'")[0] in html
    assert_reaches_for_nothing(html)
    # But for the pictures: among a million random letters there may be any four.
    said = re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "", html)
    assert "http" not in said.replace("http-equiv", "").replace('xmlns="http', "")
    assert "Research use only" in html


def test_a_good_slide_leaves_all_its_files(hard: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    slides = hard[0] / "results" / "test" / "slides"
    common = {"slide.json", "tissue.geojson", "thumbnail.jpg", "quality.json", "tiles.parquet", "predictions.parquet"}
    common |= {"summary.json", "heatmap.ome.zarr", "overlay.ome.tif", "overlay.png"}
    common |= {"tiles.geojson.gz", "regions.geojson", "tiles.csv"}
    assert {path.name for path in (slides / "monday__a").iterdir()} == common
    # Only the flat file was converted, and it gives the same scores.
    assert {path.name for path in (slides / "tuesday__a").iterdir()} == common | {"slide.ome.tif"}
    table = pq.read_table(slides / "monday__a" / "predictions.parquet")
    probabilities = np.stack([table[f"prob_{name}"].to_numpy() for name in CLASSES], axis=1)
    scored = ~np.isnan(probabilities[:, 0])
    assert (scored == ~table["blank"].to_numpy(zero_copy_only=False)).all()
    np.testing.assert_allclose(probabilities[scored].sum(axis=1), 1, atol=1e-5)


def test_the_cohort_table_holds_areas_and_states(hard: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    rows = {row["id"]: row for row in pq.read_table(hard[0] / "results" / "test" / "cohort.parquet").to_pylist()}
    assert rows["monday__a"]["area_mm2_LYM"] + rows["monday__a"]["area_mm2_STR"] > 0
    assert rows["white"]["tissue_area_mm2"] == 0
    assert rows["no-mpp"]["tissue_area_mm2"] is None


def test_an_mpp_in_the_sheet_mends_the_slide_and_runs_nothing_else_again(
    hard: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder = hard[0]
    before = stamps(folder / "results" / "test" / "slides" / "monday__a")
    sheet(folder, {"monday/a.tif": "", "tuesday/a.tif": "", "no-mpp.tif": "0.5", "white.tif": ""})
    assert snakemake(folder).returncode == 0
    assert {slide["state"] for slide in status(folder).values()} == {"ok", "no-tissue"}
    assert set(status(folder)) == {"monday__a", "tuesday__a", "no-mpp", "white"}
    assert stamps(folder / "results" / "test" / "slides" / "monday__a") == before

    assert jobs(snakemake(folder, "--dry-run")) == set()  # a second time there is nothing to do
    configure(folder, overlay={"alpha": 0.2})
    assert jobs(snakemake(folder, "--dry-run")) == {"overlay", "report"}
    configure(folder, tile={"size_px": 64, "mpp": 1.0, "min_tissue": 0.3})
    assert jobs(snakemake(folder, "--dry-run")) == {"tiles", "predict", "overlay", "export", "report"}  # no training
    configure(folder, export={"threshold": 0.9})
    assert jobs(snakemake(folder, "--dry-run")) == {"export"}


def test_a_killed_run_started_again_gives_what_an_unbroken_one_gives(tmp_path: Path) -> None:
    phantom = Phantom(PhantomSpec(6, 2000, 1500, 0.5, pieces=1, classes=("LYM", "STR")))
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        write_flat(phantom, tmp_path / name / "slides" / "one.tif")
        write_tiled(phantom, tmp_path / name / "slides" / "two.tif")
        draw_tiles(tmp_path / name / "tiles")
        sheet(tmp_path / name, {"one.tif": "", "two.tif": ""})
        configure(tmp_path / name)
    assert snakemake(tmp_path / "whole").returncode == 0
    killed = tmp_path / "killed"
    for written in ("slides/one/slide.json", "models/model/train.yaml", "slides/two/predictions.parquet"):
        kill_once_there(killed, killed / "results" / "test" / written)
        snakemake(killed, "--unlock")
    assert snakemake(killed).returncode == 0
    assert contents(killed) == contents(tmp_path / "whole")
    assert not list((killed / "results").rglob("*.partial*"))


def kill_once_there(folder: Path, path: Path) -> None:
    """Start the workflow and SIGKILL it with all its children just after `path` was written."""
    process = subprocess.Popen(
        command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment()
    )
    while process.poll() is None and not path.exists():
        time.sleep(0.05)
    time.sleep(0.3)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.2)


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def contents(folder: Path) -> dict[str, object]:
    """What every slide was given: tables by value, files by digest; paths inside files made equal."""
    found: dict[str, object] = {}
    for path in sorted((folder / "results" / "test" / "slides").rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            found[name] = pq.read_table(path).to_pydict().__repr__()
        else:
            content = re.sub(rb'"(pixels_)?stamp": "[^"]*"', b"", path.read_bytes())  # when files were written
            found[name] = hashlib.sha256(content.replace(str(folder).encode(), b"")).hexdigest()
    return found


def test_a_faulty_configuration_stops_before_the_first_job(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").touch()
    (tmp_path / "run.yaml").write_text("run: r\nslides: slides\nmodel: {path: m}\noverlai: {}\n")
    done = snakemake(tmp_path)
    assert done.returncode == 2
    assert "tesela: error:" in done.stderr
    assert "unknown key 'overlai'" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_failed_training_leaves_no_slide_that_looks_done(
    hard: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(hard[0], folder)
    (folder / "run.yaml").write_text((folder / "run.yaml").read_text().replace(str(hard[0]), str(folder)))
    shutil.rmtree(folder / "results" / "test" / "models" / "model")
    (folder / "results" / "test" / "models" / "model").mkdir()
    subprocess.run([sys.executable, "-m", "pipelines.cli", "report", str(folder / "results" / "test")], check=True)
    found = status(folder)
    assert found["monday__a"]["state"] == "failed"
    assert "not trained to the end" in found["monday__a"]["reason"]


def test_an_annotated_slide_can_train_the_model(tmp_path: Path) -> None:
    phantom = Phantom(PhantomSpec(8, 2600, 2000, 0.5, pieces=1, classes=("LYM", "STR", "MUS")))
    from wsi.phantom.files import write_truth

    write_tiled(phantom, tmp_path / "slides" / "one.tif")
    write_truth(phantom, tmp_path / "slides" / "one.geojson")
    (tmp_path / "slides.csv").write_text("slide,case,annotation,split\none.tif,P1,one.geojson,train\n")
    configure(
        tmp_path,
        train={"slides": True, "architecture": "resnet10t", "epochs": 2, "batch_size": 16, "precision": "32-true"},
    )
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stderr
    model = json.loads((tmp_path / "results" / "test" / "models" / "model" / "model.json").read_text())
    assert model["classes"] == ["LYM", "MUS", "STR"]
    html = (tmp_path / "results" / "test" / "report.html").read_text()
    assert "trained on this slide" in html  # an overlay of a training slide proves nothing, and says so


def test_the_preview_shows_heat_where_the_tissue_is(hard: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    slide = hard[0] / "results" / "test" / "slides" / "monday__a"
    picture = cv2.imread(str(slide / "overlay.png"))
    assert picture is not None
    assert np.ptp(picture, axis=2).max() > 80
