"""What the Snakemake rules ask for: paths, sections as options, and which slides do what."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from models.description import refuse_altered
from pipelines.cohort import Cohort, CohortSlide, load_cohort
from pipelines.config import DEFAULT_SIZE_PX, RunConfig, TileConfig, flags_of, load_config, parse_config
from pipelines.config.yaml_file import read_yaml
from pipelines.contents import Contents
from wsi.atomic import writing
from wsi.errors import InputError, WsiError
from wsi.exports import ExportOptions
from wsi.geometry import MPP_TOLERANCE, TileSpec


@dataclass(frozen=True)
class Workflow:
    """A checked configuration with its cohort."""

    config: RunConfig
    cohort: Cohort
    tile: TileConfig

    @classmethod
    def of(cls, config: RunConfig) -> Workflow:
        """Read the cohort and check that both fit. Raises InputError."""
        _check_results(config)
        cohort = load_cohort(
            Path(config.slides) if config.slides else None, Path(config.sheet) if config.sheet else None
        )
        _check_training(config, cohort)
        return cls(config, cohort, _tile_of(config))

    @classmethod
    def load(cls, path: Path) -> Workflow:
        """From a YAML file."""
        return cls.of(load_config(path))

    @property
    def folder(self) -> str:
        """results/<run>."""
        return str(self.config.folder)

    @property
    def slide_folder(self) -> str:
        """Folder of one slide's results, with Snakemake's wildcard in it."""
        return f"{self.folder}/slides/{{slide}}"

    @property
    def model(self) -> str:
        """Folder of the model that scores."""
        return str(self.config.model_folder)

    @property
    def trains(self) -> bool:
        """The run trains its own model."""
        return self.config.train is not None

    @property
    def train_file(self) -> str:
        """What training depends on, as JSON (which is YAML): of the tiles, their size and mpp and nothing else."""
        return json.dumps(self.config.model_dump(mode="json", include={"tile": {"size_px", "mpp"}, "train": True}))

    def keep_config(self) -> None:
        """Write the configuration into the run's folder as it was understood, for the report and for people.

        Beside it, what the files from outside hold, so that the next start need not look again.
        """
        self._contents.save()
        with writing(Path(self.folder) / "config.yaml") as temporary:
            values = self.config.model_dump(mode="json", exclude_none=True)
            temporary.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), "utf-8")

    def source(self, slide: str) -> list[str]:
        """The user's file of a slide; none where its name cannot be used."""
        found = self.cohort[slide]
        return [] if found.fault else [str(found.file)]

    @property
    def refused(self) -> str:
        """Regular expression of the ids of slides whose names cannot be used; without them it matches nothing."""
        return "|".join(re.escape(slide.id) for slide in self.cohort.slides if slide.fault) or "(?!)"

    def mpp_flags(self, slide: str) -> str:
        """`--mpp …` where the sheet gives one."""
        mpp = self.cohort[slide].mpp
        return "" if mpp is None else f"--mpp {mpp}"

    def flags(self, *sections: str) -> str:
        """Sections as command-line options."""
        return " ".join(flags_of(getattr(self.config, name)) for name in sections)

    def tile_flags(self) -> str:
        """The tiles to cut, the tissue mask's resolution and which slides to take, as options of `tesela tiles`."""
        tissue = self.config.tissue
        return f"{flags_of(self.tile)} --mask-mpp {tissue.mask_mpp}{' --any-stain' if tissue.any_stain else ''}"

    @property
    def exports(self) -> tuple[str, ...]:
        """Names of the files that every slide's scores are exported to."""
        return tuple(ExportOptions(formats=self.config.export.formats).files.values())

    @property
    def scoring_group(self) -> str:
        """Group of the jobs that come after the model: apart where the model is trained between them and the first."""
        return "scored" if self.trains else "slide"

    @cached_property
    def _contents(self) -> Contents:
        return Contents(Path(self.folder) / "contents.json")

    @cached_property
    def _slide_digests(self) -> dict[str, str]:
        return self._contents.digests("slide", [str(slide.file) for slide in self.cohort.slides if not slide.fault])

    @cached_property
    def _drawn_digests(self) -> dict[str, str]:
        slides = self.labelled_slides("train", "val", "test")
        annotations = self._contents.digests("file", [slide.annotation for slide in slides if slide.annotation])
        return annotations | self._contents.digests("slide", [slide.marked for slide in slides if slide.marked])

    def slide_digest(self, slide: str) -> str:
        """What the user's file of a slide holds now: its fingerprint."""
        return self._slide_digests[str(self.cohort[slide].file)]

    def drawn_digest(self, slide: str) -> str:
        """What the annotation, or the marked copy, of a slide holds now."""
        return self._drawn_digests[self.cohort[slide].drawn]

    def model_digest(self) -> str:
        """What a model from outside the run says of itself, its weights' SHA-256 among it; "" of one trained here."""
        path = f"{self.model}/model.json"
        return "" if self.trains else self._contents.digests("file", [path])[path]

    def train_data(self) -> list[str]:
        """Digests of all training and test tiles and of their cases: one more, and the model is trained again."""
        train = self.config.train
        folders = [path for path in (train.folder, train.test_folder) if path] if train else []
        return list(self._contents.digests("tiles", folders).values())

    def cohort_flags(self) -> str:
        """Where the slides are, as options of `tesela cohort`."""
        given = {"--slides": self.config.slides, "--sheet": self.config.sheet}
        return shlex.join(word for option, path in given.items() if path for word in (option, path))

    def slide_flags(self) -> str:
        """Labelled slides with their cases, as options of `tesela train`."""
        parts = {"--slide": "train", "--val-slide": "val", "--test-slide": "test"}
        words = [
            word
            for option, split in parts.items()
            for slide in self.labelled_slides(split)
            for word in (option, f"{self.folder}/slides/{slide.id}", "--case", slide.case)
        ]
        return shlex.join(words)

    def labelled_slides(self, *splits: str) -> list[CohortSlide]:
        """Slides of these splits (train, val, test) with labels; none where tiles come from folders."""
        if self.config.train is None or not self.config.train.slides:
            return []
        return [slide for split in splits for slide in self.cohort.slides if slide.drawn and slide.split == split]

    def label_flags(self, slide: str) -> str:
        """Where the labels of a slide come from, as options of `tesela label`."""
        found, label = self.cohort[slide], self.config.label
        rest = flags_of(label.model_copy(update={"name": None}))
        if not found.marked:
            return f"{shlex.join(['--regions', found.annotation])} {rest}"
        folder = f"{self.folder}/slides/{slide}"
        pair = ["--marked", found.marked, "--slide", f"{folder}/slide.json", "--name", label.name or ""]
        return f"{shlex.join([*pair, '--regions-out', f'{folder}/marked.geojson'])} {rest}"

    def of_slides(self, *names: str) -> list[str]:
        """A file of every slide, for each name."""
        return [f"{self.folder}/slides/{slide_id}/{name}" for slide_id in self.cohort.ids for name in names]


