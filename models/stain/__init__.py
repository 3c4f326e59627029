"""Stain normalisation: each tile made to look as if it came from one laboratory and scanner.

A model trained so carries its normaliser, target and all, in model.json, and every tile that it is shown goes through
it. The target is the median of the training tiles, not a published one: tiles that cannot be normalised (glass, one
stain alone, ink) are left as they are, and must still look like the rest.
"""

from models.stain.normalising import FIT_TILES, Method, Normaliser, fit_normaliser, normaliser_from_json

__all__ = ["FIT_TILES", "Method", "Normaliser", "fit_normaliser", "normaliser_from_json"]
