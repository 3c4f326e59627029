"""Small tiles that differ in colour, which a small network learns in seconds: in class folders, and in slides."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile

from models.data import LabelledSlide
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


def make_slide(folder: Path, name: str, colours: list[tuple[int, int, int]]) -> LabelledSlide:
    """A 0.25-mpp slide of 64-px columns of one colour each, and its tile table at 0.5 mpp."""
    pixels = np.concatenate([np.full((64, 64, 3), c, np.uint8) for c in colours], axis=1)
    tifffile.imwrite(
        folder / f"{name}.tif",
        pixels,
        photometric="rgb",
        tile=(64, 64),
        resolution=(40000, 40000),
        resolutionunit="CENTIMETER",
    )
    n = len(colours)
    labels = [None if i == n - 1 else ("odd" if i % 2 else "even") for i in range(n)]
    table = pa.table(
        {
            "x": pa.array([64 * i for i in range(n)], pa.int64()),
            "y": pa.array([0] * n, pa.int64()),
            "label": pa.array(labels, pa.string()),
            "blank": pa.array([i == 0 for i in range(n)]),
        }
    )
    pq.write_table(table, folder / f"{name}.parquet")
    return LabelledSlide(folder / f"{name}.tif", folder / f"{name}.parquet", mpp=0.25)
