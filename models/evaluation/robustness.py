"""The same tiles as another scanner, stain or archive would have left them, and whether the model still knows them.

The picture is changed first; what a model does to its tiles, such as normalising their stain, comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
MOST_TILES = 2000  # each change is another pass through the model


@dataclass(frozen=True, eq=False)
class Changed:
    """What the model says of changed tiles. predicted: (m,) int64, of tiles `indices` of those evaluated."""

    name: str
    indices: NDArray[np.int64]
    predicted: NDArray[np.int64]


def sweep(
    predict: Callable[[Iterable[Pixels]], NDArray[np.floating]],
    tiles: Callable[[], Iterable[Pixels]],
    indices: NDArray[np.int64],
) -> list[Changed]:
    """Every change of CHANGES. predict: tiles → logits; tiles: gives the pictures of `indices`, as often as asked."""
    found = []
    for name, change in CHANGES.items():
        logits = predict(change(tile) for tile in tiles())
        found.append(Changed(name, indices, np.asarray(logits.argmax(axis=1), np.int64)))
    return found


def swept_tiles(count: int, seed: int = 0) -> NDArray[np.int64]:
    """Which of `count` tiles to sweep over: all, or MOST_TILES drawn at random, in order."""
    if count <= MOST_TILES:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_TILES, replace=False))


def jpeg(tile: Pixels, quality: int) -> Pixels:
    """Compressed, and read again."""
    _, stream = cv2.imencode(".jpg", tile[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])


def turn_hue(tile: Pixels, degrees: float) -> Pixels:
    """Hue turned by degrees of the colour circle (360)."""
    hsv = cv2.cvtColor(tile.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[:, :, 0] = (hsv[:, :, 0] + degrees) % 360
    return _bytes(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32) * 255)


def blur(tile: Pixels, sigma_px: float) -> Pixels:
    """Out of focus: a Gaussian, px of the tile as the model sees it."""
    return np.asarray(cv2.GaussianBlur(tile, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def brighten(tile: Pixels, factor: float) -> Pixels:
    """Every pixel times `factor`, as a longer or shorter exposure."""
    return _bytes(tile.astype(np.float32) * factor)


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG quality 40": lambda tile: jpeg(tile, 40),
    "hue +10°": lambda tile: turn_hue(tile, 10),
    "hue −10°": lambda tile: turn_hue(tile, -10),
    "blur, sigma 1.5 px": lambda tile: blur(tile, 1.5),
    "brightness +15 %": lambda tile: brighten(tile, 1.15),
    "brightness −15 %": lambda tile: brighten(tile, 0.85),
}
