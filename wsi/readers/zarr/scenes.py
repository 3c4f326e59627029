"""The images of an OME-Zarr: of a bioformats2raw layout, or several in one group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import zarr

from wsi.errors import SlideError
from wsi.readers.zarr.ngff import image_count, is_collection, listed_series, multiscale_of
from wsi.source import File

# Each costs a look into the store. A collection of more is a plate, or something else that is no slide.
_MAX_IMAGES = 256
_NO_SCENES = ("label", "macro", "thumbnail")


@dataclass(frozen=True)
class ZarrScene:
    """An image: its group, its number in the group's "multiscales", and (width, height) px of its finest level."""

    group: zarr.Group
    number: int
    size: tuple[int, int] = (0, 0)


def scenes_of(group: zarr.Group, source: File) -> list[ZarrScene]:
    """All images, the largest first, of equal ones the first in the file; one alone without its size.

    Those named label, macro or thumbnail are left out, and so is what is no picture. Raises SlideError where the
    layout is damaged.
    """
    found = [
        ZarrScene(image, number) for image in _groups(group, source) for number in range(image_count(dict(image.attrs)))
    ]
    if len(found) > _MAX_IMAGES:
        raise SlideError(f"{source}: {len(found)} images in it; give the group of one, such as {source}/0")
    if len(found) == 1:
        return found
    measured = [scene for each in found if (scene := _measured(each, source)) is not None]
    return sorted(measured, key=lambda scene: -scene.size[0] * scene.size[1]) or found[:1]


def _groups(group: zarr.Group, source: File) -> Iterator[zarr.Group]:
    if not is_collection(dict(group.attrs)):
        yield group
        return
    paths = listed_series(dict(group["OME"].attrs)) if "OME" in group else []
    # Numbered without a gap, as the layout has it: behind an address, each look for one more is a request.
    numbered = takewhile(lambda name: name == "0" or name in group, map(str, range(_MAX_IMAGES)))
    for path in paths or numbered:
        image = group[path]
        if not isinstance(image, zarr.Group):
            raise SlideError(f"{source}: its image {path!r} is no Zarr group; the file is damaged")
        yield image


def _measured(scene: ZarrScene, source: File) -> ZarrScene | None:
    """With its size; None where it is no picture of a slide."""
    try:
        multiscale = multiscale_of(dict(scene.group.attrs), str(source), scene.number)
    except SlideError:
        return None
    x, y = multiscale.axes.index("x"), multiscale.axes.index("y")
    arrays = [scene.group.get(path) for path in multiscale.paths]
    sizes = [(int(a.shape[x]), int(a.shape[y])) for a in arrays if isinstance(a, zarr.Array) and a.ndim > max(x, y)]
    if not sizes or any(word in multiscale.name.lower() for word in _NO_SCENES):
        return None
    return ZarrScene(scene.group, scene.number, max(sizes, key=lambda size: size[0] * size[1]))
