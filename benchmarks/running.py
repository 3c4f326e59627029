"""Measure a part in a process of its own, which may fail, crash or never end: the others are measured all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure

_CHILD = "benchmarks.part_child"


@dataclass(frozen=True)
class Measured:
    """What became of a part: its figures, or why there are none (`fault`)."""

    part: str
    figures: tuple[Figure, ...] = ()
    fault: str = ""


def measure_apart(part: str, limit_s: float, module: str = _CHILD) -> Measured:
    """Measure `part` within `limit_s` seconds; what runs on is ended, with all that it has started.

    module: what is run, with the part's name and the file for its figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-m", module, part, str(out)]
        child = subprocess.Popen(command, start_new_session=True)  # a session: to be ended as a whole
        try:
            status = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            return Measured(part, fault=f"no end within {limit_s:g} s")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if status:
            how = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
            return Measured(part, fault=f"{how}; what it said stands above")
        return Measured(part, tuple(Figure(**values) for values in json.loads(out.read_text("utf-8"))))
