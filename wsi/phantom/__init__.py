"""Phantom slides: seeded H&E-like whole slides and tiles whose truth is known."""

from wsi.phantom.slide import Phantom
from wsi.phantom.spec import CLASSES, MAP_DOWNSAMPLE, PhantomSpec
from wsi.phantom.tiles import class_tiles

__all__ = ["CLASSES", "MAP_DOWNSAMPLE", "Phantom", "PhantomSpec", "class_tiles"]
