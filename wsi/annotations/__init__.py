"""Regions drawn by a person, and the files in which QuPath, ASAP and ImageScope keep them."""

from wsi.annotations.files import read_regions
from wsi.annotations.geojson import read_geojson, write_geojson
from wsi.annotations.region import Region

__all__ = ["Region", "read_geojson", "read_regions", "write_geojson"]
