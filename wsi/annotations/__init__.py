"""Regions drawn by a person, and the files in which QuPath, ASAP and ImageScope keep them."""

from wsi.annotations.drawing import Drawing
from wsi.annotations.files import read_drawing, read_regions
from wsi.annotations.frame import Frame, Origin
from wsi.annotations.geojson import read_geojson, write_geojson
from wsi.annotations.region import Region

__all__ = ["Drawing", "Frame", "Origin", "Region", "read_drawing", "read_geojson", "read_regions", "write_geojson"]
