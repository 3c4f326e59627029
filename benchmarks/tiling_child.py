"""The tiles stage in a process of its own, so that its peak memory is its own: prints seconds and MB as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import benchmarks  # noqa: F401 - two cores, before any pool is made
from benchmarks.tiling import Case, tile_spec
from wsi.memory import peak_rss_bytes


def main() -> None:
    """Slide, outlines, table and mpp, as words."""
    case = Case(*(Path(word) for word in sys.argv[1:4]), tile_spec(float(sys.argv[4])))
    # Imports, and the first touch of memory, do not grow with the slide.
    case.run()
    began = time.perf_counter()
    case.run()
    print(json.dumps({"seconds": time.perf_counter() - began, "rss_mb": peak_rss_bytes() / 2**20}))


if __name__ == "__main__":
    main()
