"""slide.json: what ingest found of a slide, and whether it is still that slide."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsi.atomic import write_json
from wsi.errors import InputError, SlideError
from wsi.fingerprint import Identity, is_still
from wsi.geometry import Level
from wsi.icc import Icc
from wsi.source import Source, Url, file_of, source_of, with_file

# Of slide.json. 2: unused_levels. Format 1 said nothing of itself and is still read.
_FORMAT = 2


@dataclass(frozen=True)
class SlideInfo:
    """What ingest found. Written as slide.json; the pixels stay where `path` points.

    path, source: as `wsi.source.source_of` reads them; PATH#N is one of several scenes.
    mpp: (x, y) µm per level-0 px, None where unknown; mpp_source: "file", "given" or "unknown".
    levels: those that are used; unused_levels: the others, see `Slide.unused_levels`; None: not looked at yet.
    icc: "srgb" where the colour profile is applied to what is read, "as-is" where pixels are read as stored.
    fingerprint, stamp: of the *source*, see `wsi.fingerprint`; pixels_fingerprint, pixels_stamp: of slide.ome.tif
    where the source was converted, else "".
    """

    path: str
    source: str
    reader: str
    width: int
    height: int
    mpp: tuple[float, float] | None
    mpp_source: str
    objective_power: float | None
    levels: tuple[Level, ...]
    bounds_offset: tuple[int, int]
    random_access: bool
    has_icc_profile: bool
    icc: Icc
    fingerprint: str
    stamp: str
    notes: tuple[str, ...]
    pixels_fingerprint: str = ""
    pixels_stamp: str = ""
    unused_levels: tuple[int, ...] | None = None

    def write(self, path: Path) -> None:
        """Write slide.json: absolute paths, but of what lies beside it the name alone, so that both may be moved."""
        raw = asdict(self)
        for name in ("path", "source"):
            source = source_of(raw[name])
            if isinstance(file := file_of(source), Path):
                file = file.absolute()
                beside = file.parent == path.parent.absolute()
                raw[name] = str(with_file(source, Path(file.name) if beside else file))
        write_json(path, {"format": _FORMAT, **raw})

    @classmethod
    def load(cls, path: Path) -> SlideInfo:
        """Read slide.json; raises InputError where it is not one, or one of a newer Tesela."""
        try:
            raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
            written = int(raw.pop("format", 1))
            if written > _FORMAT:
                raise InputError(
                    f"{path}: of format {written}, written by a newer Tesela (this one reads up to {_FORMAT}); "
                    "use that one, or delete it and run again"
                )
            for name in ("path", "source"):
                beside = source_of(str(path.parent / raw[name]))  # what is absolute stays so
                file = file_of(beside)
                raw[name] = str(beside) if isinstance(file, Path) and file.exists() else raw[name]
            raw["levels"] = tuple(Level(**level) for level in raw["levels"])
            raw["mpp"] = tuple(raw["mpp"]) if raw["mpp"] else None
            raw["bounds_offset"], raw["notes"] = tuple(raw["bounds_offset"]), tuple(raw["notes"])
            unused = raw.get("unused_levels")
            raw["unused_levels"] = None if unused is None else tuple(unused)
            return cls(**raw)
        except InputError:
            raise
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a slide.json that `tesela ingest` wrote ({error})") from error

    def require_unchanged(self, path: Path) -> None:
        """Raise SlideError where the slide, or its conversion, was replaced since; `path` is this slide.json.

        A stat is enough while size and time are the recorded ones. A source that is gone is no fault where its pixels
        were converted.
        """
        pixels, source = source_of(self.path), source_of(self.source)
        converted = self.pixels_fingerprint != ""
        if not _is_there(pixels):
            raise SlideError(f"{path}: points to {self.path}, which is gone; delete {path} and run again")
        recorded = [(source, Identity(self.fingerprint, self.stamp))]
        if converted:
            recorded = recorded if _is_there(source) else []
            recorded.append((pixels, Identity(self.pixels_fingerprint, self.pixels_stamp)))
        for lies, known in recorded:
            if not is_still(lies, known):
                raise SlideError(
                    f"{lies}: another slide than when {path} was written (its fingerprint was "
                    f"{known.fingerprint[:12]}…); run again from ingest on, and nothing of the old one is kept"
                )


def _is_there(source: Source) -> bool:
    """Of an address it is taken for granted."""
    file = file_of(source)
    return isinstance(file, Url) or file.exists()
