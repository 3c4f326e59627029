"""Measure one part: `python -m benchmarks.part_child PART FILE` writes its figures to FILE, as JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.parts import measure
from wsi.atomic import write_json

if __name__ == "__main__":
    write_json(Path(sys.argv[2]), [asdict(figure) for figure in measure(sys.argv[1])])
