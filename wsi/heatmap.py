"""heatmap.ome.zarr: probabilities as an NGFF 0.5 image, (c, y, x) float32, NaN where nothing was scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.colours import class_colours, hex_of
from wsi.scores import TileScores


@dataclass(frozen=True)
class Heatmap:
    """`values` (classes, rows, cols) float32; `um_per_cell` and `offset_um` place it on the slide, (x, y)."""

    classes: tuple[str, ...]
    values: NDArray[np.float32]
    um_per_cell: tuple[float, float]
    offset_um: tuple[float, float]

    @classmethod
    def of(cls, scores: TileScores) -> Heatmap:
        """The map of a slide's scores: one cell for each tile's stride, centred in the tile."""
        spec = scores.grid.spec
        cell, margin = spec.stride_px * spec.mpp, (spec.size_px - spec.stride_px) // 2 * spec.mpp
        return cls(scores.classes, scores.heatmap(), (cell, cell), (margin, margin))

    def write(self, path: Path) -> None:
        """Write an OME-Zarr folder (Zarr format 3)."""
        with writing(path) as temporary:
            group = zarr.open_group(temporary, mode="w", zarr_format=3)
            group.create_array(
                "0", data=self.values, chunks=self.values.shape, dimension_names=("c", "y", "x"), fill_value=np.nan
            )
            group.attrs["ome"] = {
                "version": "0.5",
                "multiscales": [self._multiscale()],
                "omero": {"channels": self._channels()},
            }

    def _multiscale(self) -> dict[str, Any]:
        transformations = [
            {"type": "scale", "scale": [1.0, self.um_per_cell[1], self.um_per_cell[0]]},
            {"type": "translation", "translation": [0.0, self.offset_um[1], self.offset_um[0]]},
        ]
        return {
            "name": "probabilities",
            "axes": [
                {"name": "c", "type": "channel"},
                {"name": "y", "type": "space", "unit": "micrometer"},
                {"name": "x", "type": "space", "unit": "micrometer"},
            ],
            "datasets": [{"path": "0", "coordinateTransformations": transformations}],
        }

    def _channels(self) -> list[dict[str, Any]]:
        colours = class_colours(self.classes)
        window = {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0}
        return [
            {"label": name, "color": hex_of(colours[name])[1:].upper(), "window": window, "active": True}
            for name in self.classes
        ]
