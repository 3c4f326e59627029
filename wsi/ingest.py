"""The first step of every slide: can it be read, what is it, and where do its pixels lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wsi.convert import convert
from wsi.errors import SlideError
from wsi.fingerprint import Identity, is_still
from wsi.geometry import Box
from wsi.icc import Icc
from wsi.slide import open_slide
from wsi.slideinfo import SlideInfo
from wsi.source import Source


def ingest(
    source: Source,
    out: Path,
    mpp: float | None = None,
    progress: Callable[[float], None] | None = None,
    icc: Icc = "as-is",
) -> SlideInfo:
    """Write `out`/slide.json. Only a slide that cannot be read at random is converted, to `out`/slide.ome.tif.

    mpp: µm per level-0 px, where the file does not say or is wrong. icc: "srgb" makes every later stage read the
    slide through its colour profile; pixels are stored as they are in either case. Raises SlideError where the
    slide cannot be read and MppError where its mpp is unknown.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open_slide(source, mpp, icc) as seen:
        seen.require_mpp()
        # One pixel block is decoded here, so that a damaged codec stream fails now and not in an hour.
        seen.read(Box(0, 0, min(256, seen.size[0]), min(256, seen.size[1])))
        info = seen.info()
    if not info.random_access:
        target = out / "slide.ome.tif"
        with open_slide(source, mpp, unused_levels=info.unused_levels) as slide:  # pixels are kept as they are stored
            made = convert(slide, target, progress=progress)
            notes = info.notes if made.exact else (*info.notes, f"{target.name}: {made.line}")
            with open_slide(target, slide.mpp, icc, unused_levels=()) as converted:
                if not is_still(source, Identity(info.fingerprint, info.stamp)):
                    raise SlideError(f"{source}: was replaced while it was converted; run again")
                info = replace(converted.info(source=source), mpp_source=info.mpp_source, notes=notes)
    info.write(out / "slide.json")
    return info
