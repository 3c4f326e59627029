"""One root for every error a person can mend, so that the command line can print it as one clear line."""

from __future__ import annotations


class WsiError(Exception):
    """Something a person can mend: the message names the file, the numbers and the remedy."""


class SlideError(WsiError, OSError):
    """The slide cannot be opened or its pixels cannot be decoded."""


class MppError(WsiError, ValueError):
    """The slide's mpp is missing, or does not allow what was asked for."""


class InputError(WsiError, ValueError):
    """A table, annotation, configuration or model file is not what it should be."""


class TakenError(InputError):
    """Where something is to be written lies something that must not be replaced."""


class MismatchError(WsiError, ValueError):
    """Two things that must agree (a model and a tile grid, scores and a slide) do not."""
