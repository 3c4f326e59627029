"""A guess at cases where folders name none: tiles of a class that are stained alike are kept together.

Public sets of tiles often say nothing of patients. Parted by tile, each patient is on both sides, and validation knows
the stain of every tile it is asked about: on a set of five classes a model had 97 % there and 78 % on its test tiles.
Parted by stain, validation is of stains that training has not seen, which is what the next slide will be.

Which differences of colour matter is learned where tiles touch, since these are of one slide: what differs between
them is tissue, not stain. On the same set, of touching pairs that nothing was learned from, 86 % fell into one group,
and 69 % where all differences counted alike.
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
from models.data.touching import borders_of, touching_within
from wsi.errors import InputError

KIND = "stain group"
# Fewer than there are cases, as a rule: a case that is parted would be on both sides again.
_GROUPS = 8
_TILES = 4  # a group has so many on average, or there are fewer groups
_PERCENTILES = (2, 25, 50, 75, 98)
_THINNED = 4
_LEAST_PAIRS = 50  # for the 15 × 15 differences of colour that are learned
_RIDGE = 0.05  # of the mean variance: what touching tiles have in common by luck is no reason to trust it wholly
_COPY = 1e-3  # standard deviations; tiles that differ by less are copies, mirrored perhaps, and say nothing of tissue


def grouped_by_stain(tiles: FolderSet, progress: Callable[[float], None] = lambda _: None) -> FolderSet:
    """The same tiles in at most 8 groups a class, by k-means on percentiles of their Lab colours.

    What touching tiles differ in counts less, where 50 pairs or more touch. The same groups every time. progress: told
    the share done. Raises InputError where cases are known, which are better than any guess, or naming the images that
    cannot be read.
    """
    if tiles.groups is not None:
        raise InputError(
            f"{tiles.root}: its cases are known, and better than groups by stain; set train.group_by: case"
        )
    colours, borders = _looks(tiles, lambda share: progress(share / 2))
    touching = touching_within(borders, tiles.labels, lambda share: progress((1 + share) / 2)).touching()
    stain = _stain(scale(colours), touching)
    groups = np.empty(len(tiles), object)
    for number, name in enumerate(tiles.classes):
        members = np.flatnonzero(tiles.labels == number)
        # Where nothing was learned, what a class varies in most must not hide the rest.
        of_class = scale(colours[members]) if stain is None else stain[members]
        count = max(1, min(_GROUPS, len(members) // _TILES))
        with warnings.catch_warnings():  # of tiles that are all alike there are fewer groups, and no harm
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = KMeans(count, n_init=3, random_state=0).fit_predict(of_class)
        groups[members] = [f"{name} {group + 1}" for group in found]
    return replace(tiles, groups=tuple(groups), grouped_by=KIND)


def _stain(colours: NDArray[np.float64], touching: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """(n, d) colours, so turned and scaled that touching tiles differ as much in every direction; None where few do."""
    apart = colours[touching[:, 0]] - colours[touching[:, 1]]
    apart = apart[np.abs(apart).max(axis=1) > _COPY]
    if len(apart) < _LEAST_PAIRS:
        return None
    within = apart.T @ apart / len(apart)
    within += _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    variances, directions = np.linalg.eigh(within)
    return np.asarray(colours @ directions / np.sqrt(variances), np.float64)


def _looks(tiles: FolderSet, progress: Callable[[float], None]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """(n, 15) percentiles of L, a and b of every tile, and their borders, see `borders_of`."""
    found: list[tuple[NDArray[np.float64], NDArray[np.uint8]] | InputError] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for look in pool.map(lambda index: _look(tiles, index), range(len(tiles))):
            found.append(look)
            progress(len(found) / len(tiles))
    if faults := [str(each) for each in found if isinstance(each, InputError)]:
        raise InputError(f"{len(faults)} of {len(tiles)} tiles cannot be used: {list_some(faults)}")
    colours, borders = zip(*(each for each in found if not isinstance(each, InputError)), strict=True)
    return np.stack(colours), np.stack(borders)


def _look(tiles: FolderSet, index: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]] | InputError:
    try:
        pixels = read_image(tiles.paths[index])
    except InputError as error:
        return error
    thinned = np.ascontiguousarray(pixels[::_THINNED, ::_THINNED])
    lab = np.asarray(cv2.cvtColor(thinned, cv2.COLOR_RGB2LAB), np.float64).reshape(-1, 3)
    return np.percentile(lab, _PERCENTILES, axis=0).ravel(), borders_of(pixels)
