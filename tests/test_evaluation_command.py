"""`tesela evaluate`: what it writes, what it says, what it refuses; and the baselines on real tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from coloured_tiles import make_slide
from page_policy import assert_reaches_for_nothing
from typer.testing import CliRunner

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.data import read_folder
from models.evaluation.baselines import colours, fitted_baselines
from models.evaluation.measure import measure
from models.evaluation.predicting import predict_tiles
from models.loading import decode_or_check
from models.network import build, to_input
from pipelines.cohort import Cohort, CohortSlide
from pipelines.commands.app import app
from pipelines.evaluating import evaluate
from pipelines.stages import ingest
from wsi.errors import InputError
from wsi.geometry import TileSpec
from wsi.source import source_of

TILE = TileSpec(32, 0.5, 32)
CLASSES = {"<b>blue": (60, 60, 180), "red": (190, 50, 50)}


pytestmark = pytest.mark.usefixtures("one_thread")


def write_tiles(root: Path, seed: int) -> Path:
    """Twelve tiles a class, told apart by colour; a class has a name that would be HTML if nobody looked."""
    generator = np.random.default_rng(seed)
    for name, colour in CLASSES.items():
        (root / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(generator.normal(colour, 25, (36, 36, 3)), 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(root / name / f"p{i // 2}-{i}.png"), pixels[:, :, ::-1])
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("data") / "test", 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never trained: it calls every tile the same."""
    folder = tmp_path_factory.mktemp("models") / "guess"
    torch.manual_seed(0)
    provenance = {"val": {"balanced_accuracy": 0.97}}
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    checkpoint = Checkpoint("resnet10t", tuple(sorted(CLASSES)), TILE, mean, std, 2.0, {"red": 0.3}, provenance)
    save_checkpoint(folder, checkpoint, build("resnet10t", 2).state_dict())
    return folder


