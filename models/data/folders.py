"""Images in class folders, as public data sets come: one sub-folder a class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from models.data.cases import find_cases
from models.data.listing import list_folder
from wsi.digest import middle_of
from wsi.errors import InputError, MppError
from wsi.geometry import MPP_TOLERANCE, TileSpec
from wsi.readers.alpha import over_white

_JPEG2000_HEAD_BYTES = 1 << 16  # boxes before the codestream may hold a colour profile
_MISSING_PX = 2  # a tile this much too small is rounding; more is another field of view


@dataclass(frozen=True, eq=False)
class FolderSet:
    """Images in one sub-folder a class, all at `source_mpp` µm/px.

    groups: the case of each, where it is known; or, as `grouped_by` says, a guess at it. left_out, notes: what else
    lies in the folders, see `models.data.listing.Listing`.
    """

    root: Path
    source_mpp: float
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    sites: tuple[str, ...] | None = None
    grouped_by: str = "case"
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def group_kind(self) -> str:
        """Folders say nothing of slides: a group, where given, is a case, or was guessed."""
        return self.grouped_by if self.groups is not None else "tile"

    @property
    def keys(self) -> tuple[str, ...]:
        """<class>/<file> of each image."""
        return tuple(_named(path) for path in self.paths)

    @property
    def sources(self) -> tuple[str, ...]:
        """The same: each is a file of its own."""
        return self.keys

    def load(self, index: int, tile: TileSpec) -> NDArray[np.uint8]:
        """(h, w, 3) RGB at `tile.mpp`, shrunk by area. Raises InputError, naming the file."""
        path = self.paths[index]
        if self.source_mpp > tile.mpp * (1 + MPP_TOLERANCE):
            raise MppError(
                f"{self.root}: tiles of {self.source_mpp:g} mpp cannot show {tile.mpp:g} mpp; "
                f"set tile.mpp to {self.source_mpp:g} or coarser"
            )
        pixels = read_image(path)
        height, width = pixels.shape[:2]
        scale = self.source_mpp / tile.mpp
        to_height, to_width = round(height * scale), round(width * scale)
        if min(to_height, to_width) < tile.size_px - _MISSING_PX:
            raise InputError(
                f"{_named(path)}: {width} × {height} px at {self.source_mpp:g} mpp is {to_width} × {to_height} px "
                f"at {tile.mpp:g} mpp, but tile.size_px is {tile.size_px}"
            )
        if (to_height, to_width) == (height, width):
            return pixels
        shrunk = cv2.resize(pixels, (to_width, to_height), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, np.uint8)

    def probe(self) -> Sequence[int]:
        """All of them: each is a file of its own."""
        return range(len(self))

    def fingerprint(self) -> str:
        """SHA-256 over class, name, size in bytes and the middle of every file, and the mpp.

        The middle, since raw tiles are all of one size: the two NCT-CRC-HE-100K, normalised and not, differ in nothing
        else.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.source_mpp:g}\n".encode())
        for name, path in zip(self.keys, self.paths, strict=True):
            digest.update(f"{name} {path.stat().st_size}\n".encode())
            digest.update(middle_of(path))
        return digest.hexdigest()


def read_folder(root: Path, source_mpp: float, case_pattern: str | None = None) -> FolderSet:
    """The images below `root`/<class>/, classes and files sorted by name; their cases, where `find_cases` finds any.

    Raises InputError for what `list_folder` refuses, or where the case of only some images is said.
    """
    if not source_mpp > 0:
        raise InputError(f"{root}: source_mpp is {source_mpp}; give the µm per pixel of the images, above 0")
    listing = list_folder(root)
    labels = np.repeat(np.arange(len(listing.images)), [len(files) for files in listing.images.values()])
    paths = tuple(path for files in listing.images.values() for path in files)
    tiles = FolderSet(root, source_mpp, paths, labels.astype(np.int64), tuple(listing.images))
    tiles = replace(tiles, left_out=listing.left_out, notes=listing.notes)
    cases = find_cases(root, tiles.keys, case_pattern)
    return tiles if cases is None else replace(tiles, groups=cases.cases, sites=cases.sites)


def _named(path: Path) -> str:
    """<class>/<file>."""
    return f"{path.parent.name}/{path.name}"


def read_image(path: Path) -> NDArray[np.uint8]:
    """(h, w, 3) RGB of an 8-bit image file; what is transparent is laid over white, as of slides.

    Raises InputError, naming <class>/<file>, where it is damaged, even if only cut short.
    """
    try:
        # Pillow, since OpenCV fills up a truncated JPEG with grey and says nothing.
        with Image.open(path) as image:
            if _is_deep(image, path):
                raise InputError(f"{_named(path)}: more than 8 bits a channel; save it as 8-bit RGB")
            if image.has_transparency_data:
                return over_white(np.array(image.convert("RGBA"), np.uint8))
            return np.array(image.convert("RGB"), np.uint8)
    except InputError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise InputError(f"{_named(path)}: cannot be decoded ({reason[:120]})") from error


def _is_deep(image: ImageFile.ImageFile, path: Path) -> bool:
    """Whether an image, opened from `path`, has more than 8 bits a channel.

    Of 16-bit colour Pillow says "RGB" and gives the upper 8 bits, which are black where a camera wrote 12; only what it
    is about to decode ("RGB;16B") tells, and of JPEG 2000 not even that.
    """
    if image.format == "JPEG2000":
        return _jpeg2000_bits(path) > 8
    return image.mode[0] in "IF" or any(";16" in str(tile[3]) for tile in image.tile)


def _jpeg2000_bits(path: Path) -> int:
    """The most bits of a channel, as the codestream's SIZ marker says (ISO 15444-1, A.5.1); 0 where there is none."""
    with path.open("rb") as stream:
        head = stream.read(_JPEG2000_HEAD_BYTES)
    start = head.find(b"\xff\x4f\xff\x51")  # start of codestream, then SIZ
    channels = int.from_bytes(head[start + 40 : start + 42], "big") if start >= 0 else 0
    depths = head[start + 42 : start + 42 + 3 * channels : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=0)
