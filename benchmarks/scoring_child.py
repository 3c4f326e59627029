"""`tesela predict` of one slide in a process of its own, so that its peak memory is its own: prints what it took."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import benchmarks  # noqa: F401 - two cores, before any pool is made
from models.predict import PredictOptions
from pipelines.predicting import predict, requests_of
from wsi.memory import peak_rss_bytes


def main() -> None:
    """The slide, its tiles.parquet, the model and the folder to write to, as words."""
    slide, tiles, model, out = map(Path, sys.argv[1:])
    began = time.perf_counter()
    (outcome,) = predict(requests_of([slide], out, tiles), model, PredictOptions())
    if outcome.error is not None:
        raise outcome.error
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "rss_mb": peak_rss_bytes() / 2**20}))


if __name__ == "__main__":
    main()
