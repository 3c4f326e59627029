"""Activation maps on networks whose evidence is known, and the gallery of confident errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.explain import Example, cam, confident_errors, gallery, overlay
from models.network import build
from wsi.errors import InputError


class Colours(torch.nn.Module):
    """Class 0 is how red a picture is, class 1 how blue: one feature map each, an eighth of the size."""

    num_features = 2

    def forward_features(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(inputs[:, [0, 2]], 8)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(2, 3))


@pytest.fixture
def corners() -> torch.Tensor:
    """(1, 3, 64, 64): red in the top left corner, blue in the bottom right."""
    picture = torch.zeros(1, 3, 64, 64)
    picture[:, 0, :16, :16] = 1
    picture[:, 2, 48:, 48:] = 1
    return picture


@pytest.mark.parametrize(
    ("class_index", "rows", "cols"), [(0, slice(0, 16), slice(0, 16)), (1, slice(48, 64), slice(48, 64))]
)
def test_the_map_lights_up_where_the_evidence_is(
    corners: torch.Tensor, class_index: int, rows: slice, cols: slice
) -> None:
    heat = cam(Colours(), corners, np.array([class_index]))[0]
    assert heat.shape == (64, 64)
    assert heat.max() == 1
    assert heat.min() == 0
    assert heat[rows, cols].mean() > 0.85
    assert heat[rows, cols].sum() / heat.sum() > 0.7


def test_each_tile_has_its_own_class_and_its_own_scale(corners: torch.Tensor) -> None:
    both = torch.cat([corners, 0.1 * corners, 0 * corners])
    heat = cam(Colours(), both, np.array([0, 1, 0]))
    np.testing.assert_allclose(heat[0], cam(Colours(), corners, np.array([0]))[0])
    assert heat[1, 60, 60] == 1
    assert not heat[2].any()  # nothing speaks for anything: no division by zero


@pytest.mark.parametrize("architecture", ["resnet10t", "efficientnet_b0", "mobilenetv3_small_050"])
def test_networks_of_timm_have_maps_and_keep_their_weights(architecture: str) -> None:
    torch.manual_seed(0)
    network = build(architecture, 3)
    before = {name: value.clone() for name, value in network.eval().state_dict().items()}
    heat = cam(network, torch.rand(2, 3, 64, 64), np.array([0, 2]))
    assert heat.shape == (2, 64, 64)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_without_feature_maps_is_refused() -> None:
    network = build("vit_tiny_patch16_224", 2, size_px=64)
    with pytest.raises(InputError, match="convolutional"):
        cam(network, torch.rand(1, 3, 64, 64), np.array([0]))


def test_the_most_confident_errors_come_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    assert confident_errors(probabilities, np.array([1, 1, 0, 1])).tolist() == [0, 2, 3]
    assert confident_errors(probabilities, np.array([1, 1, 0, 1]), count=1).tolist() == [0]
    assert confident_errors(probabilities, np.array([0, 1, 1, 0])).tolist() == []


def test_the_overlay_leaves_the_evidence_and_darkens_the_rest() -> None:
    tile = np.full((4, 4, 3), 200, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    shown = overlay(tile, heat)
    assert shown[0, 0].tolist() == [200, 200, 200]
    assert shown[3, 3].max() < 60


@pytest.mark.parametrize("with_maps", [True, False])
def test_a_gallery_is_written_with_and_without_maps(tmp_path: Path, with_maps: bool) -> None:
    heat = np.eye(16, dtype=np.float32) if with_maps else None
    examples = [Example(np.full((16, 16, 3), 40 * i, np.uint8), heat, "a", "b", 0.9) for i in range(5)]
    gallery(tmp_path / "errors.png", examples)
    with Image.open(tmp_path / "errors.png") as picture:
        assert picture.width > picture.height