def _tile_of(config: RunConfig) -> TileConfig:
    """The section `tile`; where a trained model is named, what that model was trained on.

    Raises InputError where the two differ, or the model was altered. model.json is read here without torch, which takes
    seconds to import.
    """
    if config.model.path is None:
        return config.tile.filled(DEFAULT_SIZE_PX, config.tile.spec.mpp)
    description = config.model_folder / "model.json"
    try:
        found = json.loads(description.read_text("utf-8"))
        trained, classes = TileSpec(**found["tile"]), set(found["classes"])
    except FileNotFoundError as error:
        raise InputError(f"model.path: no {description}; name a folder that `tesela train` wrote") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{description}: not the description of a model ({error})") from error
    refuse_altered(description, found)
    if not description.with_name("model.safetensors").is_file():
        raise InputError(f"model.path: no model.safetensors in {config.model.path}; copy both files of the model")
    _check_painted(config, classes, "the model's")
    tile = config.tile.filled(trained.size_px, trained.mpp)
    if tile.size_px != trained.size_px or abs(tile.spec.mpp / trained.mpp - 1) > MPP_TOLERANCE:
        raise InputError(
            f"tile: {tile.size_px} px at {tile.mpp:g} mpp, but the model {config.model.path} was trained "
            f"on {trained.size_px} px at {trained.mpp:g} mpp; leave both out, or use another model"
        )
    return tile


def _check_painted(config: RunConfig, classes: Collection[str], whose: str) -> None:
    """Raise InputError where the overlay is to show a class that there is not."""
    painted = {"classes": config.overlay.classes or (), "heat": (config.overlay.heat,) if config.overlay.heat else ()}
    for key, names in painted.items():
        if unknown := sorted(set(names) - set(classes)):
            raise InputError(f"overlay.{key}: {', '.join(unknown)} not among {whose} {', '.join(sorted(classes))}")


def _check_training(config: RunConfig, cohort: Cohort) -> None:
    """Raise InputError where training cannot start, before hours are spent on slides."""
    if config.train is None:
        return
    for key in ("folder", "test_folder"):
        path = getattr(config.train, key)
        if path is not None and not Path(path).is_dir():
            raise InputError(f"train.{key}: no such folder {path}")
    if config.train.folder is not None:
        folders = [path.name for path in Path(config.train.folder).iterdir() if path.is_dir()]
        _check_painted(config, [name for name in folders if not name.startswith(".")], "the classes of train.folder,")
    if not config.train.slides:
        return
    if not any(slide.drawn and slide.split == "train" for slide in cohort.slides):
        raise InputError(
            "train.slides is true, but no slide of the sheet has an annotation (or a marked copy) and the split 'train'"
        )
    unusable = [slide.fault for slide in cohort.slides if slide.fault and slide.drawn and slide.split]
    if unusable:
        raise InputError(f"train.slides is true, but of the labelled slides, {'; '.join(unusable)}")
    marked = [slide.id for slide in cohort.slides if slide.marked and slide.split]
    if marked and config.label.name is None:
        raise InputError(f"label.name is missing: of what class is what is drawn on the copies of {', '.join(marked)}?")


def _check_results(config: RunConfig) -> None:
    """Raise InputError where a later run would take this run's overlays for slides."""
    if config.slides and config.sheet is None:
        results, slides = Path(config.results).resolve(), Path(config.slides).resolve()
        if results.is_relative_to(slides):
            raise InputError(
                f"results: {results} lies in the folder of slides {slides}, so its overlays would be taken for slides; "
                "name another folder"
            )


def load_or_exit(raw: Mapping[str, Any], sources: list[str]) -> Workflow:
    """The workflow of a Snakemake `config`; one clear line and exit code 2 where it is faulty."""
    try:
        if not raw:
            raise InputError("no configuration; give one: snakemake --cores 8 --configfile configs/demo.yaml")
        for source in filter(os.path.isfile, sources):
            read_yaml(Path(source))  # Snakemake itself takes the last of a key that is given twice
        return Workflow.of(parse_config(dict(raw), ", ".join(sources) or "the configuration"))
    except WsiError as error:
        sys.stderr.write(f"tesela: error: {' '.join(str(error).split())}\n")
        sys.exit(2)
