"""Images in class folders, as public data sets come: one sub-folder a class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from models.data.cases import SHEET, find_cases
from models.data.sets import list_some
from wsi.digest import middle_of
from wsi.errors import InputError, MppError
from wsi.geometry import MPP_TOLERANCE, TileSpec
from wsi.readers.alpha import over_white

_ENDINGS = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})
_MISSING_PX = 2  # a tile this much too small is rounding; more is another field of view


@dataclass(frozen=True, eq=False)
class FolderSet:
    """Images in one sub-folder a class, all at `source_mpp` µm/px.

    groups: the case of each, where it is known; or, as `grouped_by` says, a guess at it.
    """

    root: Path
    source_mpp: float
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    sites: tuple[str, ...] | None = None
    grouped_by: str = "case"

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

    Raises InputError where the folder is missing, has no class folders, some of them hold no image, folders of images
    or what is named as one and is no file, or the case of only some images is said.
    """
    if not source_mpp > 0:
        raise InputError(f"{root}: source_mpp is {source_mpp}; give the µm per pixel of the images, above 0")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give one with a sub-folder of images per class")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(f"{root}: no class folders in it; make one sub-folder of images per class")
    images = [_images(folder) for folder in folders]
    empty = [folder.name for folder, found in zip(folders, images, strict=True) if not found]
    if empty:
        raise InputError(
            f"{root}: no images ({', '.join(sorted(_ENDINGS))}) in class folder {', '.join(empty)}; "
            "add some or remove the folder"
        )
    labels = np.repeat(np.arange(len(folders), dtype=np.int64), [len(found) for found in images])
    paths = tuple(path for found in images for path in found)
    names = tuple(folder.name for folder in folders)
    images_only = FolderSet(root, source_mpp, paths, labels, names)
    cases = find_cases(root, images_only.keys, case_pattern)
    return images_only if cases is None else replace(images_only, groups=cases.cases, sites=cases.sites)


def _images(folder: Path) -> list[Path]:
    """Files that are named as images, sorted; raises InputError where something so named is no file."""
    named = sorted(p for p in folder.iterdir() if p.suffix.lower() in _ENDINGS and not p.name.startswith("."))
    if lost := [path.name for path in named if not path.is_file()]:
        raise InputError(
            f"{folder}: links to nothing, or folders, named as images: {list_some(lost, ', ')}; remove them"
        )
    _refuse_images_below(folder)
    return named


def _refuse_images_below(folder: Path) -> None:
    """Folders in a class folder (a case each, often) would otherwise be left out of all figures without a word."""
    counts = {
        below.name: sum(path.suffix.lower() in _ENDINGS for path in below.rglob("*"))
        for below in sorted(folder.iterdir())
        if below.is_dir() and not below.name.startswith(".")
    }
    if told := [f"{name} ({count} images)" for name, count in counts.items() if count]:
        raise InputError(
            f"{folder}: images in folders within a class folder: {list_some(told, ', ')}; move them up into "
            f"{folder.name}, and where these folders are cases, put the case into each file's name or into {SHEET}"
        )


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
            if _is_deep(image):
                raise InputError(f"{_named(path)}: more than 8 bits a channel; save it as 8-bit RGB")
            if image.has_transparency_data:
                return over_white(np.array(image.convert("RGBA"), np.uint8))
            return np.array(image.convert("RGB"), np.uint8)
    except InputError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise InputError(f"{_named(path)}: cannot be decoded ({reason[:120]})") from error


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether an opened image has more than 8 bits a channel.

    Of 16-bit colour Pillow says "RGB" and gives the upper 8 bits, which are black where a camera wrote 12; only what it
    is about to decode ("RGB;16B") tells.
    """
    return image.mode[0] in "IF" or any(";16" in str(tile[3]) for tile in image.tile)
