"""Of which slide an annotation file is: from where it counts its px, and how large they are.

QuPath shows a slide that has bounds (MRXS, SCN...: the scanned area within a larger, empty level 0) from their corner,
and writes coordinates from there; ASAP, ImageScope and this package count from the corner of level 0. Files that are
written here say which, in a member that QuPath passes over: {"tesela": {"offset_px": [x, y]}}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsi.errors import InputError
from wsi.geometry import MPP_TOLERANCE
from wsi.provenance import require_slide

Origin = Literal["slide", "bounds"]


@dataclass(frozen=True)
class Frame:
    """What is known of a slide's annotations before they are read.

    bounds_offset: level-0 (x, y) px of the corner of the slide's bounds, (0, 0) where it has none.
    origin: of GeoJSON that does not say itself: the corner of the slide or of its bounds. None: nobody said.
    slide: the slide's fingerprint; GeoJSON that says it is of another slide is refused. "": not known.
    slide_mpp: (x, y) µm per level-0 px of the slide; None: unknown, nothing is held against it.
    """

    bounds_offset: tuple[int, int] = (0, 0)
    origin: Origin | None = None
    slide: str = ""
    slide_mpp: tuple[float, float] | None = None

    def require_slide(self, content: Any, path: Path) -> None:
        """Raise MismatchError where a GeoJSON file (content: parsed) says that it is of another slide.

        What people drew and QuPath wrote does not say of which slide it is.
        """
        recorded = about_of(content).get("slide")
        if self.slide and recorded:
            require_slide(path, str(recorded), self.slide, "the slide given")

    def offset_px(self, found: Any, path: Path) -> tuple[int, int]:
        """Level-0 (x, y) of a GeoJSON file's (0, 0). found: the parsed file.

        Raises InputError where the file does not say, the slide has bounds, and nobody said: labels would be moved by
        a few thousand px or not, and both look right in a table.
        """
        if (said := _said(found, path)) is not None:
            return said
        if self.bounds_offset == (0, 0) or self.origin == "slide":
            return 0, 0
        if self.origin == "bounds":
            return self.bounds_offset
        raise InputError(
            f"{path}: does not say from where it counts, and the slide has bounds at level-0 px {self.bounds_offset}; "
            "give --origin bounds (in a configuration origin: bounds) where it was drawn in QuPath, which begins "
            "there, or --origin slide where it counts from the slide's corner"
        )

    def check_mpp(self, mpp: tuple[float, float] | None, where: str, path: Path) -> None:
        """Raise InputError where a file says that it was drawn on px of another size than the slide's.

        mpp: (x, y) µm per px that the file states; None, or no positive numbers: it does not say. where: the place in
        the file that states it.
        """
        if self.slide_mpp is None or mpp is None or not all(0 < value < float("inf") for value in mpp):
            return
        if any(abs(drawn / own - 1) > MPP_TOLERANCE for drawn, own in zip(mpp, self.slide_mpp, strict=True)):
            raise InputError(
                f"{path}: drawn on a slide of {mpp[0]:.4g} mpp ({where}), but this one has {self.slide_mpp[0]:.4g}: "
                "its regions would lie elsewhere, and be of another size; give annotations of this very slide, or "
                "correct the number that is wrong: there in the file, or the slide's mpp"
            )


NO_BOUNDS = Frame()


def about_of(found: Any) -> Mapping[str, Any]:
    """The member "tesela" of a parsed GeoJSON file; empty where it has none."""
    about = found.get("tesela") if isinstance(found, Mapping) else None
    return about if isinstance(about, Mapping) else {}


def _said(found: Any, path: Path) -> tuple[int, int] | None:
    offset = about_of(found).get("offset_px")
    if offset is None:
        return None
    if not (isinstance(offset, list) and len(offset) == 2 and all(type(value) is int for value in offset)):
        raise InputError(f"{path}: tesela.offset_px is {offset!r}; two whole numbers, x and y, are wanted")
    return offset[0], offset[1]
