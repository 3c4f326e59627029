"""Augmentation. The only module that touches albumentations (2.0.8, its last MIT release)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

# Set before the import: the library otherwise asks the internet for a newer version.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A  # noqa: N812  (the name its own documentation uses)
from skimage.color.colorconv import hed_from_rgb, rgb_from_hed

from models.stain.density import density_of, tile_of
from wsi.errors import InputError

Strength = Literal["none", "light", "strong"]
# (h, w, 3) uint8 RGB and a seed → (size, size, 3) uint8 RGB; the same seed gives the same pixels.
Augment = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


class TrainAugment:
    """Tiles as they might have been cut, stained and scanned another day; see `_transforms`."""

    def __init__(self, size_px: int, strength: Strength) -> None:
        if strength not in get_args(Strength):
            raise InputError(f"train.augmentation is {strength!r}; give one of {', '.join(get_args(Strength))}")
        self.size_px = size_px
        # One level of transforms: a nested OneOf would have to be seeded by itself.
        self._compose = A.Compose(_transforms(size_px, strength), seed=0)

    def __call__(self, tile: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB → (size_px, size_px, 3)."""
        # Seeded tile by tile, so that a run does not depend on how many workers shared it.
        self._compose.set_random_seed(seed)
        return np.asarray(self._compose(image=_at_least(tile, self.size_px))["image"], np.uint8)


class EvalCrop:
    """The centre of a tile; the seed is ignored."""

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px

    def __call__(self, tile: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:  # noqa: ARG002  (an Augment)
        """(h, w, 3) uint8 RGB → (size_px, size_px, 3)."""
        tile = _at_least(tile, self.size_px)
        top, left = ((side - self.size_px) // 2 for side in tile.shape[:2])
        return np.ascontiguousarray(tile[top : top + self.size_px, left : left + self.size_px])


def _at_least(tile: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Mirror the few pixels that rounding took from a tile's right and bottom."""
    height, width = tile.shape[:2]
    down, right = max(0, size_px - height), max(0, size_px - width)
    if not down and not right:
        return tile
    return np.asarray(cv2.copyMakeBorder(tile, 0, down, 0, right, cv2.BORDER_REFLECT_101), np.uint8)


class StainJitter(A.ImageOnlyTransform):  # type: ignore[misc]  # the library has no types
    """Hematoxylin, eosin and what is left vary in strength, as from one laboratory and day to the next.

    In optical density, along the stain vectors of Ruifrok and Johnston (2001): each is scaled by 1 ± `sigma` and
    shifted by ± `sigma` / 5, evenly drawn, as Tellez et al. (2018, "HED-light") do. The library's own `HEStain` drops
    what its two stains do not explain, which moves every tile's colour, and takes ten times as long.
    """

    def __init__(self, sigma: float, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def get_params(self) -> dict[str, Any]:
        """(3,) scale and shift of each stain."""
        draw = self.random_generator.uniform
        return {"scale": draw(1 - self.sigma, 1 + self.sigma, 3), "shift": draw(-self.sigma / 5, self.sigma / 5, 3)}

    def apply(self, img: NDArray[np.uint8], scale: Any, shift: Any, **_: Any) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB, the same size."""
        # Out of stains, scaled, and back into stains: one matrix on optical density.
        mix = hed_from_rgb @ np.diag(scale) @ rgb_from_hed
        jittered = np.column_stack([mix.T, shift @ rgb_from_hed]).astype(np.float32)
        return tile_of(np.asarray(cv2.transform(density_of(img), jittered), np.float32))


def _transforms(size_px: int, strength: Strength) -> list[Any]:
    """Tissue has no up or down (D4); stain and scanner move hue, saturation and brightness; focus varies.

    Scale changes stay small: the physical size of a nucleus is information.
    """
    crop = [A.RandomCrop(size_px, size_px)]
    if strength == "none":
        return crop
    strong = strength == "strong"
    low, high = (0.85, 1.15) if strong else (0.92, 1.08)
    blur, artefact = (0.2, 0.2) if strong else (0.05, 0.05)
    jitter = (
        A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03, p=0.8)
        if strong
        else A.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.01, p=0.5)
    )
    return [
        A.Affine(scale=(low, high), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        *crop,
        A.D4(p=1.0),
        StainJitter(0.25 if strong else 0.1, p=0.9 if strong else 0.8),
        jitter,
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.2), p=blur),
        A.ImageCompression(quality_range=(50 if strong else 70, 95), p=artefact),
    ]
