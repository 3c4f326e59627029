"""One export in a process of its own, so that its peak memory is its own: prints both times and MB as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import benchmarks  # noqa: F401 - two cores, before any pool is made
from wsi.exports import ExportOptions, write_exports
from wsi.memory import peak_rss_bytes
from wsi.scores import TileScores
from wsi.tiles import read_table


def main() -> None:
    """The predictions, the folder to write to, and the formats, as words."""
    predictions, out, formats = Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:])
    began, worked = time.perf_counter(), time.process_time()
    scores = TileScores.of_table(read_table(predictions), predictions)
    write_exports(scores, out, ExportOptions(formats=formats), (0, 0), "benchmark")
    seconds, processor_s = time.perf_counter() - began, time.process_time() - worked
    print(json.dumps({"seconds": seconds, "processor_s": processor_s, "rss_mb": peak_rss_bytes() / 2**20}))


if __name__ == "__main__":
    main()
