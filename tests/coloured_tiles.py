"""Class folders of small tiles that differ in colour, which a small network learns in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from wsi.geometry import TileSpec

TILE = TileSpec(32, 0.5, 32)
COLOURS = {"blue": (60, 60, 180), "green": (60, 170, 60), "red": (190, 50, 50)}


def write_tile(path: Path, colour: tuple[int, int, int], generator: np.random.Generator, side_px: int = 32) -> None:
    pixels = np.clip(generator.normal(colour, 25, (side_px, side_px, 3)), 0, 255).astype(np.uint8)
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])


def write_folders(root: Path) -> Path:
    """Three classes told apart by colour; names and endings as people have them."""
    generator = np.random.default_rng(7)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for i, ending in enumerate([".png", ".PNG", ".tif", ".TIFF"] * 6):
            write_tile(root / name / f"tile {i}{ending}", colour, generator)
        (root / name / "notes.txt").write_text("not an image")
    return root
