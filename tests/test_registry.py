"""Models by name: versions never change, the plain name means the promoted one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.registry import Registry, model_folder, name_of, parse_reference
from pipelines.commands.app import app
from pipelines.config import parse_config
from wsi.errors import InputError


def a_model(folder: Path, digest: str) -> Path:
    folder.mkdir(parents=True)
    said = {
        "architecture": "resnet18",
        "classes": ["a", "b"],
        "tile": {"size_px": 128, "mpp": 0.5, "stride_px": 128},
        "weights_sha256": hashlib.sha256(digest.encode()).hexdigest(),
        "provenance": {"test": None, "val": {"balanced_accuracy": 0.875}},
    }
    (folder / "model.json").write_text(json.dumps(said))
    (folder / "model.safetensors").write_bytes(digest.encode())
    return folder


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """colon@1 and colon@2, neither promoted."""
    monkeypatch.setenv("TESELA_MODELS", str(tmp_path / "models"))
    found = Registry(tmp_path / "models")
    for digest in ("one", "two"):
        found.add(a_model(tmp_path / digest, digest), "colon")
    return found


def test_versions_count_up_and_hold_what_was_added(registry: Registry) -> None:
    assert [entry.reference for entry in registry.entries()[0]] == ["colon@1", "colon@2"]
    assert (model_folder("colon@2") / "model.safetensors").read_bytes() == b"two"


def test_the_same_weights_get_no_second_version(registry: Registry, tmp_path: Path) -> None:
    assert registry.add(tmp_path / "one", "colon").reference == "colon@1"
    assert registry.versions("colon") == [1, 2]


def test_two_that_add_at_once_get_a_version_each(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copytree = shutil.copytree

    def copy_while_another_adds(folder: Path, target: Path) -> None:
        monkeypatch.setattr(shutil, "copytree", copytree)
        other = registry.add(a_model(tmp_path / "three", "three"), "colon")
        assert other.reference == "colon@3"
        copytree(folder, target)

    monkeypatch.setattr(shutil, "copytree", copy_while_another_adds)
    assert registry.add(a_model(tmp_path / "four", "four"), "colon").reference == "colon@4"
    weights = [(registry.root / "colon" / str(number) / "model.safetensors").read_bytes() for number in (3, 4)]
    assert weights == [b"three", b"four"]


def test_the_plain_name_means_the_promoted_version_and_nothing_until_there_is_one(registry: Registry) -> None:
    with pytest.raises(InputError, match=r"colon: no version is promoted; name one \(colon@1, colon@2\)"):
        model_folder("colon")
    registry.promote("colon", 1)
    assert model_folder("colon").name == "1"
    registry.promote("colon", 2)
    assert model_folder("colon").name == "2"
    assert [entry.promoted for entry in registry.entries()[0]] == [False, True]


def test_a_folder_goes_before_a_registered_name(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote("colon", 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colon").mkdir()
    assert model_folder("colon") == Path("colon")
    assert model_folder(tmp_path / "nowhere" / "model") == tmp_path / "nowhere" / "model"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("liver", r"liver: no such model folder, and no model of that name in .*; `tesela models list`"),
        ("colon@7", r"colon@7: no such model in .*; there are colon@1, colon@2"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(registry: Registry, reference: str, message: str) -> None:  # noqa: ARG001
    with pytest.raises(InputError, match=message):
        model_folder(reference)


@pytest.mark.parametrize("text", ["colon", "colon@", "colon@new", "../up@1"])
def test_only_a_version_can_be_promoted(text: str) -> None:
    with pytest.raises(InputError, match="give a model as name@version"):
        parse_reference(text)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a@b"])
def test_a_name_cannot_leave_the_registry(registry: Registry, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a model"):
        registry.add(tmp_path / "one", name)


def test_half_a_model_is_not_registered(registry: Registry, tmp_path: Path) -> None:
    (a_model(tmp_path / "three", "three") / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        registry.add(tmp_path / "three", "colon")
    assert registry.versions("colon") == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", "thre", r"model\.safetensors: not the weights that model\.json is of; copy both"),
        ("model.json", '{"classes": ["a"]}', r"model\.json: architecture, tile, weights_sha256 missing; copy"),
    ],
)
def test_a_damaged_model_is_not_registered(
    registry: Registry, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (a_model(tmp_path / "three", "three") / name).write_text(content)
    with pytest.raises(InputError, match=message):
        registry.add(tmp_path / "three", "colon")
    assert registry.versions("colon") == [1, 2]


def test_a_version_that_was_damaged_later_hides_no_other_and_is_named(registry: Registry, tmp_path: Path) -> None:
    (registry.root / "colon" / "1" / "model.json").write_text("{")
    listed = CliRunner().invoke(app, ["models", "list", "--json"])
    assert [row["model"] for row in json.loads(listed.stdout)] == ["colon@2"]
    assert "warning: " in listed.stderr
    assert "colon/1/model.json: not JSON" in listed.stderr
    assert registry.add(a_model(tmp_path / "three", "three"), "colon").reference == "colon@3"


def test_a_file_is_no_model(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "slide.tif").touch()
    with pytest.raises(InputError, match=r"slide\.tif: no model\.json in it"):
        registry.add(tmp_path / "slide.tif", "colon")


def test_a_registered_model_is_called_by_its_name_and_version(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In captions and tables: its folder is named only "2"."""
    assert name_of(model_folder("colon@2")) == "colon@2"
    assert name_of(tmp_path / "one") == "one"
    monkeypatch.chdir(registry.root / "colon")
    assert name_of(Path("2")) == "colon@2"
    monkeypatch.chdir(tmp_path / "one")
    assert name_of(Path()) == "one"


def test_a_run_names_its_model_so(registry: Registry) -> None:
    config = parse_config({"run": "r", "slides": "s", "model": {"path": "colon@2"}}, "c.yaml")
    assert config.model_folder == registry.root / "colon" / "2"


def test_the_commands_add_list_and_promote(registry: Registry, tmp_path: Path) -> None:
    def tesela(*words: str) -> str:
        return CliRunner().invoke(app, ["models", *words], catch_exceptions=False).stdout

    added = json.loads(tesela("add", str(a_model(tmp_path / "liver", "l")), "--name", "liver", "--json"))
    assert added["model"] == "liver@1"
    tesela("promote", "colon@2")
    rows = {row["model"]: row for row in json.loads(tesela("list", "--json"))}
    assert [name for name, row in rows.items() if row["promoted"]] == ["colon@2"]
    assert (rows["liver@1"]["val"], rows["liver@1"]["test"]) == (0.875, None)
    assert "colon@1" in tesela("list")
    assert registry.names() == ["colon", "liver"]
