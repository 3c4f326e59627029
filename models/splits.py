"""Parting tiles into training, validation and test: by case wherever cases are known, and fixed by a seed.

`models.splitsheet` writes a split down and reads it back.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from models.data import SlideSet, TileSet, list_some
from models.data.slides import same_slides
from wsi.errors import InputError


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the tiles to train on, to choose the best epoch by, and to measure once; and how they were parted.

    by_tile: tiles of one case may be on several sides. notes: what a person should know of the parts.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    how: str
    by_tile: bool
    test: NDArray[np.int64] = field(default_factory=_none)
    name: str = ""
    notes: tuple[str, ...] = ()


def holdout(tiles: TileSet, val_fraction: float, seed: int, test_fraction: float = 0.0) -> Split:
    """Part off `test_fraction` of the tiles and `val_fraction` of them, both of the whole; the rest is trained on.

    Whole groups (cases, else slides), so that no patient is on two sides; by tile, the same fraction of each class,
    where no group is known or there is one only. Raises InputError where a class would be left out of training.
    """
    generator = np.random.default_rng(seed)
    every = np.arange(len(tiles))
    count, parts = len(set(tiles.groups or ())), 3 if test_fraction else 2
    if 1 < count < parts:
        raise InputError(f"{count} {tiles.group_kind}s cannot be parted into training, validation and test; add others")
    by_tile = count <= 1
    # Of what is not tested, two groups are needed: one to train on, one to choose the best epoch by.
    test = _part(tiles, every, test_fraction, by_tile, generator, leave=2) if test_fraction else _none()
    rest = np.setdiff1d(every, test)
    val = _part(tiles, rest, val_fraction / (1 - test_fraction), by_tile, generator)
    return _split(tiles, test, val, by_tile)


def k_folds(tiles: TileSet, folds: int, val_fraction: float, seed: int) -> tuple[Split, ...]:
    """So many splits, in which every tile is tested once: by group where groups are known, classes in like shares.

    val_fraction: of the whole, parted off what is not tested, to choose the best epoch by. Raises InputError where
    there are fewer groups (or tiles of a class) than that takes.
    """
    by_tile = tiles.groups is None
    _check_folds(tiles, folds)
    found = []
    for number, test in enumerate(_fold_tests(tiles, folds, seed), start=1):
        rest = np.setdiff1d(np.arange(len(tiles)), test)
        generator = np.random.default_rng((seed, number))
        val = _part(tiles, rest, min(0.5, val_fraction * folds / (folds - 1)), by_tile, generator)
        name = f"fold {number} of {folds}"
        found.append(_split(tiles, test, val, by_tile, name))
    return tuple(found)


def leave_one_site_out(tiles: TileSet, val_fraction: float, seed: int) -> tuple[Split, ...]:
    """One split a site, which is tested after training on all the others. Raises InputError where sites are unknown."""
    if tiles.sites is None or len(set(tiles.sites)) < 2:
        raise InputError("leaving out one site takes two or more; say the site of every tile's case (column `site`)")
    if tiles.groups is not None:
        homes = Counter(group for group, _ in set(zip(tiles.groups, tiles.sites, strict=True)))
        if twice := sorted(group for group, count in homes.items() if count > 1):
            raise InputError(f"{tiles.group_kind} {list_some(twice, ', ')}: at two sites; give each one site")
    sites, by_tile = np.array(tiles.sites), tiles.groups is None
    found = []
    for number, site in enumerate(np.unique(sites)):
        test = np.flatnonzero(sites == site)
        rest = np.setdiff1d(np.arange(len(tiles)), test)
        if tiles.groups is not None and len({tiles.groups[i] for i in rest}) < 2:
            raise InputError(f"site {site} left out, one {tiles.group_kind} is left; two or more are needed to train")
        val = _part(tiles, rest, val_fraction, by_tile, np.random.default_rng((seed, number)))
        found.append(_split(tiles, test, val, by_tile, f"site {site}"))
    return tuple(found)


def as_given(tiles: TileSet, val_files: Collection[str]) -> Split:
    """Tiles of these files (paths) choose the best epoch, all others are trained on: as a person parted them.

    Raises InputError naming every case that is on both sides, or where no labelled tile is of these files.
    """
    val = np.flatnonzero([file in val_files for file in _files(tiles)]).astype(np.int64)
    if not len(val):
        raise InputError(f"no labelled tile to choose the best epoch by in {list_some(sorted(val_files), ', ')}")
    if tiles.groups is not None:
        groups = np.array(tiles.groups)
        if both := sorted(set(groups[val]) & set(np.delete(groups, val))):
            raise InputError(
                f"{tiles.group_kind} {list_some(both, ', ')}: in training and in validation; keep each in one of them"
            )
    split = _split(tiles, _none(), val, by_tile=False)
    return replace(split, how="split as the sheet says")


def _files(tiles: TileSet) -> list[str]:
    """(n,) path of the file each tile is of: names of slides may be short for it."""
    if isinstance(tiles, SlideSet):
        return [str(tiles.slides[i].slide) for i in tiles.slide_of]
    return list(tiles.sources)


def refuse_shared_cases(train_set: TileSet, test_set: TileSet) -> None:
    """Raise InputError naming every slide, by its content, and every case that is in both sets."""
    slides = [each.slides for each in (train_set, test_set) if isinstance(each, SlideSet)]
    if len(slides) == 2 and (both := same_slides(*slides)):
        raise InputError(f"the same slide in training and in test: {list_some(both, ', ')}; keep it in one of them")
    kind = train_set.group_kind
    if train_set.groups is None or test_set.groups is None or kind != test_set.group_kind:
        return
    if both := sorted(set(train_set.groups) & set(test_set.groups)):
        raise InputError(f"{kind} {list_some(both, ', ')}: in training and in test; keep each in one of them")


def refuse_one_class(tiles: TileSet) -> None:
    """Raise InputError where all tiles are of one class: nothing could be learned from them."""
    present = [tiles.classes[i] for i in np.unique(tiles.labels)]
    if len(present) < 2:
        raise InputError(
            f"{', '.join(present)}: all {len(tiles)} tiles to train on are of this one class, and a model needs two or "
            "more; add tiles (a folder, an annotation) of another class"
        )


def how_parted(tiles: TileSet, by_tile: bool) -> str:
    """What a report says of it."""
    if tiles.groups is None:
        return "no case ids: split by tile"
    if by_tile:
        return f"one {tiles.group_kind} only: split by tile"
    ways = {"case": "split by case", "slide": "no case ids: split by slide"}
    return ways.get(tiles.group_kind, f"no case ids: split by {tiles.group_kind}, a guess")


def with_notes(tiles: TileSet, split: Split) -> Split:
    """The split, with a note for each part that lacks a class.

    Raises InputError where training lacks one, or there is one only.
    """
    refuse_one_class(tiles)
    if lost := _absent(tiles, split.train):
        raise InputError(
            f"class {', '.join(lost)}: no tile is left to train on ({split.how}); add tiles of it, of other "
            f"{tiles.group_kind}s, or lower the share of validation and test"
        )
    parts = {"validation": split.val, "test": split.test}
    absent = {name: _absent(tiles, part) for name, part in parts.items() if len(part)}
    notes = tuple(f"class {', '.join(classes)}: no tile in {name}" for name, classes in absent.items() if classes)
    return replace(split, notes=notes)


def _split(tiles: TileSet, test: NDArray[np.int64], val: NDArray[np.int64], by_tile: bool, name: str = "") -> Split:
    if not len(val):
        raise InputError(
            f"{name or 'test part'}: one {tiles.group_kind} is left beside it, and two or more are needed, to train on "
            f"and to choose the best epoch by; add {tiles.group_kind}s, or give more folds"
        )
    train = np.setdiff1d(np.arange(len(tiles)), np.concatenate([test, val]))
    return with_notes(tiles, Split(train, val, how_parted(tiles, by_tile), by_tile, test, name))


def _absent(tiles: TileSet, part: NDArray[np.int64]) -> list[str]:
    return [name for i, name in enumerate(tiles.classes) if not np.any(tiles.labels[part] == i)]


def _check_folds(tiles: TileSet, folds: int) -> None:
    if folds < 2:
        raise InputError(f"{folds} folds; give 2 or more")
    least = max(3, folds)  # beside what is tested, some to train on and some to choose the best epoch by
    per_class = np.bincount(tiles.labels)
    counts = {"tiles of the rarest class": int(per_class.min())}
    if tiles.groups is not None:  # a class may be of few cases: then some parts lack it, and a note says so
        counts = {f"{tiles.group_kind}s": len(set(tiles.groups)), "tiles of the largest class": int(per_class.max())}
    for what, count in counts.items():
        if count < least:
            raise InputError(f"{folds} folds take {least} {what} or more, and there are {count}; give fewer folds")


def _fold_tests(tiles: TileSet, folds: int, seed: int) -> list[NDArray[np.int64]]:
    """The tiles tested in each fold."""
    kind = StratifiedKFold if tiles.groups is None else StratifiedGroupKFold
    parter = kind(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of classes with fewer groups than folds our own notes say more
        warnings.simplefilter("ignore", UserWarning)
        tests = [test for _, test in parter.split(np.zeros(len(tiles)), tiles.labels, tiles.groups)]
    if empty := sum(len(test) == 0 for test in tests):
        raise InputError(f"{empty} of {folds} folds would be empty: {tiles.group_kind}s differ too much; give fewer")
    return [np.asarray(test, np.int64) for test in tests]


def _part(
    tiles: TileSet,
    among: NDArray[np.int64],
    fraction: float,
    by_tile: bool,
    generator: np.random.Generator,
    leave: int = 1,
) -> NDArray[np.int64]:
    """About `fraction` of the tiles `among`, sorted; of whole groups, `leave` or more are left out of it."""
    if by_tile or tiles.groups is None:
        return _tiles_of(tiles, among, fraction, generator)
    return among[_groups_of(tiles.labels[among], np.array(tiles.groups)[among], fraction, leave, generator)]


def _tiles_of(
    tiles: TileSet, among: NDArray[np.int64], fraction: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """The same fraction of every class, and at least one tile."""
    chosen = []
    for i in np.unique(tiles.labels):
        members = among[tiles.labels[among] == i]
        if len(members) < 2:
            raise InputError(
                f"class {tiles.classes[i]}: {len(members)} tiles; training and validation need at least 2, and a "
                "test part one more"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen.append(generator.permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def _groups_of(
    labels: NDArray[np.int64], groups: NDArray[np.str_], fraction: float, leave: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Add, one by one, the group that brings the part nearest to `fraction` of every class; (m,) places, sorted.

    All but `leave` groups at most.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(counts, (group_of, labels), 1)
    per_class = counts.sum(axis=0)
    share = counts / np.maximum(per_class, 1)  # (groups, classes): the part of each class a group holds
    target = np.where(per_class > 0, fraction, 0.0)
    order = generator.permutation(len(names))  # ties fall by the seed
    chosen: list[int] = []
    have = np.zeros_like(target)
    while len(chosen) < len(names) - leave:
        costs = np.sum((have + share[order] - target) ** 2, axis=1)
        best = int(np.argmin(costs))
        if chosen and costs[best] >= np.sum((have - target) ** 2):
            break
        have = have + share[order[best]]
        chosen.append(int(order[best]))
        order = np.delete(order, best)
    return np.flatnonzero(np.isin(group_of, chosen)).astype(np.int64)
