"""What a file is by its name: a slide, or something else."""

from __future__ import annotations

import re
from pathlib import Path

SLIDE_ENDINGS = (
    *(".svs", ".tif", ".tiff", ".qptiff", ".btf", ".tf2", ".tf8"),
    *(".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm"),
    *(".zarr", ".ome.zarr", ".zarr.zip", ".ome.zarr.zip", ".ozx"),
)
_ZARR_FOLDER = ".zarr"
# Else it is part of a name: "Mrs. Miller".
_ENDING = re.compile(r"\.[\w+-]{1,12}")


def is_slide(name: str, *, folder: bool) -> bool:
    """By its ending; of folders OME-Zarr alone, which is never a file."""
    lower = name.lower()
    return lower.endswith(SLIDE_ENDINGS) and folder == lower.endswith(_ZARR_FOLDER)


def stem_of(path: Path) -> str:
    """The name without the ending, `.ome.zarr` being one."""
    ending = max((end for end in SLIDE_ENDINGS if path.name.lower().endswith(end)), key=len, default=path.suffix)
    return path.name[: len(path.name) - len(ending)]


def ending_of(name: str) -> str:
    """The ending in lower case, to count by: `.png`; "no ending" where there is none that is one."""
    ending = Path(name).suffix.lower()
    return ending if _ENDING.fullmatch(ending) else "no ending"
