"""Damage done to a healthy file, by chance: in its headers most of the time, where one byte changes everything."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import tifffile

from tests.fuzzing.seeds import Seed

_BYTES = (0, 1, 2, 3, 4, 6, 7, 8, 12, 15, 16, 17, 31, 32, 33, 64, 127, 128, 254, 255)
_POWERS = (0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 24, 31, 32, 40, 48, 63, 64)
_WORDS = sorted({max(0, 2**power + near) for power in _POWERS for near in (-1, 0, 1)})
_JSON = (None, True, -1, 0, 1, 1.5, 1e308, 2**31, 2**63, 2**70, "", "x", "../..", [], {}, [0], [-1], float("nan"))
# Header bytes of a tile's own stream: the markers of a JPEG lie within these.
_STREAM_HEAD, _STREAMS, _TAG_HEAD = 700, 3, 600
_METADATA = (".json", ".zarray", ".zattrs", ".zgroup")
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xfe]")


@dataclass(frozen=True)
class Target:
    """A seed's file and where it hurts: hot byte positions, and fields (position, bytes) that hold one number."""

    raw: bytes
    hot: Sequence[int]
    fields: Sequence[tuple[int, int]]
    order: str


def mutate(seeds: Sequence[Seed], number: int, seed: int) -> tuple[Seed, dict[str, bytes]]:
    """Mutant `number` of a run: the seed it comes from, and those of its files that were changed."""
    rng = np.random.default_rng([seed, number])
    chosen = seeds[number % len(seeds)]
    # Most of a Zarr's faults are in its few metadata, most of its files are chunks.
    metadata = [name for name in chosen.files if name.endswith(_METADATA)]
    names = metadata if metadata and rng.random() < 0.7 else list(chosen.files)
    name = names[rng.integers(len(names))]
    raw = chosen.files[name]
    if name.endswith(_METADATA) and rng.random() < 0.8:
        return chosen, {name: _damaged_json(raw, rng)}
    other = seeds[rng.integers(len(seeds))]
    donor = next(iter(other.files.values()))
    return chosen, {name: _damaged(target_of(raw), donor, rng)}


_targets: dict[int, Target] = {}