@pytest.fixture(scope="module")
def evaluated(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("out") / "evaluation"
    train = write_tiles(tmp_path_factory.mktemp("train") / "train", 1)
    return out, evaluate(model, data, out, source_mpp=0.5, baselines_from=train, case_pattern=r"^(p\d+)-")


def test_it_writes_figures_pictures_and_a_page(evaluated: tuple[Path, dict[str, Any]], model: Path) -> None:
    out, found = evaluated
    written = json.loads((out / "evaluation.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(found))
    assert written["format"] == "tesela-evaluation/1"
    assert written["model"]["model_digest"] == json.loads((model / "model.json").read_text())["digest"]
    assert written["data"]["left_out"] == {}
    assert written["units"]["kind"] == "case"
    assert written["units"]["count"] == 6
    assert [entry["balanced_accuracy"] for entry in written["baselines"]] == [1.0, 1.0]
    assert {path.name for path in (out / "plots").iterdir()} == {
        *("confusion.png", "roc.png", "precision_recall.png", "reliability.png"),
        *("thresholds.png", "robustness.png", "errors.png"),
    }


def test_the_page_is_one_file_and_says_the_warnings_first(evaluated: tuple[Path, dict[str, Any]]) -> None:
    out, found = evaluated
    page = (out / "evaluation.html").read_text("utf-8")
    assert "<script" not in page
    assert_reaches_for_nothing(page)
    assert page.count("data:image/png;base64,") == 7
    assert "<b>blue" not in page
    assert "&lt;b&gt;blue" in page
    text = page.replace("&#39;", "'")
    assert found["warnings"]
    for warning in found["warnings"]:
        assert text.index(warning.split("<")[0]) < text.index("<h2>Figures")
    said = " | ".join(found["warnings"])
    assert "does better" in said
    assert "far below validation's 0.970" in said
    own = found["thresholds"]["red"]["own"]
    assert own["threshold"] == 0.3
    cells = "".join(f'<td class="number">{own[key]}</td>' for key in ("missed", "false_alarms"))
    assert f'<td>the model’s own</td><td class="number">0.300</td>{cells}' in page


def test_terminal_and_json_say_the_same(model: Path, data: Path, tmp_path: Path) -> None:
    line = ["evaluate", str(model), str(data), "--source-mpp", "0.5", "--out", str(tmp_path / "e"), "--json"]
    answer = CliRunner().invoke(app, line)
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["baselines"] == []
    for warning in found["warnings"]:
        assert f"warning: {warning}" in answer.stderr
    assert any("give the tiles that the model was trained on (--baselines-from)" in w for w in found["warnings"])
    assert any("no case ids" in warning for warning in found["warnings"])


def test_an_unknown_mpp_and_unknown_classes_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--source-mpp"):
        evaluate(model, data, tmp_path / "out", source_mpp=None)
    other = tmp_path / "other"
    (other / "green").mkdir(parents=True)
    assert cv2.imwrite(str(other / "green" / "a.png"), np.zeros((36, 36, 3), np.uint8))
    with pytest.raises(InputError, match="green"):
        evaluate(model, other, tmp_path / "out", source_mpp=0.5)
    assert not (tmp_path / "out").exists()


def test_baselines_are_not_fitted_on_what_is_evaluated(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--baselines-from is what is evaluated"):
        evaluate(model, data, tmp_path / "out", source_mpp=0.5, baselines_from=data)
    sets = [write_tiles(tmp_path / name, seed) for seed, name in enumerate(("train", "test"))]
    for root, cases in zip(sets, (("A", "B"), ("B", "C")), strict=True):
        keys = read_folder(root, 0.5).keys
        rows = "".join(f"{key},{cases[i % 2]}\n" for i, key in enumerate(keys))
        (root / "cases.csv").write_text("file,case\n" + rows)
    with pytest.raises(InputError, match="case B: in training and in test"):
        evaluate(model, sets[1], tmp_path / "out", source_mpp=0.5, baselines_from=sets[0])


def test_tiles_that_the_model_was_trained_on_are_recognised(model: Path, data: Path, tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    raw = json.loads((model / "model.json").read_text())
    raw["provenance"]["data"] = {"fingerprint": read_folder(data, 0.5).fingerprint()}
    (trained / "model.json").write_text(json.dumps(raw))
    (trained / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    found = evaluate(trained, data, tmp_path / "out", source_mpp=0.5)
    assert "trained on these very tiles" in found["warnings"][0]


def test_logits_do_not_depend_on_batches_and_are_those_of_the_network(model: Path) -> None:
    checkpoint, network = load_checkpoint(model)
    tiles = list(np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8))
    logits = predict_tiles(network, checkpoint, iter(tiles))
    assert logits.shape == (70, 2)
    with torch.inference_mode():
        alone = network(to_input(torch.from_numpy(tiles[69])[None], checkpoint.mean, checkpoint.std))
    np.testing.assert_allclose(logits[69], alone[0].numpy(), atol=1e-5)
    with pytest.raises(InputError, match="no tiles"):
        predict_tiles(network, checkpoint, [])


def test_tiles_that_do_not_fit_in_memory_give_the_same(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, network = load_checkpoint(model)
    tiles = read_folder(data, 0.5)
    kept = measure(network, checkpoint, tiles, None)
    monkeypatch.setattr("models.evaluation.measure.decode_or_check", lambda *_: None)
    streamed = measure(network, checkpoint, tiles, None)
    np.testing.assert_array_equal(kept.scored.logits, streamed.scored.logits)
    for one, other in zip(kept.changed, streamed.changed, strict=True):
        np.testing.assert_array_equal(one.predicted, other.predicted)


@pytest.mark.real
@pytest.mark.slow
def test_baselines_on_real_tiles_are_as_strong_as_they_are_known_to_be(real_data: Path) -> None:
    """Five colorectal classes: a histogram with a random forest is known to get 72 %, the mean colour 50 %."""
    spec = TileSpec(128, 0.875, 128)
    train, test = (read_folder(real_data / "tiles" / "crc5" / part, 0.5) for part in ("train", "test"))
    pictures = [decode_or_check(part, spec) for part in (train, test)]
    seen = [colours(part) for part in pictures if part is not None]
    mean, histogram = fitted_baselines(seen[0], train.labels, seen[1])
    assert (mean.predicted == test.labels).mean() == pytest.approx(0.50, abs=0.03)
    assert (histogram.predicted == test.labels).mean() == pytest.approx(0.73, abs=0.03)


def write_run(run: Path, tmp: Path) -> Path:
    """A run as the workflow leaves it: two test slides of four labelled tiles, of which one is blue throughout."""
    colours = {"one": ["red", "red", "<b>blue", "<b>blue"], "two": ["<b>blue"] * 4}
    rows = []
    for number, (name, columns) in enumerate(colours.items()):
        folder = run / "slides" / name
        folder.mkdir(parents=True)
        slide = make_slide(tmp, name, [(0, 0, 0), *(CLASSES[c] for c in columns), (0, 0, 0)])
        ingest(source_of(slide.slide), folder, mpp=0.25)
        table = pq.read_table(slide.tiles).to_pydict()
        table["label"] = [None, *columns, None]
        pq.write_table(pa.table(table), folder / "labels.parquet")
        label = "red" if "red" in columns else "<b>blue"
        rows.append(
            CohortSlide(name, str(slide.slide), case=f"P{number}", label=label, annotation="drawn", split="test")
        )
    Cohort(tuple(rows)).write(run / "cohort.csv")
    return run


def test_a_run_is_measured_on_its_labelled_test_slides_each_with_its_own_table(model: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path)
    found = evaluate(model, run, tmp_path / "out", source_mpp=None)
    assert (found["tiles"], found["units"]) == (8, {"kind": "case", "count": 2, "resamples": 1000, "level": 0.95})
    one, two = found["slides"]["tiles"]
    assert (one["slide"], one["tiles"], np.sum(one["confusion"], axis=1).tolist()) == ("one", 4, [2, 2])
    assert two["recall"]["red"] is None  # there is none to be found
    whole = found["slides"]["whole"]
    assert [slide["truth"] for slide in whole["slides"]] == ["red", "<b>blue"]
    page = (tmp_path / "out" / "evaluation.html").read_text("utf-8")
    assert "Slides as a whole" in page
    assert "<b>blue" not in page


def test_a_run_knows_its_mpp_and_says_what_it_lacks(model: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path)
    with pytest.raises(InputError, match="leave these options out"):
        evaluate(model, run, tmp_path / "out", source_mpp=0.5)
    Cohort((CohortSlide("one", "one.tif", split="train", annotation="drawn"),)).write(run / "cohort.csv")
    with pytest.raises(InputError, match="no slide of its cohort has labels"):
        evaluate(model, run, tmp_path / "out", source_mpp=None)
