"""heatmap.ome.zarr: probabilities as an NGFF 0.5 image, (c, y, x) float32, NaN where nothing was scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.colours import class_colours, hex_of
from wsi.readers.zarr.own import ATTRIBUTE, is_own
from wsi.scores import TileScores


@dataclass(frozen=True)
class Heatmap:
    """`values` (classes, rows, cols) float32, and where the cells lie on the slide, all (x, y).

    um_per_cell: size of a cell. offset_um: the first cell's top-left corner, from the slide's. px_um: size of a
    level-0 px of the slide.
    """

    classes: tuple[str, ...]
    values: NDArray[np.float32]
    um_per_cell: tuple[float, float]
    offset_um: tuple[float, float]
    px_um: tuple[float, float]

    @classmethod
    def of(cls, scores: TileScores) -> Heatmap:
        """The map of a slide's scores: one cell for each tile's stride, centred in the tile.

        All are of one size, as pixels are: where tiles overlap, the outer tiles' own cells (`TileGrid.cell_edges`), by
        which heat is painted and areas are counted, reach beyond the map, to the slide's edge.
        """
        spec = scores.grid.spec
        # µm of a grid px on this slide: a ratio of 2.001 is taken for 2, and the spec's own mpp would drift.
        x, y = (ratio * mpp for ratio, mpp in zip(scores.grid.downsample, scores.grid.slide_mpp, strict=True))
        margin = (spec.size_px - spec.stride_px) // 2
        cell, offset = (spec.stride_px * x, spec.stride_px * y), (margin * x, margin * y)
        return cls(scores.classes, scores.heatmap(), cell, offset, scores.grid.slide_mpp)

    def write(self, path: Path, belongs: Mapping[str, str] | None = None) -> None:
        """Write an OME-Zarr folder (Zarr format 3). belongs: whose map it is, kept as the attribute "tesela".

        Raises InputError where there is a folder that Tesela did not write.
        """
        with writing(path, is_own) as temporary:
            group = zarr.open_group(temporary, mode="w", zarr_format=3)
            group.create_array(
                "0", data=self.values, chunks=self.values.shape, dimension_names=("c", "y", "x"), fill_value=np.nan
            )
            group.attrs["ome"] = {
                "version": "0.5",
                "multiscales": [self._multiscale()],
                "omero": {"channels": self._channels()},
            }
            group.attrs[ATTRIBUTE] = dict(belongs or {})

    def _multiscale(self) -> dict[str, Any]:
        """Coordinates as NGFF has them: an index stands for its pixel's centre, and so does the slide's own.

        Level 0 of a slide has no translation, so its top-left corner lies at minus half a px. The centre of the first
        cell is half a cell from that cell's corner.
        """
        x, y = (
            offset + cell / 2 - px / 2
            for offset, cell, px in zip(self.offset_um, self.um_per_cell, self.px_um, strict=True)
        )
        transformations = [
            {"type": "scale", "scale": [1.0, self.um_per_cell[1], self.um_per_cell[0]]},
            {"type": "translation", "translation": [0.0, y, x]},
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