def target_of(raw: bytes) -> Target:
    """Where `raw` hurts; worked out once for every seed."""
    if id(raw) not in _targets:
        _targets[id(raw)] = _tiff_target(raw) if raw[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") else _plain(raw)
    return _targets[id(raw)]


def _plain(raw: bytes) -> Target:
    """Any other file: its first 2 KiB, and the surroundings of every JPEG marker among them."""
    return Target(raw, range(min(len(raw), 2048)), [(at, 2) for at in range(0, min(len(raw), 2048) - 8, 2)], ">")


def _tiff_target(raw: bytes) -> Target:
    hot: list[int] = list(range(16))
    fields: list[tuple[int, int]] = [(4, 4)]
    with NamedTemporaryFile(suffix=".tif") as held:
        held.write(raw)
        held.flush()
        with tifffile.TiffFile(Path(held.name)) as tiff:
            order, big = tiff.byteorder, tiff.is_bigtiff
            pages = [page.aspage() for page in tiff.pages]
            pages += [child.aspage() for page in pages for child in page.pages or ()]
            for page in pages:
                hot += range(
                    page.offset, page.offset + (8 + 20 * len(page.tags) + 8 if big else 6 + 12 * len(page.tags))
                )
                for tag in page.tags:
                    fields += [(tag.offset, 2), (tag.offset + 2, 2), (tag.offset + 4, 8 if big else 4)]
                    fields += [(tag.offset + (12 if big else 8), 8 if big else 4)]
                    size = max(1, tag.valuebytecount // max(1, tag.count))
                    head = range(tag.valueoffset, tag.valueoffset + min(tag.valuebytecount, _TAG_HEAD))
                    hot += head
                    fields += [(at, min(size, 8)) for at in head[::size][:8]]
                for offset, count in list(zip(page.dataoffsets, page.databytecounts, strict=False))[:_STREAMS]:
                    hot += range(offset, offset + min(count, _STREAM_HEAD))
                    markers = _JPEG_MARKER.finditer(raw, offset, offset + min(count, _STREAM_HEAD))
                    fields += [(found.start() + near, 2) for found in markers for near in (2, 5, 7)]
    return Target(raw, [at for at in hot if at < len(raw)], [f for f in fields if sum(f) <= len(raw)], order)


def _damaged(target: Target, donor: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(target.raw)
    for _ in range(int(rng.choice([1, 1, 1, 2, 2, 3, 5]))):
        _HARM[rng.choice(len(_HARM), p=_CHANCES)](data, target, donor, rng)
    return bytes(data)


def _place(data: bytearray, target: Target, rng: np.random.Generator) -> int:
    """A byte to change: a hot one nine times in ten."""
    if not data:
        return 0
    anywhere = rng.random() < 0.1 or not target.hot
    return int(rng.integers(len(data)) if anywhere else target.hot[rng.integers(len(target.hot))]) % len(data)


def _flip_bit(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    if data:
        data[_place(data, target, rng)] ^= 1 << int(rng.integers(8))


def _set_byte(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    if data:
        data[_place(data, target, rng)] = int(rng.choice(_BYTES))


def _set_word(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    _put(
        data,
        _place(data, target, rng),
        int(rng.choice([2, 4, 8])),
        _WORDS[rng.integers(len(_WORDS))],
        rng.choice(["<", ">"]),
    )


def _set_field(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    """A whole number of the header, by a boundary value or by one close to what it was."""
    if not target.fields:
        return
    at, size = target.fields[rng.integers(len(target.fields))]
    value = _WORDS[rng.integers(len(_WORDS))]
    if rng.random() < 0.4:
        was = int.from_bytes(data[at : at + size], "little" if target.order == "<" else "big")
        value = int(rng.choice([was + 1, max(0, was - 1), was * 2, was // 2, was + 16]))
    _put(data, at, size, value, target.order)


def _put(data: bytearray, at: int, size: int, value: int, order: str) -> None:
    if at + size <= len(data):
        packed = struct.pack(order + "Q", value % 2 ** (8 * size))
        data[at : at + size] = packed[:size] if order == "<" else packed[8 - size :]


def _truncate(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    del data[_place(data, target, rng) :]


def _block(data: bytearray, target: Target, rng: np.random.Generator) -> tuple[int, int]:
    start = _place(data, target, rng)
    return start, min(len(data), start + int(rng.choice([1, 4, 12, 20, 64, 512])))


def _repeat_block(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    start, end = _block(data, target, rng)
    data[end:end] = data[start:end] * int(rng.integers(1, 4))


def _drop_block(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    start, end = _block(data, target, rng)
    del data[start:end]


def _fill_block(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    start, end = _block(data, target, rng)
    data[start:end] = bytes([int(rng.choice([0, 255]))]) * (end - start)


def _move_block(data: bytearray, target: Target, _: bytes, rng: np.random.Generator) -> None:
    """Over another place of the same file, so that lengths stay as they are."""
    start, end = _block(data, target, rng)
    to = _place(data, target, rng)
    data[to : to + end - start] = data[start:end]


def _splice(data: bytearray, target: Target, donor: bytes, rng: np.random.Generator) -> None:
    """A part of another file over the same place, or over any; or the rest of the other file."""
    if not donor:
        return
    start, end = _block(data, target, rng)
    if rng.random() < 0.2:
        data[start:] = donor[start : start + (1 << 20)]
    else:
        origin = start if rng.random() < 0.5 else int(rng.integers(len(donor)))
        data[start:end] = donor[origin : origin + end - start]


_Harm = Callable[[bytearray, Target, bytes, np.random.Generator], None]
_WEIGHTED: Mapping[_Harm, float] = {
    _flip_bit: 4,
    _set_byte: 4,
    _set_word: 4,
    _set_field: 8,
    _truncate: 1,
    _repeat_block: 1,
    _drop_block: 1,
    _fill_block: 1,
    _move_block: 2,
    _splice: 2,
}
_HARM = list(_WEIGHTED)
_CHANCES = np.array(list(_WEIGHTED.values())) / sum(_WEIGHTED.values())


def _damaged_json(raw: bytes, rng: np.random.Generator) -> bytes:
    """One to three values of a JSON document replaced, removed or repeated."""
    document = json.loads(raw)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(document))
        if not places:
            break
        container, key = places[rng.integers(len(places))]
        choice = rng.random()
        if choice < 0.15:
            del container[key]
        elif choice < 0.25 and isinstance(container, list):
            container.append(container[key])
        elif choice < 0.5 and isinstance(container[key], int | float):
            container[key] = int(rng.choice([0, -1, 1, 2, 3, 2**20, 2**31, 2**40])) + int(rng.integers(-1, 2))
        else:
            container[key] = _JSON[rng.integers(len(_JSON))]
    return json.dumps(document).encode()


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) within a document."""
    keys = list(document) if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else []
    found = [(document, key) for key in keys]
    for key in keys:
        found += _places(document[key])
    return found
