"""What a flat picture says of itself: resolution, colour profile, orientation, text. Headers alone, no pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from wsi.icc import profile_notes, rgb_profile
from wsi.readers.base import FINEST_CREDIBLE_MPP, MPP_UNKNOWN, believed_mpp
from wsi.readers.declared import Bytes, boxes

# The classes themselves and not Image.open, which refuses large pictures by a limit that is not ours.
_PILLOW: dict[str, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _ORIENTATION, _DESCRIPTION = 282, 283, 296, 274, 270
_TURNED = {
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored and turned by 90° to the left",
    6: "turned by 90° to the right",
    7: "mirrored and turned by 90° to the right",
    8: "turned by 90° to the left",
}


@dataclass(frozen=True)
class About:
    """mpp: (x, y) µm per px where credible. icc_profile: of RGB values, or None. notes: for people."""

    mpp: tuple[float, float] | None
    icc_profile: bytes | None
    description: str
    notes: tuple[str, ...]


def opened(kind: str, path: Path) -> ImageFile.ImageFile:
    """A JPEG, PNG or BMP by Pillow, of which the header is read and nothing decoded."""
    return _PILLOW[kind](path)


def about(kind: str, path: Path, data: Bytes) -> About:
    """What the picture of a kind (see `declared.kind_of`) says; whatever Pillow raises of damaged headers gets out."""
    if kind in _PILLOW:
        with opened(kind, path) as image:
            return _about(_named(image))
    if kind == "webp":
        chunks = dict(_riff_chunks(data))
        return _about({"icc_profile": chunks.get(b"ICCP"), "exif": chunks.get(b"EXIF")})
    return _about(_jp2(data) if kind == "jp2" else {})


def _named(image: ImageFile.ImageFile) -> dict[str, Any]:
    info = {key: value for key, value in image.info.items() if isinstance(key, str)}
    if image.format == "JPEG":
        # Pillow says 72 dots per inch where EXIF says nothing; what JFIF says is told apart from that.
        per_inch = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
        density = info.get("jfif_density", (0, 0))
        info["dpi"] = (density[0] * per_inch, density[1] * per_inch) if per_inch else None
    return info


def _about(info: dict[str, Any]) -> About:
    exif = Image.Exif()
    if info.get("exif"):
        exif.load(info["exif"])
    mpp, notes = _mpp(info.get("dpi") or _exif_dpi(exif))
    turned = _TURNED.get(exif.get(_ORIENTATION, 1))
    if turned:
        notes += (f"EXIF says to show it {turned}: left as stored, and coordinates are those of the stored picture",)
    profile = info.get("icc_profile")
    notes += profile_notes(profile)
    text = exif.get(_DESCRIPTION) or info.get("comment") or info.get("Description") or ""
    return About(
        mpp, rgb_profile(profile), text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text), notes
    )


def _mpp(dpi: Any) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    sides = [float(side) for side in dpi] if dpi else []
    if len(sides) != 2 or not all(0 < side < float("inf") for side in sides):
        return None, ()
    return believed_mpp((25_400 / sides[0], 25_400 / sides[1]), _no_resolution)


def _no_resolution(mpp: tuple[float, float]) -> str:
    if min(mpp) < FINEST_CREDIBLE_MPP:
        return f"the file says {25_400 / min(mpp):g} dots per inch, which no microscope resolves; mpp {MPP_UNKNOWN}"
    return f"the file says {25_400 / mpp[0]:.0f} dots per inch, a program's default and no mpp; {MPP_UNKNOWN}"


def _exif_dpi(exif: Image.Exif) -> tuple[float, float] | None:
    per_inch = {2: 1.0, 3: 2.54}.get(exif.get(_UNIT, 2))
    sides = exif.get(_X_RESOLUTION), exif.get(_Y_RESOLUTION)
    if per_inch is None or sides[0] is None or sides[1] is None:
        return None
    return float(sides[0]) * per_inch, float(sides[1]) * per_inch


def _riff_chunks(data: Bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of a WebP's chunks that are no pixels."""
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack("<4sI", data[at : at + 8])
        if name in (b"ICCP", b"EXIF"):
            content = bytes(data[at + 8 : at + 8 + length])
            yield name, content if name == b"ICCP" or content.startswith(b"Exif") else b"Exif\0\0" + content
        at += 8 + length + length % 2


def _jp2(data: Bytes) -> dict[str, Any]:
    """ICC profile and resolution of a JPEG 2000 file, from its boxes; a bare codestream has none."""
    info: dict[str, Any] = {}
    for kind, start, end in boxes(data):
        if kind != b"jp2h":
            continue
        header = bytes(data[start:end])
        for inner, at, stop in boxes(header):
            if inner == b"colr" and header[at] == 2:  # 2: any ICC profile follows
                info["icc_profile"] = header[at + 3 : stop]
            if inner == b"res ":
                for which, first, _ in boxes(header[at:stop]):
                    if which == b"resc":  # as captured; points per metre: numerator, denominator, exponent
                        up, down, across, under, ten_y, ten_x = struct.unpack(">4H2b", header[at + first :][:10])
                        info["dpi"] = (
                            across / max(under, 1) * 10.0**ten_x * 0.0254,
                            up / max(down, 1) * 10.0**ten_y * 0.0254,
                        )
    return info
