"""The configuration a person writes: defaults, refusals, and sections as command-line options."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from pipelines.commands.app import app
from pipelines.config import (
    BlankConfig,
    DaskConfig,
    LabelConfig,
    OverlayConfig,
    PredictConfig,
    RangeConfig,
    RunConfig,
    Section,
    TileConfig,
    TissueConfig,
    flags_of,
    load_config,
    load_train_file,
    parse_config,
)
from wsi.blank import BlankOptions
from wsi.errors import InputError
from wsi.overlay import OverlayOptions
from wsi.tissue import TissueOptions

MODEL = {"run": "r", "slides": "s", "model": {"path": "m"}}
TRAINED: dict[str, Any] = {"run": "r", "slides": "s", "tile": {"mpp": 0.5}, "train": {"folder": "t", "source_mpp": 0.5}}


def refused(raw: object) -> str:
    with pytest.raises(InputError) as error:
        parse_config(raw, "my.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_model_and_slides_are_enough(tmp_path: Path) -> None:
    run = parse_config(MODEL | {"model": {"path": str(tmp_path)}}, "my.yaml")
    assert run.folder == Path("results/r")
    assert run.model_folder == tmp_path


def test_a_model_that_is_neither_a_folder_nor_registered_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESELA_MODELS", str(tmp_path))
    with pytest.raises(InputError, match="m: no such model folder, and no model of that name in"):
        _ = parse_config(MODEL, "my.yaml").model_folder


def test_a_run_that_trains_keeps_its_model_in_its_folder() -> None:
    assert parse_config(TRAINED, "my.yaml").model_folder == Path("results/r/models/model")


def test_an_unknown_key_is_named_with_its_place() -> None:
    message = refused({**MODEL, "overlay": {"alpa": 0.3}})
    assert message == "my.yaml: unknown key 'overlay.alpa'; remove it or correct its name"


def test_all_faults_are_told_at_once() -> None:
    message = refused({**MODEL, "overlay": {"alpha": 7}, "tissue": {"mask_mpp": -1}, "colour": "red"})
    assert all(key in message for key in ("overlay.alpha", "tissue.mask_mpp", "colour"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slides": None}, "no slides"),
        ({"model": {}}, "`train` or `model"),
        ({"train": {"folder": "t"}}, "source_mpp"),
        ({"train": {"folder": "t", "source_mpp": 1, "slides": True}}, "either `folder`"),
        ({"tile": {"size_px": 64, "mpp": 1, "stride_px": 65}}, "unscored"),
        ({"run": "../elsewhere"}, "run"),
        ({"run": ".."}, "run: '..'"),
        ({"run": "."}, "run: '.'"),
        ({"run": "x" * 101}, "100 characters"),
        ({"run": 1}, "run: YAML reads it as 1, which is no text; quote it"),
        ({"label": {"outside": False}}, "label.outside: YAML reads it as False"),
        ({"overlay": {"classes": [1, 2]}}, "overlay.classes.0: YAML reads it as 1"),
        ({"model": {"path": "m", "name": ".."}}, "model.name: '..'"),
        ({"results": "{odd}"}, "{odd}: a path with { or }"),
        ({"slides": "/data/{odd}"}, "{odd}: a path with { or }"),
        ({"results": "new\nline"}, "new\\nline"),
        ({"dask": {"scheduler": "Slurm"}}, "'Slurm'"),
        ({"dask": {"scheduler": "10.0.0.5:8786"}}, "tcp://"),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(change: dict[str, object], said: str) -> None:
    assert said in refused({**MODEL, **change})


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("label", "outside"),
        ("label", "name"),
        ("overlay", "heat"),
        ("overlay", "classes"),
        ("overlay", "threshold"),
        ("dask", "scheduler"),
        ("model", "path"),
        ("tile", "stride_px"),
        ("train", "case_pattern"),
        ("train", "test_folder"),
    ],
)
@pytest.mark.parametrize("word", ["none", "None", " NONE ", "null"])
def test_the_word_none_is_no_null_and_would_be_a_class_or_a_file(section: str, key: str, word: str) -> None:
    message = refused({**TRAINED, section: {**TRAINED.get(section, {}), key: word}})
    assert f"{key}: {word}" in message
    assert "write null" in message
    assert parse_config({**TRAINED, "label": {"outside": None}, "overlay": {"heat": None}}, "my.yaml")


def test_a_key_whose_choices_hold_none_takes_it() -> None:
    chosen = parse_config({**TRAINED, "train": {**TRAINED["train"], "stain": "none", "balance": "none"}}, "my.yaml")
    assert chosen.train is not None
    assert (chosen.train.stain, chosen.train.balance) == ("none", "none")


@pytest.mark.parametrize("key", ["slides", "sheet", "results"])
def test_a_file_called_none_is_asked_about(key: str) -> None:
    assert "leave the key out" in refused({**MODEL, key: "none"})


def test_paths_may_begin_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    run = parse_config({**MODEL, "slides": "~/slides", "results": "~/results", "model": {"path": "~/m"}}, "my.yaml")
    assert (run.slides, str(run.folder), run.model.path) == ("/home/ann/slides", "/home/ann/results/r", "/home/ann/m")


@pytest.mark.parametrize(
    "text", ["run: a\nslides: s\nrun: b\n", "run: a\noverlay: {alpha: 1, alpha: 0}\n", "'run': a\nrun: b\n"]
)
def test_a_key_that_is_given_twice_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"my\.yaml: .*given twice"):
        load_config(path)
    with pytest.raises(InputError, match="given twice"):
        load_train_file(path)


def test_what_an_anchor_merges_may_be_overruled(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(
        "tile: {mpp: 0.5}\ntune: {learning_rate: &r {low: 0.1, high: 1}, weight_decay: {<<: *r, high: 2}}\n"
        "train: {folder: t, source_mpp: 1}\n"
    )
    found = load_train_file(path).tune.weight_decay
    assert isinstance(found, RangeConfig)
    assert (found.low, found.high) == (0.1, 2)


def test_training_reads_the_configuration_of_a_run_that_lacks_what_training_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    path = tmp_path / "my.yaml"
    path.write_text("run: r\nslides: ${NOWHERE}\ntile: {mpp: 0.5}\ntrain: {folder: t, source_mpp: 0.5}\n")
    assert load_train_file(path).train.folder == "t"
    path.write_text("run: r\ntile: {mpp: 0.5}\ntrain: {folder: t, source_mpp: 0.5}\nmodel: {name: m}\n")
    assert load_train_file(path).train.folder == "t"
    path.write_text("run: r\ntile: {mpp: 0.5}\ntrain: {folder: t, source_mpp: 0.5}\ntrian: {}\n")
    with pytest.raises(InputError, match="unknown key 'trian'"):
        load_train_file(path)


def test_a_missing_mpp_is_never_guessed() -> None:
    assert "mpp" in refused({**TRAINED, "tile": {"size_px": 128}})


def test_with_a_trained_model_the_tile_section_says_only_what_differs() -> None:
    tile = parse_config({**MODEL, "tile": {"allow_upsample": True}}, "my.yaml").tile.filled(96, 0.7)
    assert (tile.size_px, tile.mpp, tile.allow_upsample) == (96, 0.7, True)


def test_an_unset_environment_variable_is_an_error_not_an_empty_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    assert "NOWHERE is not set" in refused({**MODEL, "slides": "${NOWHERE}/slides"})
    monkeypatch.setenv("NOWHERE", "/data")
    assert parse_config({**MODEL, "slides": "${NOWHERE}/slides"}, "my.yaml").slides == "/data/slides"


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "", "\0"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"my\.yaml"):
        load_config(path)


def test_training_reads_its_two_sections_of_any_file(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text('{"tile": {"mpp": 0.5}, "train": {"folder": "t", "source_mpp": 0.5}}')
    alone = load_train_file(path)
    path.write_text("run: r\nslides: s\ntile: {mpp: 0.5}\ntrain: {folder: t, source_mpp: 0.5}\n")
    assert load_train_file(path) == alone


@pytest.mark.parametrize("name", ["demo", "crc5", "nct_crc"])
def test_the_configurations_that_are_shipped_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TESELA_DEMO", "TESELA_TEST_DATA", "TESELA_SLIDES"):
        monkeypatch.setenv(variable, "somewhere")
    assert isinstance(load_config(Path("configs") / f"{name}.yaml"), RunConfig)


def test_a_section_becomes_options() -> None:
    overlay = OverlayConfig(alpha=0.3, classes=("TUM", "odd name"))
    assert flags_of(overlay) == (
        "--alpha 0.3 --classes TUM --classes 'odd name' --style blocky --outline-px 3 --quality 87 --clip tissue"
    )
    assert "--allow-upsample" in flags_of(TileConfig(mpp=1, allow_upsample=True)).split()
    assert flags_of(DaskConfig()) == "--jobs 2"  # no scheduler: threads


@pytest.mark.parametrize(
    ("command", "sections"),
    [
        ("tissue", [TissueConfig]),
        ("tiles", [TileConfig, BlankConfig, DaskConfig]),
        ("label", [LabelConfig]),
        ("predict", [PredictConfig]),
        ("overlay", [OverlayConfig]),
    ],
)
def test_every_key_of_a_section_is_an_option_of_its_command_with_the_same_default(
    command: str, sections: list[type[Section]]
) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    options = {option: parameter for parameter in group.commands[command].params for option in parameter.opts}
    for section in sections:
        for name, field in section.model_fields.items():
            parameter = options["--" + name.replace("_", "-")]
            if field.default is not None and name != "allow_upsample":
                assert parameter.default == field.default, name


@pytest.mark.parametrize(
    ("section", "options"),
    [(TissueConfig, TissueOptions), (BlankConfig, BlankOptions), (OverlayConfig, OverlayOptions)],
)
def test_the_defaults_of_a_section_are_those_of_the_library(section: type[Section], options: type) -> None:
    for field in fields(options):
        assert section.model_fields[field.name].default == field.default, field.name
