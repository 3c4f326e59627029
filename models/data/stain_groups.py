"""A guess at cases where folders name none: tiles of a class whose colours are alike are kept together.

Public sets of tiles often say nothing of patients. Parted by tile, each patient is on both sides, and validation knows
the stain of every tile it is asked about: on a set of five classes a model had 97 % there and 78 % on its test tiles.
Parted by stain, validation is of stains that training has not seen, which is what the next slide will be.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from models.data.folders import FolderSet, read_image
from models.data.sets import list_some
from wsi.errors import InputError

KIND = "stain group"
# Fewer than there are cases, as a rule: a case that is parted would be on both sides again.
_GROUPS = 12
_TILES = 4  # a group has so many on average, or there are fewer groups
_PERCENTILES = (2, 25, 50, 75, 98)
_THINNED = 4


def grouped_by_stain(tiles: FolderSet, progress: Callable[[float], None] = lambda _: None) -> FolderSet:
    """The same tiles in at most 12 groups a class, by k-means on percentiles of their Lab colours.

    The same groups every time. progress: told the share of images read. Raises InputError where cases are known, which
    are better than any guess, or naming the images that cannot be read.
    """
    if tiles.groups is not None:
        raise InputError(
            f"{tiles.root}: its cases are known, and better than groups by stain; set train.group_by: case"
        )
    colours = _colours(tiles, progress)
    groups = np.empty(len(tiles), object)
    for number, name in enumerate(tiles.classes):
        members = np.flatnonzero(tiles.labels == number)
        count = max(1, min(_GROUPS, len(members) // _TILES))
        with warnings.catch_warnings():  # of tiles that are all alike there are fewer groups, and no harm
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = KMeans(count, n_init=3, random_state=0).fit_predict(scale(colours[members]))
        groups[members] = [f"{name} {group + 1}" for group in found]
    return replace(tiles, groups=tuple(groups), grouped_by=KIND)


def _colours(tiles: FolderSet, progress: Callable[[float], None]) -> NDArray[np.float64]:
    """(n, 15) percentiles of L, a and b of every tile."""
    found: list[NDArray[np.float64] | InputError] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for colour in pool.map(lambda index: _colour(tiles, index), range(len(tiles))):
            found.append(colour)
            progress(len(found) / len(tiles))
    if faults := [str(each) for each in found if isinstance(each, InputError)]:
        raise InputError(f"{len(faults)} of {len(tiles)} tiles cannot be used: {list_some(faults)}")
    return np.stack([each for each in found if not isinstance(each, InputError)])


def _colour(tiles: FolderSet, index: int) -> NDArray[np.float64] | InputError:
    try:
        pixels = read_image(tiles.paths[index])
    except InputError as error:
        return error
    thinned = np.ascontiguousarray(pixels[::_THINNED, ::_THINNED])
    lab = np.asarray(cv2.cvtColor(thinned, cv2.COLOR_RGB2LAB), np.float64).reshape(-1, 3)
    return np.percentile(lab, _PERCENTILES, axis=0).ravel()
