"""The slides to measure on: the real colorectal one where there are real data, and a phantom always."""

from __future__ import annotations

import os
from pathlib import Path

from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_tiled

_SIDE_PX = 8192


def slides() -> dict[str, Path]:
    """Name → slide."""
    phantom = Path("build/bench") / f"phantom-{_SIDE_PX}.ome.tif"
    if not phantom.exists():
        write_tiled(Phantom(PhantomSpec(1, _SIDE_PX, _SIDE_PX, pieces=2)), phantom)
    found = {"phantom": phantom}
    data = os.environ.get("TESELA_TEST_DATA")
    if data:
        found = {"colorectal": Path(data) / "slides" / "colorectal-serrated-adenoma.tif", **found}
    return found
