"""Any readable image → a pyramid that can be read at random: OME-TIFF or OME-Zarr."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi.atomic import refuse_overwriting
from wsi.errors import InputError, SlideError
from wsi.geometry import Box
from wsi.memory import keep_freed_memory
from wsi.slide import Slide
from wsi.source import file_of
from wsi.stream import ahead
from wsi.writers.copying import CopyPlan, copy_pyramid, plan_copy
from wsi.writers.description import own_text, safe_text
from wsi.writers.ome import Facts
from wsi.writers.pyramid import Codec, PyramidOptions, check_tile_px, write_pyramid
from wsi.writers.zarr import write_zarr_pyramid

Target = Literal["ome-tiff", "ome-zarr"]
# What may name a patient.
PRIVATE = ("label", "macro", "text")

_ENDINGS: dict[Target, tuple[str, ...]] = {"ome-tiff": (".tif", ".tiff"), "ome-zarr": (".zarr",)}
# Bands that are read at once: of about this many bytes, but no lower than 256 rows or a row of the source's tiles.
_BAND_BYTES = 16 << 20
_LARGEST_BAND_BYTES = 256 << 20
_CHUNK_PX = 512


@dataclass(frozen=True)
class ConvertOptions:
    """What to write. None: as the source has it where its tiles can be copied, else as PyramidOptions says.

    codec, quality, tile_px: given, they mean that pixels are encoded anew, unless the source's are like that. What is
    stored without loss stays so, with deflate, unless `codec` or `quality` asks for JPEG.
    keep: what may name a patient, and is only kept when asked for: "label", "macro" (pictures) and "text" (the
    slide's whole description).
    """

    target: Target = "ome-tiff"
    codec: Codec | None = None
    quality: int | None = None
    tile_px: int | None = None
    keep: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.target not in _ENDINGS:
            raise InputError(f"--target {self.target}; give {' or '.join(_ENDINGS)}")
        if unknown := sorted(self.keep - set(PRIVATE)):
            raise InputError(f"--keep {', '.join(unknown)}; give {', '.join(PRIVATE)}")
        if self.tile_px is not None:
            check_tile_px(self.tile_px)
        if self.target == "ome-zarr" and (self.codec or self.quality is not None):
            raise InputError(
                "--codec and --quality are for ome-tiff; ome-zarr is always lossless (zstd): leave them out"
            )
        if self.target == "ome-zarr" and self.tile_px is not None and self.tile_px < 64:
            raise InputError(f"--tile-px {self.tile_px}; chunks of an ome-zarr are 64 px or more")
        if self.codec not in (None, "jpeg") and self.quality is not None:
            raise InputError(f"--quality is for JPEG, and --codec {self.codec} is lossless: give one of them")
        self.encoding()

    def encoding(self, lossless: bool = False) -> PyramidOptions:
        """How pixels of an OME-TIFF are encoded where they are not copied. lossless: the source lost nothing."""
        plain = PyramidOptions()
        codec: Codec = "deflate" if lossless and self.quality is None else plain.codec
        quality = plain.quality if self.quality is None else self.quality
        return PyramidOptions(self.codec or codec, quality, self.tile_px or plain.tile_px)


@dataclass(frozen=True)
class Conversion:
    """What became of the pixels, as one line for people. exact: they are those that the slide is read as."""

    line: str
    exact: bool


def target_of(out: Path, target: Target | None) -> Target:
    """The target, by the name's ending where none is given. Raises InputError where the two do not agree."""
    fits = [kind for kind, endings in _ENDINGS.items() if out.name.lower().endswith(endings)]
    if not fits or (target is not None and target not in fits):
        wanted = _ENDINGS[target] if target else sum(_ENDINGS.values(), ())
        raise InputError(f"{out}: {target or 'a pyramid'} needs a name that ends in {' or '.join(wanted)}")
    return fits[0]


def convert(
    slide: Slide,
    out: Path,
    options: ConvertOptions = ConvertOptions(),
    progress: Callable[[float], None] | None = None,
) -> Conversion:
    """Write `slide` as a pyramid. Tiles that can be copied are: byte for byte, and only missing levels are encoded.

    mpp, objective power, ICC profile and the scanner's settings are kept; label, macro and other text only where
    `options.keep` asks for them. Memory is a few bands of rows, whatever the size. Raises TakenError where something
    lies at `out` that Tesela did not write, and SlideError where the disk has no room, or has none left on the way;
    what was written is removed then.
    """
    refuse_overwriting(out, slide.path)
    target_of(out, options.target)
    plan = _copy_plan(slide, options)
    needed = _needed_bytes(slide, options, plan)
    free = _free_bytes(out)
    if free < needed:
        raise SlideError(
            f"{out}: {needed / 1e9:.1f} GB needed to convert {slide.name}, {free / 1e9:.1f} GB free; make room"
        )
    facts = _facts(slide, options)
    keep_freed_memory()
    try:
        if plan is not None:
            copy_pyramid(slide, out, facts, plan, progress)
            return _copied(plan)
        with closing(ahead(_bands(slide, progress))) as bands:
            if options.target == "ome-tiff":
                encoding = options.encoding(slide.header.lossless)
                write_pyramid(out, bands, slide.size, facts, encoding)
                return _encoded(encoding)
            write_zarr_pyramid(out, bands, slide.size, facts, options.tile_px or _CHUNK_PX)
            return Conversion("every pixel is kept (zstd)", exact=True)
    except SlideError:
        raise
    except OSError as error:
        raise SlideError(
            f"{out}: cannot be written ({error.strerror or error}); converting {slide.name} takes up to "
            f"{needed / 1e9:.1f} GB, {_free_bytes(out) / 1e9:.1f} GB are free; nothing was kept"
        ) from error


def _copied(plan: CopyPlan) -> Conversion:
    made = f"; {len(plan.missing)} reduced levels are made from them" if plan.missing else ""
    return Conversion(f"tiles are copied byte for byte{made}", exact=True)


def _encoded(encoding: PyramidOptions) -> Conversion:
    if encoding.codec != "jpeg":
        return Conversion(f"every pixel is kept ({encoding.codec})", exact=True)
    changed = f"pixels are encoded anew as JPEG of quality {encoding.quality}, and differ a little from the slide's"
    return Conversion(f"{changed}; the codec deflate would keep them", exact=False)


def _copy_plan(slide: Slide, options: ConvertOptions) -> CopyPlan | None:
    """How to copy; None where the target or what was asked for leaves nothing to copy."""
    if options.target != "ome-tiff" or options.quality is not None or slide.icc != "as-is":
        return None
    plan = plan_copy(slide)
    if plan is None or options.codec not in (None, plan.codec):
        return None
    tile = plan.levels[0]
    return plan if options.tile_px in (None, tile.tile_width) and options.tile_px in (None, tile.tile_height) else None


def _needed_bytes(slide: Slide, options: ConvertOptions, plan: CopyPlan | None) -> int:
    """A safe estimate: JPEG of tissue takes 0.2 to 0.5 byte a px with all levels, lossless codecs up to 4."""
    pixels, per_px = slide.size[0] * slide.size[1] * 4 / 3, 3
    codec = options.encoding(slide.header.lossless).codec
    if plan is not None:
        pixels, codec = sum(level.width * level.height for level in plan.missing), plan.built.codec
    if codec == "jpeg" and options.target == "ome-tiff":
        per_px = 1 if (options.quality or 0) <= 90 else 2
    file = file_of(slide.path)
    copied = file.stat().st_size if plan is not None and isinstance(file, Path) else 0
    return int(pixels * per_px) + copied


def _free_bytes(out: Path) -> int:
    """Where `out` is to lie, whose folder need not be there yet."""
    return shutil.disk_usage(next(folder for folder in out.absolute().parents if folder.exists())).free


def _facts(slide: Slide, options: ConvertOptions) -> Facts:
    header = slide.header
    wanted = options.keep - {"text"}
    pictures = {name: pixels for name, pixels in slide.associated().items() if name in wanted} if wanted else {}
    text = (own_text if "text" in options.keep else safe_text)(header.description)
    # A slide that is read through its profile hands out sRGB.
    profile = header.icc_profile if slide.icc == "as-is" else None
    return Facts(slide.mpp, header.objective_power, profile, text, pictures)


def _bands(slide: Slide, progress: Callable[[float], None] | None) -> Iterator[NDArray[np.uint8]]:
    """The slide from top to bottom; as a multiple of its tiles' height, so that none is decoded twice."""
    width, height = slide.size
    tiles = slide.native(0)
    step = 256 if tiles is None else tiles.tile_height
    while step > 256 and step * width * 3 > _LARGEST_BAND_BYTES:
        step //= 2  # huge tiles are decoded several times, rather than held side by side
    rows = step * max(1, _BAND_BYTES // (width * 3 * step))
    for top in range(0, height, rows):
        yield slide.read(Box(0, top, width, min(rows, height - top)))
        if progress is not None:
            progress(min(1.0, (top + rows) / height))
