"""Slides that only OpenSlide opens: MRXS, NDPI, SCN, BIF, VMS, DICOM..."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import ImageCms

from wsi.errors import SlideError
from wsi.geometry import Level, downsample_of
from wsi.icc import profile_notes, rgb_profile
from wsi.readers.alpha import over_white
from wsi.readers.base import (
    MAX_SLIDE_SIDE_PX,
    MAX_TILE_PX,
    MPP_UNKNOWN,
    Header,
    NativeTiles,
    believed_mpp,
    credible,
)
from wsi.readers.scenes import check_scene

# One bounded cache for all handles of the process: a cache per handle grows with the number of open slides.
_CACHE = openslide.OpenSlideCache(64 * 1024 * 1024)
_ASSOCIATED = ("label", "macro", "thumbnail")


class OpenSlideReader:
    """Reads through OpenSlide; transparent pixels become white."""

    name = "openslide"

    def __init__(self, path: Path, slide: openslide.OpenSlide) -> None:
        self._path = path
        self._slide = slide
        self._slide.set_cache(_CACHE)
        self.header = _header(slide)

    @classmethod
    def open(cls, path: Path, scene: int = 0) -> OpenSlideReader | None:
        """See `Reader.open`. OpenSlide lays several scanned areas on one canvas: there is one scene."""
        try:
            if openslide.OpenSlide.detect_format(path) is None:
                return None
            check_scene(path, scene, 1)
            slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise SlideError(f"{path}: OpenSlide cannot open it ({_one_line(error)})") from error
        _check_size(path, slide)
        return cls(path, slide)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `Reader.read_level`."""
        # OpenSlide takes the corner in level-0 px, even for a reduced level, and divides by its own downsample.
        scale = self._slide.level_downsamples[level]
        corner = (round(x * scale), round(y * scale))
        try:
            rgba = np.asarray(self._slide.read_region(corner, level, (width, height)))
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"{self._path}: cannot read {width} × {height} px at {corner} ({_one_line(error)})"
            ) from error
        return over_white(rgba)

    def native(self, level: int) -> NativeTiles | None:  # noqa: ARG002 - the protocol's signature
        """See `Reader.native`: OpenSlide hands out pixels alone."""
        return None

    def associated(self) -> dict[str, NDArray[np.uint8]]:
        """See `Reader.associated`."""
        pictures = self._slide.associated_images
        names = set(pictures).intersection(_ASSOCIATED)  # the names alone: asking the map for one decodes it
        try:
            return {name: over_white(np.asarray(pictures[name])) for name in sorted(names)}
        except openslide.OpenSlideError as error:
            raise SlideError(f"{self._path}: cannot read its {', '.join(sorted(names))} pictures ({error})") from error

    def close(self) -> None:
        """See `Reader.close`."""
        self._slide.close()


def _one_line(error: openslide.OpenSlideError) -> str:
    """Its messages quote what is in the file, line feeds too."""
    return " ".join(str(error).split())


def _check_size(path: Path, slide: openslide.OpenSlide) -> None:
    """Raise SlideError where tiles are too large: where they cannot be allocated, OpenSlide aborts the process."""
    for level, (width, height) in enumerate(slide.level_dimensions):
        sides = [slide.properties.get(f"openslide.level[{level}].tile-{side}", "1") for side in ("width", "height")]
        if int(sides[0]) * int(sides[1]) > MAX_TILE_PX or max(width, height) > MAX_SLIDE_SIDE_PX:
            raise SlideError(
                f"{path}: declares {width} × {height} px in tiles of {sides[0]} × {sides[1]} px, over the limit of "
                f"{MAX_SLIDE_SIDE_PX} px a side and {MAX_TILE_PX} px a tile; the header is damaged"
            )


def _header(slide: openslide.OpenSlide) -> Header:
    properties = slide.properties
    levels = tuple(Level(*size, downsample_of(slide.dimensions, size)) for size in slide.level_dimensions)
    mpp, notes = _mpp(properties.get(openslide.PROPERTY_NAME_MPP_X), properties.get(openslide.PROPERTY_NAME_MPP_Y))
    power = _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
    offset = (
        int(properties.get(openslide.PROPERTY_NAME_BOUNDS_X, 0)),
        int(properties.get(openslide.PROPERTY_NAME_BOUNDS_Y, 0)),
    )
    profile, damaged = _profile(slide)
    return Header(
        levels=levels,
        mpp=mpp,
        objective_power=power,
        bounds_offset=offset,
        icc_profile=rgb_profile(profile),
        notes=_area_notes(slide) + notes + profile_notes(profile) + damaged,
        description=properties.get(openslide.PROPERTY_NAME_COMMENT, ""),
    )


def _area_notes(slide: openslide.OpenSlide) -> tuple[str, ...]:
    """For people: that several scanned areas (of SCN, BIF, CZI, MRXS...) are shown together."""
    areas = sum(name.startswith("openslide.region[") and name.endswith("].x") for name in slide.properties)
    return (f"{areas} scanned areas, shown together where they lie on the glass",) if areas > 1 else ()


def _profile(slide: openslide.OpenSlide) -> tuple[bytes | None, tuple[str, ...]]:
    """(ICC profile, what is wrong with it): one that cannot be opened is no reason not to show the slide."""
    try:
        profile = slide.color_profile
    except ImageCms.PyCMSError as error:
        return None, (f"its colour profile is damaged ({error}): left out",)
    return (profile.tobytes() if profile else None), ()


def _mpp(x: str | None, y: str | None) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    found = (_number(x), _number(y))
    if found[0] is None or found[1] is None:
        return None, ()
    return believed_mpp((found[0], found[1]), _no_mpp)


def _no_mpp(mpp: tuple[float, float]) -> str:
    side = next(side for side in mpp if not credible((side, side)))
    return f"mpp {side:g} in the file is not credible; {MPP_UNKNOWN}"


def _number(text: str | None) -> float | None:
    """A positive number, or None: vendors also write '', '0' and 'nan'."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 < value < float("inf") else None
