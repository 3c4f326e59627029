"""TIFF files put together tag by tag, so that a test can write what no honest writer would."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import tifffile

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, DOUBLE, LONG8 = 1, 2, 3, 4, 5, 7, 12, 16
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, X_RESOLUTION, Y_RESOLUTION = 273, 277, 278, 279, 282, 283
PLANAR, RESOLUTION_UNIT, PREDICTOR, COLORMAP, TILE_WIDTH, TILE_LENGTH = 284, 296, 317, 320, 322, 323
TILE_OFFSETS, TILE_COUNTS, SUB_IFDS, JPEG_TABLES, SUBSAMPLING, ICC = 324, 325, 330, 347, 530, 34675
SOFTWARE, XMP = 305, 700

Link = Callable[[Sequence[int]], int]


@dataclass(frozen=True)
class Tag:
    """One entry of a directory, which may lie: `claimed` is the count that it states, where not the true one.

    values: numbers, or the bytes of the payload; or a function of the directories' offsets that gives one number.
    """

    type: int
    values: Sequence[int] | bytes | Link
    claimed: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        if callable(self.values):
            return _SIZES[self.type]
        return len(self.values) if isinstance(self.values, bytes) else len(self.values) * _SIZES[self.type] // self._per

    @property
    def count(self) -> int:
        """The count that the entry states."""
        return self.size // _SIZES.get(self.type, 1) if self.claimed is None else self.claimed

    @property
    def _per(self) -> int:
        return 2 if self.type == RATIONAL else 1

    def payload(self, order: str, directories: Sequence[int]) -> bytes:
        """The values as they lie in the file."""
        if isinstance(self.values, bytes):
            return self.values
        values = [self.values(directories)] if callable(self.values) else self.values
        code = {BYTE: "B", ASCII: "B", UNDEFINED: "B", SHORT: "H", LONG: "I", RATIONAL: "I", LONG8: "Q"}[self.type]
        return struct.pack(f"{order}{len(values)}{code}", *values)


@dataclass(frozen=True)
class Page:
    """One directory and its tiles.

    cells: for each tile of the grid its index in `tiles`; None: no bytes (offset and count 0). Several cells may name
    the same tile. Offsets and counts follow from it, unless `tags` state their own.
    """

    tags: Mapping[int, Tag]
    tiles: tuple[bytes, ...]
    cells: tuple[int | None, ...] = field(default=())

    def with_tags(self, tags: Mapping[int, Tag | None]) -> Page:
        """The page with other tags; None takes one away."""
        merged = {**self.tags, **tags}
        return replace(self, tags={code: tag for code, tag in merged.items() if tag is not None})


def rgb_page(
    size: tuple[int, int], tile: tuple[int, int], tiles: Iterable[bytes], compression: int, photometric: int = 2
) -> Page:
    """A tiled page of 8-bit RGB; `size` and `tile` are (width, height). One tile given alone fills every cell."""
    given = tuple(tiles)
    count = -(-size[0] // tile[0]) * -(-size[1] // tile[1])
    tags = {
        WIDTH: Tag(LONG, [size[0]]),
        LENGTH: Tag(LONG, [size[1]]),
        BITS: Tag(SHORT, [8, 8, 8]),
        COMPRESSION: Tag(SHORT, [compression]),
        PHOTOMETRIC: Tag(SHORT, [photometric]),
        SAMPLES: Tag(SHORT, [3]),
        PLANAR: Tag(SHORT, [1]),
        TILE_WIDTH: Tag(LONG, [tile[0]]),
        TILE_LENGTH: Tag(LONG, [tile[1]]),
    }
    if photometric == 6:
        tags[SUBSAMPLING] = Tag(SHORT, [2, 2])
    return Page(tags, given, (0,) * count if len(given) == 1 else tuple(range(count)))


def write_tiff(
    pages: Sequence[Page], *, big: bool = False, order: str = "<", following: Mapping[int, int] | None = None
) -> bytes:
    """The file's bytes. following: page → the page that its next pointer names, where not simply the next one."""
    head, offset_size = (16, 8) if big else (8, 4)
    starts, position = [], head
    for page in pages:
        starts.append([position + sum(map(len, page.tiles[:index])) for index in range(len(page.tiles))])
        position += sum(map(len, page.tiles))
    tags = [dict(sorted(_located(page, start, big).items())) for page, start in zip(pages, starts, strict=True)]
    directories = []
    for entries in tags:
        position += position % 2
        directories.append(position)
        position += _table_size(entries, big) + sum(
            t.size + t.size % 2 for t in entries.values() if t.size > offset_size
        )
    version = (
        struct.pack(order + "HHHQ", 43, 8, 0, directories[0]) if big else struct.pack(order + "HI", 42, directories[0])
    )
    out = bytearray((b"II" if order == "<" else b"MM") + version)
    for page in pages:
        out += b"".join(page.tiles)
    links = {**dict(pairwise(range(len(pages)))), **(following or {})}
    for index, entries in enumerate(tags):
        out += bytes(directories[index] - len(out))
        link = directories[links[index]] if index in links else 0
        out += _directory(entries, link, directories[index], directories, big=big, order=order)
    return bytes(out)


def _located(page: Page, starts: Sequence[int], big: bool) -> dict[int, Tag]:
    striped = TILE_WIDTH not in page.tags and ROWS_PER_STRIP in page.tags
    offsets_code, counts_code = (STRIP_OFFSETS, STRIP_COUNTS) if striped else (TILE_OFFSETS, TILE_COUNTS)
    kind = LONG8 if big else LONG
    offsets = [0 if cell is None else starts[cell] for cell in page.cells]
    counts = [0 if cell is None else len(page.tiles[cell]) for cell in page.cells]
    return {offsets_code: Tag(kind, offsets), counts_code: Tag(kind, counts), **page.tags}


def _table_size(entries: Mapping[int, Tag], big: bool) -> int:
    return 8 + 20 * len(entries) + 8 if big else 2 + 12 * len(entries) + 4


def _directory(
    entries: Mapping[int, Tag], link: int, start: int, directories: Sequence[int], *, big: bool, order: str
) -> bytes:
    offset_size = 8 if big else 4
    count, entry, pointer = (
        (order + "Q", order + "HHQ", order + "Q") if big else (order + "H", order + "HHI", order + "I")
    )
    table, data = bytearray(struct.pack(count, len(entries))), bytearray()
    behind = start + _table_size(entries, big)
    for code, tag in entries.items():
        payload = tag.payload(order, directories)
        table += struct.pack(entry, code, tag.type, tag.count)
        if len(payload) <= offset_size:
            table += payload.ljust(offset_size, b"\0")
        else:
            table += struct.pack(pointer, behind + len(data))
            data += payload + bytes(len(payload) % 2)
    return bytes(table + struct.pack(pointer, link) + data)


def shrunk(path: Path) -> bytes:
    """A TIFF with every directory and tag of `path`, but all tiles of a page share the bytes of its first."""
    with tifffile.TiffFile(path) as tiff:
        pages = [_copied(tiff, page) for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
        return write_tiff(pages, big=tiff.is_bigtiff, order=tiff.byteorder)


def _copied(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> Page:
    stream = tiff.filehandle
    located = {STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS}
    tags = {}
    for tag in page.tags:
        stream.seek(tag.valueoffset)
        if tag.code not in located:
            tags[tag.code] = Tag(int(tag.dtype), stream.read(tag.valuebytecount), tag.count)
    stream.seek(page.dataoffsets[0])
    return Page(tags, (stream.read(page.databytecounts[0]),), (0,) * len(page.dataoffsets))
