"""Whether regions lie on the slide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from wsi.annotations.region import Region
from wsi.errors import InputError

# Files round, and so do programs that scale what they show.
_ROUNDING_PX = 1.0
# The largest slides have some 10⁶ px along a side; areas of what is much larger cannot be computed.
_FARTHEST_PX = 1e9


def check_place(regions: Sequence[Region], size: tuple[int, int]) -> list[str]:
    """What is to be said of regions that reach over the edge of a slide of `size` (level-0 width, height) px.

    Raises InputError where a region lies wholly outside (its tiles would be taken for what nobody drew on, in silence),
    or reaches to where no slide does.
    """
    slide = shapely.box(0, 0, *size)
    polygons = np.array([region.polygon for region in regions], object)
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    beyond_px = np.maximum(-bounds[:, :2], bounds[:, 2:] - size).max(axis=1, initial=0)
    if (beyond_px > _FARTHEST_PX).any():
        worst = regions[int(beyond_px.argmax())]
        raise InputError(
            f"{worst.source}: a region {worst.name} reaches {beyond_px.max():.3g} px beyond the slide; draw it again"
        )
    over = np.flatnonzero(beyond_px > 0)
    on_slide = shapely.area(shapely.intersection(polygons[over], slide)) / shapely.area(polygons[over])
    if len(elsewhere := over[~(on_slide > 0)]):
        first = regions[elsewhere[0]]
        place = ", ".join(f"{value:.0f}" for value in first.polygon.bounds)
        raise InputError(
            f"{first.source}: {len(elsewhere)} regions lie outside of the slide ({size[0]} × {size[1]} px), the first, "
            f"{first.name}, at level-0 px {place}; give annotations of this very slide, in its px, and the corner that "
            "they count from (--origin)"
        )
    said = beyond_px[over] > _ROUNDING_PX
    over, on_slide = over[said], on_slide[said]
    if not len(over):
        return []
    most = int(on_slide.argmin())
    worst = regions[over[most]]
    return [
        f"{worst.source}: {len(over)} of {len(regions)} regions reach over the edge of the slide "
        f"({size[0]} × {size[1]} px), by {beyond_px[over].max():.0f} px at most; {1 - on_slide[most]:.0%} of a region "
        f"{worst.name} lies outside"
    ]
