"""Whether what a slide left behind belongs together: all of this slide, and each made of what lies beside it now.

By content, not by time: a file written anew with the same content leaves what was made of it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import zarr

from wsi.digest import sha256_of
from wsi.errors import SlideError
from wsi.exports.about import export_predictions
from wsi.overlay import overlay_provenance
from wsi.preview import preview_provenance
from wsi.provenance import made_of_table, slide_of_table
from wsi.scores import made_of
from wsi.slideinfo import SlideInfo
from wsi.source import Url, file_of, source_of
from wsi.tiles import read_schema

# Stage, and what is wrong with what it left.
Fault = tuple[str, str]


def first_fault(run: Path, folder: Path) -> Fault | None:
    """The first stage whose files do not belong to the slide or to what they were made of; None where all do.

    All of `STAGE_FILES` are there. Raises OSError or WsiError where a file cannot be read.
    """
    return next(_faults(run, folder), None)


def _faults(run: Path, folder: Path) -> Iterator[Fault]:
    info = SlideInfo.load(folder / "slide.json")
    if (replaced := _replaced(info, folder / "slide.json")) is not None:
        yield "ingest", replaced
    if _json(folder / "quality.json").get("slide") != info.fingerprint:
        yield "tissue", _other_slide("quality.json and tissue.geojson")
    yield from _of_tiles(folder, info.fingerprint)
    yield from _of_predictions(run, folder, info.fingerprint)
    yield from _of_pictures(folder, info.fingerprint)


def _replaced(info: SlideInfo, path: Path) -> str | None:
    """That the slide is another one than when it was ingested. One that cannot be reached now is not judged."""
    files = [file_of(source_of(name)) for name in (info.source, info.path)]
    if any(isinstance(file, Url) or not file.exists() for file in files):
        return None
    try:
        info.require_unchanged(path)
    except SlideError as error:
        return str(error)
    return None


def _of_tiles(folder: Path, slide: str) -> Iterator[Fault]:
    schema = read_schema(folder / "tiles.parquet")
    if slide_of_table(schema) != slide:
        yield "tiles", _other_slide("tiles.parquet")
    if made_of_table(schema).get("tissue") != sha256_of(folder / "tissue.geojson"):
        yield (
            "tiles",
            "the outlines of the tissue have changed since the tiles were cut; delete tiles.parquet and run again",
        )


def _of_predictions(run: Path, folder: Path, slide: str) -> Iterator[Fault]:
    sources = made_of(folder / "predictions.parquet")
    if sources["slide"] != slide:
        yield "predict", _other_slide("predictions.parquet")
    model = run / "models" / sources["model"]
    if model.is_dir():
        if not (model / "model.json").exists():
            yield "predict", "the model was not trained to the end; run again"
        elif _is_other(_json(model / "model.json"), sources):
            yield (
                "predict",
                "the model was trained again since this slide was scored, or sealed anew; "
                "delete predictions.parquet and run again",
            )
    if sha256_of(folder / "tiles.parquet") != sources.get("tiles"):
        yield "predict", "the tiles have changed since they were scored; delete predictions.parquet and run again"


def _is_other(description: Mapping[str, Any], sources: Mapping[str, str]) -> bool:
    """Whether a model is not the one that scored: by its digest; by its weights alone where it has none, as of old."""
    if description.get("digest") is not None:
        return bool(description["digest"] != sources.get("model_digest"))
    return bool(description.get("weights_sha256") != sources.get("weights"))


def _of_pictures(folder: Path, slide: str) -> Iterator[Fault]:
    """Summary, heat map, overlays and exports: all of the same scores."""
    digest = sha256_of(folder / "predictions.parquet")
    heatmap = zarr.open_group(folder / "heatmap.ome.zarr", mode="r").attrs.get("tesela")
    for name, recorded in (("summary.json", _json(folder / "summary.json")), ("heatmap.ome.zarr", heatmap)):
        if not isinstance(recorded, dict) or recorded.get("predictions") != digest:
            yield "predict", f"{name} is not of the scores in predictions.parquet; delete it and run again"
    pictures = {"overlay.png": preview_provenance, "overlay.ome.tif": overlay_provenance}
    for name, provenance in pictures.items():
        of_slide, of_predictions = provenance(folder / name)
        if of_slide != slide:
            yield "overlay", _other_slide(name)
        if of_predictions != digest:
            yield "overlay", f"the slide was scored again since {name} was painted; delete it and run again"
    for name in ("regions.geojson", "tiles.geojson.gz"):
        if (folder / name).exists() and export_predictions(folder / name) != digest:
            yield "export", f"the slide was scored again since {name} was written; delete it and run again"


def _other_slide(names: str) -> str:
    return f"{names}: of another slide than slide.json says; delete it and run again"


def _json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text("utf-8"))
    return value if isinstance(value, dict) else {}
