"""Training side of models: checkpoints, networks, tile sets, loading, training. Truth is generated."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from coloured_tiles import TILE, make_slide, write_tile
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from skimage.color import hed2rgb, rgb2hed

from models import loading, tensors
from models import network as networks
from models.augment import EvalCrop, StainJitter, TrainAugment
from models.checkpoint import Checkpoint, load_checkpoint, read_checkpoint, save_checkpoint
from models.data import LabelledSlide, read_folder, read_slides
from models.description import digest_of
from models.metrics import classification_metrics
from models.network import build, head_size, normalisation, to_input
from models.progress import SilentReporter
from models.splits import refuse_shared_cases
from models.torch_setup import timm
from models.training.settings import TrainSettings
from models.training.train import train
from wsi.errors import InputError, MismatchError, MppError
from wsi.geometry import TileGrid, TileSpec
from wsi.ingest import ingest
from wsi.provenance import with_provenance

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "m"
    checkpoint = Checkpoint(
        "resnet10t", ("a", "b"), TILE, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 1.5, {"b": 0.3}, {"seed": 4}
    )
    torch.manual_seed(0)
    save_checkpoint(folder, checkpoint, build("resnet10t", 2).state_dict())
    return folder


def copy_of(folder: Path, to: Path, **changes: object) -> Path:
    """A copy of a checkpoint, with other values in its model.json."""
    to.mkdir()
    (to / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    raw = json.loads((folder / "model.json").read_text()) | changes
    (to / "model.json").write_text(json.dumps(raw))
    return to


# --- checkpoints


def test_checkpoint_comes_back_as_it_went(saved: Path) -> None:
    checkpoint, network = load_checkpoint(saved)
    assert checkpoint == read_checkpoint(saved)
    assert checkpoint.classes == ("a", "b")
    assert checkpoint.tile == TILE
    assert (checkpoint.temperature, checkpoint.thresholds, checkpoint.provenance) == (1.5, {"b": 0.3}, {"seed": 4})
    assert not network.training
    torch.manual_seed(0)
    expected = build("resnet10t", 2).eval()
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(pixels), expected(pixels))


def test_missing_parts_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no model\.json"):
        load_checkpoint(tmp_path)
    half = copy_of(saved, tmp_path / "half")
    (half / "model.safetensors").unlink()
    assert read_checkpoint(half).classes == ("a", "b")
    with pytest.raises(InputError, match=r"model\.safetensors is missing"):
        load_checkpoint(half)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json {", "not JSON"),
        ("[1]", "its format is 'list'"),
        ('{"format": "other/1"}', "its format is 'other/1'"),
        ('{"format": "tesela-checkpoint/1"}', "is missing"),
    ],
)
def test_a_text_that_is_no_description_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "b", "c"], "thresholds": None}, "the weights have 2 outputs, but .* 3 classes: a, b, c"),
        ({"architecture": "resnet10tt"}, "no network 'resnet10tt'; did you mean resnet10t"),
        ({"architecture": "resnet18"}, "not weights of resnet18"),
        ({"weights_sha256": "0" * 64}, "different trainings"),
        ({"classes": ["a", "a"]}, "two or more different classes"),
        ({"classes": 3}, "not what"),
        ({"tile": {"size_px": 4, "mpp": 1, "stride_px": 4}}, "size_px is 4"),
        ({"mean": [1, 2]}, "not what"),
        ({"extra": 1}, r"unknown keys \['extra'\]"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"std": [0, 0.2, 0.2]}, "std above 0"),
        ({"mean": [float("nan"), 0.4, 0.3]}, "mean is .nan"),
        ({"thresholds": {"b": float("nan")}}, "thresholds are .* probabilities, 0 to 1"),
        ({"tta": "d8"}, "tta is 'd8'"),
        ({"classes": "ab"}, "classes is 'ab', no list"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    saved: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = copy_of(saved, tmp_path / "changed", **change)
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


STAIN = {"method": "reinhard", "mean": [50, 30, -12], "spread": [13, 6, 4]}


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["b", "a"]},
        {"mean": [0, 0, 0]},
        {"std": [0.2, 0.2, 0.2000001]},
        {"temperature": 1.4999999999999998},
        {"tile": {"size_px": 32, "mpp": 0.25, "stride_px": 32}},
        {"thresholds": {"b": 0.31}},
        {"thresholds": None},
        {"stain": STAIN},
        {"tta": "d4"},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_description_that_was_altered_is_refused_and_what_was_altered_is_named(
    saved: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = copy_of(saved, tmp_path / "altered", **change)
    for read in (load_checkpoint, read_checkpoint):
        with pytest.raises(
            InputError, match=rf"model\.json was altered after training \({next(iter(change))}\)"
        ) as caught:
            read(folder)
        assert "\n" not in str(caught.value)
        assert "tesela models seal" in str(caught.value)


def test_weights_of_another_training_with_their_own_hash_are_refused(saved: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    checkpoint = dataclasses.replace(read_checkpoint(saved))
    save_checkpoint(tmp_path / "other", checkpoint, build("resnet10t", 2).state_dict())
    digest = json.loads((saved / "model.json").read_text())["digest"]
    with pytest.raises(InputError, match=r"altered after training \(weights_sha256 or digest\)"):
        load_checkpoint(copy_of(tmp_path / "other", tmp_path / "mixed", digest=digest))


def test_what_does_not_change_the_meaning_may_change(saved: Path, tmp_path: Path) -> None:
    """A figure of the training, a space, another order of keys, 32.0 for 32."""
    folder = copy_of(
        saved, tmp_path / "m", provenance={"site": "north"}, tile={"mpp": 0.5, "stride_px": 32, "size_px": 32.0}
    )
    raw = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(dict(reversed(raw.items())), indent=7))
    assert read_checkpoint(folder).digest == read_checkpoint(saved).digest


def test_the_digest_is_that_of_the_meaning_and_nothing_else() -> None:
    """A fixed one: a digest that changed from one version to the next would make every model a stranger."""
    description = {
        "format": "tesela-checkpoint/1",
        "weights_sha256": "0" * 64,
        "architecture": "resnet10t",
        "classes": ["stroma", "tumör"],
        "tile": {"size_px": 128, "mpp": 0.1 + 0.2, "stride_px": 128},
        "mean": [0.5, 0.4, 0.3],
        "std": [1, 0.2, 0.2],
        "temperature": 1e-7,
        "thresholds": None,
        "provenance": {},
        "stain": None,
        "tta": "none",
    }
    text = '"temperature":1e-07,"tile":{"mpp":0.30000000000000004,"size_px":128.0,"stride_px":128.0},"tta":"none"'
    whole = (
        '{"architecture":"resnet10t","classes":["stroma","tum\\u00f6r"],"mean":[0.5,0.4,0.3],"std":[1.0,0.2,0.2],'
        + text
        + ',"weights_sha256":"'
        + "0" * 64
        + '"}'
    )
    assert digest_of(description) == hashlib.sha256(whole.encode()).hexdigest()


def test_a_model_of_before_there_were_digests_loads_as_it_did(saved: Path, tmp_path: Path) -> None:
    folder = copy_of(saved, tmp_path / "old")
    raw = json.loads((folder / "model.json").read_text())
    del raw["digest"], raw["digest_parts"]
    (folder / "model.json").write_text(json.dumps(raw))
    old, network = load_checkpoint(folder)
    assert old == read_checkpoint(saved)
    assert (old.digest, old.weights_sha256) == (None, read_checkpoint(saved).weights_sha256)
    expected = load_checkpoint(saved)[1].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_weights_that_are_no_safetensors_are_refused(saved: Path, tmp_path: Path) -> None:
    folder = copy_of(saved, tmp_path / "bad")
    (folder / "model.safetensors").write_bytes(b"\x80\x04pickled things")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_checkpoint(folder)
    whole = (saved / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a safetensors file"):
        load_checkpoint(folder)


def test_weights_that_find_no_room_on_the_disk_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(InputError, match=r"w\.safetensors: cannot be written .*No space left.*; make room for it"):
        tensors.save_tensors(tmp_path / "m" / "w.safetensors", {"a": torch.zeros(2)}, {})
    assert not list(tmp_path.iterdir())


def test_a_grid_of_other_tiles_is_refused(saved: Path) -> None:
    checkpoint = read_checkpoint(saved)
    for spec in (TILE, TileSpec(32, 0.505, 16)):  # scanners differ a little; the stride is free
        checkpoint.check_grid(TileGrid(spec, 999, 999, (0.25, 0.25)), "A7")
    for spec in (TileSpec(64, 0.5, 32), TileSpec(32, 0.52, 32)):
        with pytest.raises(MismatchError, match=rf"A7: .*{spec.size_px} px at {spec.mpp:g} mpp.*32 px at 0\.5 mpp"):
            checkpoint.check_grid(TileGrid(spec, 999, 999, (0.25, 0.25)), "A7")


# --- networks


def test_pretrained_without_the_hub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(networks.timm, "create_model", unreachable)
    with pytest.raises(InputError, match=r"could not be fetched.*no route to host.*train\.pretrained: path"):
        build("resnet18", 3, True)


def test_pretrained_that_timm_does_not_have_is_refused() -> None:
    without = next(n for n in timm.list_models() if not timm.get_pretrained_cfg(n) or not _has(n))
    with pytest.raises(InputError, match=f"no weights for {without}"):
        build(without, 3, True)


def _has(name: str) -> bool:
    config = timm.get_pretrained_cfg(name)
    return bool(config.hf_hub_id or config.url)


def test_pretrained_file_keeps_the_body_and_a_head_that_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = build("resnet10t", 5)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "w.safetensors")
    same, other = (build("resnet10t", n, tmp_path / "w.safetensors") for n in (5, 3))
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
        if not name.startswith("fc."):
            assert torch.equal(tensor, other.state_dict()[name])
    assert head_size(other, other.state_dict()) == 3
    assert "its head has 5 outputs, 3 are needed" in caplog.text


def test_pretrained_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        build("resnet10t", 3, tmp_path / "w.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="not a safetensors file"):
        build("resnet10t", 3, tmp_path / "text.safetensors")
    save_file({"fc.weight": torch.zeros(3, 512)}, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=r"not weights of resnet10t: \d+ of \d+ tensors are missing"):
        build("resnet10t", 3, tmp_path / "head.safetensors")


def written(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def test_a_transformer_whose_layers_are_scaled_is_not_loaded_into_one_without(tmp_path: Path) -> None:
    """Embeddings would be others, and nothing but a log line said so."""
    scaled = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, init_values=0.1)
    path = written(tmp_path / "w.safetensors", scaled.state_dict())
    for classes in (3, 5):
        with pytest.raises(InputError, match=r"24 of 176 tensors are without a place in it \(blocks\.0\.ls1\.gamma, "):
            build("vit_tiny_patch16_224", classes, path, 32)
    plain = {name: tensor for name, tensor in scaled.state_dict().items() if ".ls" not in name}
    plain.pop("norm.bias")
    with pytest.raises(InputError, match=r"1 of 152 tensors are missing \(norm\.bias\)"):
        build("vit_tiny_patch16_224", 3, written(path, plain), 32)


def test_the_head_of_a_file_may_be_another_or_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = {name: tensor for name, tensor in build("resnet10t", 5).state_dict().items() if not name.startswith("fc.")}
    heads = {
        "none": {},
        "elsewhere": {"head.weight": torch.zeros(7, 512), "head.bias": torch.zeros(7)},
        "two": {"fc.weight": torch.ones(3, 512), "fc.bias": torch.ones(3), "head_dist.weight": torch.zeros(3, 512)},
    }
    for name, head in heads.items():
        caplog.clear()
        network = build("resnet10t", 3, written(tmp_path / f"{name}.safetensors", body | head))
        assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in body.items())
        assert torch.equal(network.state_dict()["fc.bias"], torch.ones(3)) == (name == "two")
        assert ("a new head is trained" in caplog.text) == (name != "two")
    with pytest.raises(InputError, match=r"1 of 85 tensors are without a place in it \(head\.fc1\.weight\)"):
        build("resnet10t", 3, written(tmp_path / "x.safetensors", body | {"head.fc1.weight": torch.zeros(2, 2)}))


@pytest.mark.real
def test_real_weights_are_loaded(real_data: Path) -> None:
    path = real_data / "weights" / "tf_efficientnet_lite0.imagenet.safetensors"
    network = build("tf_efficientnet_lite0", 9, path)
    expected = load_file(path)
    assert all(torch.equal(t, expected[k]) for k, t in network.state_dict().items() if not k.startswith("classifier"))


def test_a_network_of_fixed_size_takes_the_tile_size() -> None:
    network = build("vit_tiny_patch16_224", 3, False, 64).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_pixels_are_scaled_then_normalised() -> None:
    tiles = torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)
    out = to_input(tiles, (0.5, 0.5, 0.0), (0.5, 0.25, 0.1))
    torch.testing.assert_close(out, torch.tensor([1.0, -2.0, 2.0]).reshape(1, 3, 1, 1))
    assert normalisation(build("resnet10t", 2)) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# --- tile sets


def test_folder_is_read_sorted(tiles: Path) -> None:
    images = read_folder(tiles, 0.5)
    assert images.classes == ("blue", "green", "red")
    assert np.bincount(images.labels).tolist() == [24, 24, 24]
    assert images.labels.dtype == np.int64
    pixels = images.load(0, TILE)
    assert pixels.shape == (32, 32, 3)
    assert pixels.reshape(-1, 3).mean(axis=0).argmax() == 2  # RGB: the first is blue


def test_folder_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "none", 0.5)
    with pytest.raises(InputError, match="no class folders"):
        read_folder(tmp_path, 0.5)
    for name in ("full", "empty1", "empty2"):
        (tmp_path / name).mkdir()
    write_tile(tmp_path / "full" / "a.png", (1, 2, 3), np.random.default_rng(0))
    with pytest.raises(InputError, match="class folder empty1, empty2"):
        read_folder(tmp_path, 0.5)
    with pytest.raises(InputError, match="source_mpp is 0"):
        read_folder(tmp_path, 0)


def test_tiles_are_scaled_from_their_own_mpp(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    checks = np.kron(np.indices((32, 32)).sum(axis=0) % 2, np.ones((2, 2))) * 200  # 64 px, 2-px squares
    cv2.imwrite(str(tmp_path / "a" / "t.png"), np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8))
    half = read_folder(tmp_path, 0.25).load(0, TILE)
    assert np.array_equal(half[:, :, 0], (np.indices((32, 32)).sum(axis=0) % 2 * 200).astype(np.uint8))
    assert read_folder(tmp_path, 0.5).load(0, TILE).shape == (64, 64, 3)  # augmentation crops
    assert read_folder(tmp_path, 0.24).load(0, TILE).shape == (31, 31, 3)  # rounding is forgiven
    with pytest.raises(InputError, match=r"t\.png: 64 × 64 px at 0\.2 mpp is 26 × 26 px at 0\.5 mpp.*size_px is 32"):
        read_folder(tmp_path, 0.2).load(0, TILE)
    with pytest.raises(MppError, match=r"tiles of 1 mpp cannot show 0\.5 mpp; set tile\.mpp"):
        read_folder(tmp_path, 1.0).load(0, TILE)


def test_broken_images_are_named_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    generator = np.random.default_rng(0)
    for name in ("good.png", "cut.jpg", "cut.png"):
        write_tile(tmp_path / "a" / name, (100, 50, 100), generator, 64)
    for name in ("cut.jpg", "cut.png"):
        path = tmp_path / "a" / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "a" / "text.tif").write_text("no picture")
    with pytest.raises(InputError, match=r"3 of 4 tiles") as caught:
        loading.decode_or_check(read_folder(tmp_path, 0.5), TILE)
    assert all(name in str(caught.value) for name in ("cut.jpg", "cut.png", "text.tif"))


def test_tiles_come_straight_from_slides(tmp_path: Path) -> None:
    colours = [(10 * i, 100, 200 - 10 * i) for i in range(6)]
    slides = read_slides([make_slide(tmp_path, "s1", colours), make_slide(tmp_path, "s2", colours[:4])])
    assert slides.classes == ("even", "odd")
    assert slides.xy.tolist() == [[64, 0], [128, 0], [192, 0], [256, 0], [64, 0], [128, 0]]  # labelled, not blank
    assert slides.labels.tolist() == [1, 0, 1, 0, 1, 0]
    for index, (x, _) in enumerate(slides.xy.tolist()):
        pixels = slides.load(index, TILE)
        assert pixels.shape == (32, 32, 3)
        assert np.all(pixels == colours[x // 64])
    assert slides.group_kind == "slide"
    assert slides.fingerprint() != dataclasses.replace(slides, labels=1 - slides.labels).fingerprint()


def test_rows_that_are_no_tiles_are_counted_and_add_up(tmp_path: Path) -> None:
    found = read_slides([make_slide(tmp_path, "s1", [(10 * i, 100, 50) for i in range(6)])])
    assert (len(found), found.left_out) == (4, {"s1.tif": {"blank": 1, "without a label": 1}})
    assert found.notes == ("6 rows in the tables of 1 slides: 4 labelled, 1 blank, 1 without a label",)


def test_the_same_slide_twice_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    colours = [(10 * i, 100, 50) for i in range(6)]
    first, copy = make_slide(tmp_path, "s1", colours), make_slide(tmp_path, "copy", colours)
    ingest(first.slide, tmp_path / "ingested", mpp=0.25)
    through = LabelledSlide(tmp_path / "ingested" / "slide.json", first.tiles)
    for other in (first, copy, through):
        with pytest.raises(InputError, match=rf"the same slide is given twice: .*s1\.tif = .*{other.slide.name}"):
            read_slides([first, other])
        with pytest.raises(InputError, match=rf"the same slide in training and in test: .*{other.slide.name}"):
            refuse_shared_cases(read_slides([first]), read_slides([other]))
    refuse_shared_cases(read_slides([first]), read_slides([make_slide(tmp_path, "s2", colours[::-1])]))


def test_a_slide_to_train_and_to_test_on_is_refused_before_training(tmp_path: Path) -> None:
    slide = make_slide(tmp_path, "s1", [(10 * i, 100, 50) for i in range(6)])
    settings = TrainSettings(architecture="resnet10t", tile=TILE)
    with pytest.raises(InputError, match="the same slide in training and in test"):
        train(settings, read_slides([slide]), read_slides([slide]), tmp_path / "m", reporter=SilentReporter())
    assert not (tmp_path / "m").exists()


def test_labels_of_another_slide_are_refused(tmp_path: Path) -> None:
    colours = [(10 * i, 100, 50) for i in range(6)]
    one, other = make_slide(tmp_path, "s1", colours), make_slide(tmp_path, "s2", colours[::-1])
    pq.write_table(with_provenance(pq.read_table(one.tiles), one.fingerprint, {}), one.tiles)
    assert len(read_slides([one])) == 4
    with pytest.raises(InputError, match=r"s1\.parquet: is of another slide"):
        read_slides([dataclasses.replace(other, tiles=one.tiles)])


def test_bad_tile_tables_are_named_all_at_once(tmp_path: Path) -> None:
    good = make_slide(tmp_path, "s1", [(1, 2, 3)] * 3)
    (tmp_path / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"x": [1], "y": [1]}), tmp_path / "unlabelled.parquet")
    bad = [LabelledSlide(good.slide, tmp_path / f"{n}.parquet") for n in ("text", "unlabelled", "absent")]
    with pytest.raises(InputError) as caught:
        read_slides([good, *bad])
    assert all(name in str(caught.value) for name in ("text.parquet", "unlabelled.parquet", "absent.parquet"))
    with pytest.raises(InputError, match="not among the classes"):
        read_slides([good], classes=("tumour", "normal"))


# --- loading


@pytest.mark.parametrize("strength", ["none", "light", "strong"])
def test_augmentation_keeps_the_size_and_follows_its_seed(strength: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 44, 3), np.uint8)
    augment = TrainAugment(32, strength)  # type: ignore[arg-type]
    first = augment(pixels, 5)
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8
    augment(pixels, 6)
    assert np.array_equal(first, augment(pixels, 5))
    assert any(not np.array_equal(first, augment(pixels, seed)) for seed in range(6, 12))
    assert augment(pixels[:31, :30], 1).shape == (32, 32, 3)


def test_evaluation_takes_the_centre() -> None:
    pixels = np.zeros((40, 36, 3), np.uint8)
    pixels[4:36, 2:34] = 255
    assert np.all(EvalCrop(32)(pixels) == 255)


def test_batches_do_not_depend_on_workers(tiles: Path) -> None:
    images = read_folder(tiles, 0.5)

    def batches(workers: int, cached: bool) -> NDArray[np.uint8]:
        cache = loading.decode_or_check(images, TILE) if cached else None
        augment = TrainAugment(32, "strong")
        samples = loading.Samples(images, TILE, np.arange(20), images.labels, augment, 1, cache)
        sampler = loading.EpochSampler(20, 1, shuffle=True)
        loader = loading.make_loader(samples, sampler, 5, workers, drop_last=True, pin=False)
        epochs = []
        for epoch in (1, 2):
            sampler.set_epoch(epoch)
            epochs += [pixels.numpy() for pixels, _ in loader]
        return np.concatenate(epochs)

    alone = batches(0, cached=True)
    assert np.array_equal(alone, batches(2, cached=False))
    assert not np.array_equal(alone[:20], alone[20:])


@pytest.fixture(scope="module")
def stained() -> NDArray[np.uint8]:
    """(64, 64, 3) RGB: hematoxylin at the left, eosin at the right, glass above."""
    density = np.zeros((64, 64, 3))
    density[16:, :32, 0], density[16:, 32:, 1] = 0.12, 0.12
    return np.asarray(np.clip(hed2rgb(density) * 255, 0, 255), np.uint8)


def test_no_stain_jitter_changes_nothing(stained: NDArray[np.uint8]) -> None:
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for picture in (stained, every):
        assert np.array_equal(StainJitter(0.0)(image=picture)["image"], picture)


def test_stain_jitter_scales_each_stain_by_itself(stained: NDArray[np.uint8]) -> None:
    """Half of the hematoxylin: its side is paler by that, eosin's side and the glass are as they were."""
    paler = StainJitter(1.0).apply(stained, np.array([0.5, 1, 1]), np.zeros(3))
    assert np.abs(paler[:, 32:].astype(int) - stained[:, 32:]).max() <= 2
    assert np.array_equal(paler[:16], stained[:16])
    before, after = (rgb2hed(picture)[40, 10, 0] for picture in (stained, paler))
    assert after == pytest.approx(before / 2, rel=0.03)


def test_stain_jitter_is_seeded(stained: NDArray[np.uint8]) -> None:
    augment = TrainAugment(64, "light")
    assert np.array_equal(augment(stained, 3), augment(stained, 3))
    assert not np.array_equal(augment(stained, 3), augment(stained, 4))


# --- metrics


def test_metrics_of_a_known_confusion() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 1, 0, 0])
    found = classification_metrics(truth, predicted, ("a", "b", "c"))
    assert found["accuracy"] == pytest.approx(5 / 8)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert found["confusion"] == [[3, 1, 0], [0, 2, 0], [2, 0, 0]]
    assert found["per_class"]["b"] == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2})
    assert found["warnings"] == ["class c: never predicted, though 2 tiles are of it"]
    useless = classification_metrics(truth, np.zeros(8, np.int64), ("a", "b", "c"))
    assert any("no better than always naming the largest class (0.500)" in line for line in useless["warnings"])
    json.dumps(found, allow_nan=False)
