"""Which exports are written, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wsi.errors import InputError
from wsi.exports.about import about
from wsi.exports.geojson import write_tiles
from wsi.exports.regions import write_regions
from wsi.exports.scored import ScoredTiles
from wsi.exports.tables import write_csv, write_geoparquet
from wsi.scores import TileScores

# Formats and the files they become.
FILES = MappingProxyType(
    {
        "tiles": "tiles.geojson.gz",
        "regions": "regions.geojson",
        "csv": "tiles.csv",
        "geoparquet": "tiles.geo.parquet",
    }
)
DEFAULT_FORMATS = ("tiles", "regions", "csv")


@dataclass(frozen=True)
class ExportOptions:
    """formats: of `FILES`; None: tiles, regions and csv.

    threshold: the probability from which on tiles make a region, for every class; None: each class's own in the
    model, and 0.5 where it has none.
    """

    threshold: float | None = None
    formats: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"export.threshold is {self.threshold}; it must lie in 0 to 1")
        unknown = sorted(set(self.formats or ()) - set(FILES))
        if unknown:
            raise InputError(f"export.formats: {', '.join(unknown)} not among {', '.join(FILES)}")

    @property
    def files(self) -> dict[str, str]:
        """Format -> file name of what is asked for, in the order of `FILES`."""
        asked = DEFAULT_FORMATS if self.formats is None else self.formats
        return {name: file for name, file in FILES.items() if name in asked}


def write_exports(
    scores: TileScores, out: Path, options: ExportOptions, bounds_offset: tuple[int, int], source: str
) -> list[Path]:
    """Write what is asked for into the folder `out`; returns the paths.

    bounds_offset: level-0 (x, y) of the scanned area's top-left (`SlideInfo.bounds_offset`). QuPath shows a slide from
    there on, so that both GeoJSON files count from there; tables count from the corner of level 0.
    source: digest of the predictions.
    """
    tiles = ScoredTiles.of(scores)
    thresholds = {name: scores.threshold(name, options.threshold) for name in scores.classes}
    in_qupath, on_slide = about(scores, bounds_offset, source), about(scores, (0, 0), source)
    paths = {name: out / file for name, file in options.files.items()}
    for name, path in paths.items():
        if name == "tiles":
            write_tiles(path, tiles, in_qupath, bounds_offset, source)
        elif name == "regions":
            write_regions(path, scores, thresholds, in_qupath, bounds_offset)
        elif name == "csv":
            write_csv(path, tiles)
        else:
            write_geoparquet(path, tiles, on_slide)
    return list(paths.values())
