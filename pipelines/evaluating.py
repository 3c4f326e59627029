"""A model on tiles of known class: evaluation.json, plots and a page of their own."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import Checkpoint, load_checkpoint
from models.data import FolderSet, LabelledSlide, SlideSet, TileSet, left_out_of, read_folder, read_slides
from models.description import NO_DIGEST
from models.evaluation import evaluate as evaluate_scored
from models.evaluation.measure import Measured, measure
from models.evaluation.plots import plot_all
from models.evaluation.scored import Scored
from models.evaluation.slides import slide_table, tiles_by_slide
from models.explain import Example, cam, confident_errors, gallery
from models.naming import name_of
from models.network import Network
from models.present import present_of
from models.splits import refuse_shared_cases
from pipelines.cohort import Cohort, CohortSlide
from pipelines.reporting.page import write_page
from wsi.atomic import write_json
from wsi.errors import InputError
from wsi.preview import RESEARCH_USE

FORMAT = "tesela-evaluation/1"
COHORT = "cohort.csv"  # by it a run is known
# What stands under each plot.
_CAPTIONS = {
    "confusion": "Rows are what tiles are, columns what they were called; shares are of the row.",
    "roc": "How much of each class is found, at each share of the rest that is falsely called it.",
    "precision_recall": "How much of what is called a class is of it, at each share of the class that is found.",
    "reliability": "Bars on the line: a probability of 0.8 is right 8 times in 10. Bars below it: too sure.",
    "thresholds": "What each threshold misses and what it calls falsely, each class against the rest.",
    "robustness": "The same tiles with their pictures changed; in brackets, by how much balanced accuracy moves.",
    "errors": "The most confident errors. Right of each tile, in the light: where the evidence lies for the class "
    "called (Grad-CAM, as coarse as the model's last feature map).",
}
_WIDE = frozenset({"thresholds", "errors", "reliability"})


@dataclass(frozen=True, eq=False)
class Given:
    """Tiles to measure on, those to fit the baselines on (None: across the cases of the first), labels of slides."""

    tiles: TileSet
    train_tiles: TileSet | None
    slide_labels: Mapping[str, str]


def given(data: Path, source_mpp: float | None, baselines_from: Path | None, case_pattern: str | None) -> Given:
    """What DATA holds: class folders of tiles at `source_mpp`, or a run, of which the labelled test slides are taken.

    Raises InputError where it holds neither, or options do not fit it.
    """
    if (data / COHORT).is_file():
        if source_mpp is not None or baselines_from is not None or case_pattern is not None:
            raise InputError(f"{data}: a run knows its mpp, its cases and its training slides; leave these options out")
        return _of_run(data)
    if source_mpp is None:
        raise InputError(f"{data}: tile pictures do not say their µm per px; give it with --source-mpp")
    tiles = read_folder(data, source_mpp, case_pattern)
    if baselines_from is None:
        return Given(tiles, None, {})
    train_tiles = read_folder(baselines_from, source_mpp)
    if baselines_from.samefile(data):
        raise InputError(
            f"{baselines_from}: --baselines-from is what is evaluated, and baselines would know it by heart; "
            "give the tiles that the model was trained on"
        )
    refuse_shared_cases(train_tiles, tiles)
    return Given(tiles, train_tiles, {})


def _of_run(run: Path) -> Given:
    slides = [slide for slide in Cohort.load(run / COHORT).slides if slide.drawn]
    test, train = ([slide for slide in slides if slide.split == split] for split in ("test", "train"))
    if not test:
        raise InputError(
            f"{run}: no slide of its cohort has labels (annotation or marked) and the split 'test'; "
            "measure on class folders of tiles, or give slides that split"
        )

    def labelled(chosen: Sequence[CohortSlide]) -> SlideSet:
        folders = [(run / "slides" / slide.id, slide.case or None) for slide in chosen]
        return read_slides([LabelledSlide(at / "slide.json", at / "labels.parquet", case) for at, case in folders])

    tiles, train_tiles = labelled(test), labelled(train) if train else None
    if train_tiles is not None:
        refuse_shared_cases(train_tiles, tiles)
    return Given(tiles, train_tiles, {s.id: s.label for s in test if s.label})


def evaluate(
    model: Path,
    data: Path,
    out: Path,
    *,
    source_mpp: float | None,
    baselines_from: Path | None = None,
    case_pattern: str | None = None,
) -> dict[str, Any]:
    """Write evaluation.json, plots/ and evaluation.html into `out`; returns what evaluation.json says.

    data: a folder with a sub-folder of tiles a class, at `source_mpp`, as is baselines_from (case_pattern: as for
    `read_folder`); or results/<run>, whose labelled test slides are taken. Raises InputError where something is
    missing or does not fit the model.
    """
    checkpoint, network = load_checkpoint(model)
    found_data = given(data, source_mpp, baselines_from, case_pattern)
    tiles = found_data.tiles
    network = network.to("cuda" if torch.cuda.is_available() else "cpu")
    measured = measure(network, checkpoint, tiles, found_data.train_tiles)
    validation = (checkpoint.provenance.get("val") or {}).get("balanced_accuracy")
    found = evaluate_scored(
        measured.scored,
        temperature=checkpoint.temperature,
        thresholds=checkpoint.thresholds,
        baselines=measured.baselines,
        changed=measured.changed,
        validation=validation,
    )
    if measured.no_baselines is not None:
        found["warnings"].append(measured.no_baselines)
    if checkpoint.digest is None:
        found["notes"].append(f"model {name_of(model)}: {NO_DIGEST}")
    if (checkpoint.provenance.get("data") or {}).get("fingerprint") == tiles.fingerprint():
        found["warnings"].insert(0, f"{data}: the model was trained on these very tiles: its figures here say nothing")
    if isinstance(tiles, FolderSet | SlideSet):
        found["notes"] += [f"{data}: {note}" for note in tiles.notes]
    if isinstance(tiles, SlideSet):
        found["slides"] = _by_slide(measured.scored, tiles, found_data.slide_labels, checkpoint.temperature)
    result = {"format": FORMAT, "model": _model(model, checkpoint, validation), "data": _data(data, tiles), **found}
    _write(out, result, measured, checkpoint, network)
    return result


def _by_slide(
    scored: Scored, tiles: SlideSet, labels: Mapping[str, str], temperature: float
) -> dict[str, list[dict[str, Any]] | dict[str, Any] | str | None]:
    """Tiles of each slide; and where all labels of slides are classes of the model, slides called by their tiles."""
    sources = np.array(tiles.sources)
    labels = {name: label for name, label in labels.items() if name in set(tiles.sources)}
    found: dict[str, Any] = {"tiles": tiles_by_slide(scored, tiles.sources), "whole": None, "note": None}
    others = sorted(set(labels.values()) - set(scored.classes))
    if others:
        found["note"] = f"the sheet labels slides {', '.join(others)}, which are no classes of the model: not compared"
    elif labels:
        probabilities = scored.probabilities(temperature)
        by_slide = {str(name): probabilities[sources == name] for name in np.unique(sources)}
        found["whole"] = slide_table(by_slide, labels, scored.classes)
    return found


def _model(folder: Path, checkpoint: Checkpoint, validation: float | None) -> dict[str, Any]:
    return {
        "name": name_of(folder),
        "architecture": checkpoint.architecture,
        "weights_sha256": checkpoint.weights_sha256,
        "model_digest": checkpoint.digest,
        "size_px": checkpoint.tile.size_px,
        "mpp": checkpoint.tile.mpp,
        "thresholds": checkpoint.thresholds,
        "validation_balanced_accuracy": validation,
    }


def _data(folder: Path, tiles: TileSet) -> dict[str, Any]:
    facts = {"path": str(folder), "tiles": len(tiles), "fingerprint": tiles.fingerprint()}
    return {**facts, "left_out": left_out_of(tiles)}


def _write(out: Path, result: dict[str, Any], measured: Measured, checkpoint: Checkpoint, network: Network) -> None:
    plots = plot_all(out / "plots", measured.scored, result)
    wrong = confident_errors(measured.scored.probabilities(checkpoint.temperature), measured.scored.labels)
    if len(wrong):
        plots["errors"] = out / "plots" / "errors.png"
        gallery(plots["errors"], _examples(wrong, measured, checkpoint, network))
    write_json(out / "evaluation.json", result)
    write_page(
        out / "evaluation.html",
        "evaluation",
        found=result,
        present=present_of(result),
        pictures=[(_data_url(path), _CAPTIONS[name], name in _WIDE) for name, path in plots.items()],
        version=version("tesela"),
        research_use=RESEARCH_USE,
    )


def _examples(
    indices: NDArray[np.int64], measured: Measured, checkpoint: Checkpoint, network: Network
) -> Sequence[Example]:
    """The tiles of `indices` with what speaks for the class they were called; without maps where there are none."""
    scored = measured.scored
    probabilities, called = scored.probabilities(checkpoint.temperature)[indices], scored.predicted[indices]
    pictures = np.stack(list(measured.pictures(indices)))
    device = next(network.parameters()).device
    inputs = checkpoint.inputs(pictures, device)
    try:
        maps: list[NDArray[np.float32] | None] = list(cam(network, inputs, called))
    except InputError:
        maps = [None] * len(indices)
    names = scored.classes
    return [
        Example(picture, heat, names[scored.labels[i]], names[called[k]], float(probabilities[k].max()))
        for k, (i, picture, heat) in enumerate(zip(indices, pictures, maps, strict=True))
    ]


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
