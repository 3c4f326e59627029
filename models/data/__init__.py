"""Labelled tiles: class folders of images, and tables of tiles cut straight from slides."""

from models.data.folders import FolderSet, read_folder, read_image
from models.data.sets import TileSet, left_out_of, list_some
from models.data.slides import LabelledSlide, SlideSet, read_slides, tile_box
from models.data.stain_groups import grouped_by_stain

__all__ = [
    "FolderSet",
    "LabelledSlide",
    "SlideSet",
    "TileSet",
    "grouped_by_stain",
    "left_out_of",
    "list_some",
    "read_folder",
    "read_image",
    "read_slides",
    "tile_box",
]
