"""Models by name: versions never change, the plain name means the promoted one."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.description import digest_of, sealed
from models.naming import name_of
from models.network import build
from models.registry import Registry, model_folder, parse_reference
from pipelines.commands.app import app
from pipelines.config import parse_config
from pipelines.workflow import Workflow
from wsi.errors import InputError
from wsi.geometry import TileSpec

pytestmark = pytest.mark.usefixtures("one_thread")
TEMPERATURES = {"one": 1.0, "two": 2.0, "three": 3.0}


def describe(folder: Path, *, seal: bool = True, **changes: object) -> Path:
    """Change a model.json by hand; with its digest made anew, or as it was."""
    raw = json.loads((folder / "model.json").read_text()) | changes
    (folder / "model.json").write_text(json.dumps(sealed(raw) if seal else raw))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained") / "model"
    figures = {"test": None, "val": {"balanced_accuracy": 0.875}}
    checkpoint = Checkpoint(
        "resnet10t",
        ("a", "b"),
        TileSpec(32, 0.5, 32),
        (0.5,) * 3,
        (0.2,) * 3,
        thresholds={"b": 0.3},
        provenance=figures,
    )
    save_checkpoint(folder, checkpoint, build("resnet10t", 2).state_dict())
    return folder


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """Models one, two and three, of the same weights; the first two are colon@1 and colon@2, neither promoted."""
    folder = tmp_path_factory.mktemp("registered")
    for name, temperature in TEMPERATURES.items():
        describe(Path(shutil.copytree(trained, folder / name)), temperature=temperature)
    for name in ("one", "two"):
        Registry(folder / "models").add(folder / name, "colon")
    return folder


@pytest.fixture
def registry(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A copy of it all."""
    shutil.copytree(registered, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("TESELA_MODELS", str(tmp_path / "models"))
    return Registry(tmp_path / "models")


def tesela(*words: str) -> str:
    found = CliRunner().invoke(app, ["models", *words], catch_exceptions=False)
    return found.stdout or found.stderr


def test_versions_count_up_and_hold_what_was_added(registry: Registry) -> None:
    assert [entry.reference for entry in registry.entries()[0]] == ["colon@1", "colon@2"]
    assert load_checkpoint(model_folder("colon@2"))[0].temperature == 2


def test_the_same_weights_with_another_description_are_another_version(registry: Registry, tmp_path: Path) -> None:
    """Two classes swapped: every tile is called the other one."""
    swapped = describe(tmp_path / "one", classes=["b", "a"])
    assert registry.add(swapped, "colon").reference == "colon@3"
    assert load_checkpoint(model_folder("colon@3"))[0].classes == ("b", "a")
    assert load_checkpoint(model_folder("colon@1"))[0].classes == ("a", "b")


def test_the_same_model_gets_no_second_version(registry: Registry, tmp_path: Path) -> None:
    assert registry.add(tmp_path / "one", "colon").reference == "colon@1"
    assert registry.versions("colon") == [1, 2]


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


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "half": (lambda at: (at / "model.safetensors").unlink(), r"model\.safetensors is missing"),
    "weights": (
        lambda at: (at / "model.safetensors").write_text("thre"),
        r"model\.safetensors: not a safetensors file",
    ),
    "keys": (lambda at: (at / "model.json").write_text('{"classes": ["a"]}'), r"model\.json: its format is None"),
    "format": (lambda at: describe(at, format="tesela-checkpoint/9"), "its format is 'tesela-checkpoint/9'"),
    "temperature": (lambda at: describe(at, temperature=0), "temperature is 0"),
    "names": (lambda at: describe(at, classes=["a", "b", "c"]), "2 outputs, but model.json names 3 classes"),
    "altered": (lambda at: describe(at, seal=False, classes=["b", "a"]), r"altered after training \(classes\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_not_load_is_not_registered(registry: Registry, tmp_path: Path, kind: str) -> None:
    damage, message = REFUSED[kind]
    damage(tmp_path / "three")
    with pytest.raises(InputError, match=message) as caught:
        registry.add(tmp_path / "three", "colon")
    assert "\n" not in str(caught.value)
    assert registry.versions("colon") == [1, 2]


# --- a version never changes, and a number means one model


def test_a_version_that_was_edited_in_place_is_refused_wherever_it_is_named(registry: Registry) -> None:
    describe(registry.root / "colon" / "1", classes=["b", "a"])  # and its digest made anew
    for given in ("colon@1", registry.root / "colon" / "1"):
        with pytest.raises(InputError, match=r"colon@1: .* is not what was added .*add the other one as a new version"):
            model_folder(given)
    assert "colon@1" in str(registry.entries()[1][0])


def test_a_promoted_version_that_was_replaced_is_refused(registry: Registry) -> None:
    """Also where it was registered before there were marks."""
    registry.promote("colon", 2)
    shutil.rmtree(registry.root / ".added")
    describe(registry.root / "colon" / "2", temperature=5.0)
    for given in ("colon", "colon@2"):
        with pytest.raises(InputError, match=r"colon@2: .* is not what was promoted"):
            model_folder(given)


def test_what_was_promoted_before_there_were_digests_is_promoted_still(registry: Registry) -> None:
    (registry.root / "colon" / "promoted").write_text("2\n")
    assert model_folder("colon").name == "2"


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_number_is_never_given_twice(registry: Registry, tmp_path: Path, by_hand: bool) -> None:
    registry.promote("colon", 2)
    if by_hand:
        shutil.rmtree(registry.root / "colon" / "2")
    else:
        assert registry.remove("colon", 2, force=True)
    assert registry.add(tmp_path / "three", "colon").reference == "colon@3"
    with pytest.raises(InputError, match=r"colon@2: no such model|no version is promoted"):
        model_folder("colon")


def test_a_number_is_not_given_again_to_a_name_that_was_deleted(registry: Registry, tmp_path: Path) -> None:
    shutil.rmtree(registry.root / "colon")
    assert registry.add(tmp_path / "three", "colon").reference == "colon@3"


def test_those_who_add_at_once_get_a_number_each(registry: Registry, tmp_path: Path) -> None:
    folders = [
        describe(Path(shutil.copytree(tmp_path / "one", tmp_path / str(i))), temperature=10.0 + i) for i in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda folder: registry.add(folder, "liver"), folders))
    assert sorted(entry.version for entry in added) == [1, 2, 3, 4]
    for entry, folder in zip(added, folders, strict=True):
        assert load_checkpoint(entry.folder)[0].temperature == 10.0 + int(folder.name)


def test_a_model_of_before_gets_a_digest_in_the_registry_and_is_itself_left_alone(
    registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "three" / "model.json"
    raw = json.loads(path.read_text())
    del raw["digest"], raw["digest_parts"]
    path.write_text(json.dumps(raw))
    entry = registry.add(tmp_path / "three", "old")
    assert entry.description["digest"] == digest_of(raw)
    assert json.loads(path.read_text()) == raw
    assert registry.add(tmp_path / "three", "old").reference == "old@1"


def test_the_promoted_version_is_removed_only_by_force(registry: Registry) -> None:
    registry.promote("colon", 2)
    with pytest.raises(InputError, match=r"colon@2 is promoted: .*promote another version first, or .*--force"):
        registry.remove("colon", 2)
    with pytest.raises(InputError, match=r"colon@7: no such model in .*; there are colon@1, colon@2"):
        registry.remove("colon", 7)
    assert registry.versions("colon") == [1, 2]
    assert tesela("remove", "colon@1") == "removed colon@1\n"
    assert tesela("remove", "colon@2", "--force") == "removed colon@2; colon means no version now\n"
    assert registry.versions("colon") == []
    assert not list((registry.root / "colon").iterdir())


def test_a_lookup_needs_no_torch(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "models.checkpoint", None)  # whoever imports it fails
    assert registry.promote("colon", 1).folder == model_folder("colon@1") == model_folder("colon")


def test_a_run_with_an_altered_model_is_refused_before_any_slide_is_read(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").touch()
    raw = {"run": "r", "results": str(tmp_path / "results"), "slides": str(tmp_path / "slides")}
    Workflow.of(parse_config({**raw, "model": {"path": "colon@1"}}, "c.yaml"))
    describe(tmp_path / "one", seal=False, thresholds={"b": 0.9})
    with pytest.raises(InputError, match=r"model\.json was altered after training \(thresholds\)"):
        Workflow.of(parse_config({**raw, "model": {"path": str(tmp_path / "one")}}, "c.yaml"))
    describe(registry.root / "colon" / "1", thresholds={"b": 0.9})
    with pytest.raises(InputError, match=r"colon@1: .* is not what was added"):
        Workflow.of(parse_config({**raw, "model": {"path": "colon@1"}}, "c.yaml"))


# --- sealing


def test_a_threshold_that_a_person_chose_is_sealed_as_a_new_model(registry: Registry, tmp_path: Path) -> None:
    before = json.loads((tmp_path / "one" / "model.json").read_text())
    describe(tmp_path / "one", seal=False, thresholds={"b": 0.7}, temperature=1.5)
    with pytest.raises(InputError, match=r"altered after training \(temperature, thresholds\).*tesela models seal"):
        load_checkpoint(tmp_path / "one")
    said = tesela("seal", str(tmp_path / "one"))
    assert "changed: temperature, thresholds; its digest was " + before["digest"] in said
    checkpoint, _ = load_checkpoint(tmp_path / "one")
    assert checkpoint.thresholds == {"b": 0.7}
    assert checkpoint.digest != before["digest"]
    assert checkpoint.provenance["sealed"] == [
        {"digest_before": before["digest"], "changed": ["temperature", "thresholds"]}
    ]
    assert registry.add(tmp_path / "one", "colon").reference == "colon@3"
    assert "nothing was altered" in tesela("seal", str(tmp_path / "one"))


def test_what_cannot_be_loaded_is_not_sealed(registry: Registry, tmp_path: Path) -> None:
    describe(tmp_path / "one", seal=False, temperature=0)
    text = (tmp_path / "one" / "model.json").read_text()
    for folder, message in (
        (tmp_path / "one", "temperature is 0"),
        (registry.root / "colon" / "2", "seal a copy of it"),
    ):
        with pytest.raises(InputError, match=message):
            tesela("seal", str(folder))
    assert (tmp_path / "one" / "model.json").read_text() == text


# --- what is wrong


def test_a_version_that_was_damaged_later_hides_no_other_and_is_named(registry: Registry, tmp_path: Path) -> None:
    (registry.root / "colon" / "1" / "model.json").write_text("{")
    listed = CliRunner().invoke(app, ["models", "list", "--json"])
    assert [row["model"] for row in json.loads(listed.stdout)] == ["colon@2"]
    assert "warning: " in listed.stderr
    assert "colon/1/model.json: not JSON" in listed.stderr
    assert registry.add(tmp_path / "three", "colon").reference == "colon@3"


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
    added = json.loads(tesela("add", str(tmp_path / "three"), "--name", "liver", "--json"))
    assert added["model"] == "liver@1"
    assert added["digest"] == json.loads((tmp_path / "three" / "model.json").read_text())["digest"]
    tesela("promote", "colon@2")
    rows = {row["model"]: row for row in json.loads(tesela("list", "--json"))}
    assert [name for name, row in rows.items() if row["promoted"]] == ["colon@2"]
    assert (rows["liver@1"]["val"], rows["liver@1"]["test"]) == (0.875, None)
    assert "colon@1" in tesela("list")
    assert registry.names() == ["colon", "liver"]
