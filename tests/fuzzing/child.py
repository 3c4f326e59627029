"""The child that reads hostile files: what every stage first does, under limits of time and memory.

`python -m tests.fuzzing.child` reads a path a line from stdin and answers with a verdict a line on stdout. The first
paths, up to an empty line, only warm it up. `tests.fuzzing.probing` starts it, and notices its death.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import sys
from pathlib import Path
from typing import TextIO

from pipelines.commands.slides import inspect
from tests.fuzzing.probing import LIMIT_BYTES, LIMIT_S, Verdict
from wsi.errors import WsiError
from wsi.geometry import Box
from wsi.memory import peak_rss_bytes
from wsi.slide import Slide, open_slide

_REGION_PX = 64


def probe(path: Path) -> Verdict:
    """Run `tesela inspect` on a file in this process and read small regions, with everything that may go wrong caught.

    A hang of LIMIT_S ends the process, with every thread's traceback on stderr.
    """
    before = peak_rss_bytes()
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    try:
        try:
            inspect(path, as_json=True)
            with open_slide(path) as slide:
                _read(slide)
            verdict = Verdict("read")
        except WsiError as error:
            verdict = _judged(error, path)
        except BaseException as error:
            verdict = Verdict("violation", f"{type(error).__name__} instead of a WsiError: {error}"[:300])
    finally:
        faulthandler.cancel_dump_traceback_later()
    grown = peak_rss_bytes() - before
    return Verdict("violation", f"took {grown / 1e9:.2f} GB") if grown > LIMIT_BYTES else verdict


def _read(slide: Slide) -> None:
    width, height = slide.size
    slide.read(Box(0, 0, _REGION_PX, _REGION_PX))
    slide.read(Box(width - _REGION_PX // 2, height - _REGION_PX // 2, _REGION_PX, _REGION_PX))
    last = slide.header.levels[-1].downsample
    slide.read_to(Box(0, 0, round(_REGION_PX * last), round(_REGION_PX * last)), (_REGION_PX, _REGION_PX))


def _judged(error: WsiError, path: Path) -> Verdict:
    """A refusal, if it is one line that names the file, and not the last word of an allocation that failed."""
    message = str(error)
    if path.name not in message:
        return Verdict("violation", f"does not name the file: {message}")
    if "\n" in message:
        return Verdict("violation", f"more than one line: {message}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return Verdict("violation", f"tried to allocate over {LIMIT_BYTES >> 20} MiB: {message}")
        cause = cause.__cause__ or cause.__context__
    return Verdict("refused", message)


def silence() -> TextIO:
    """Let nothing reach stdout any more, whoever writes it; gives a stream that still does."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return answers


def confine() -> None:
    """Let this process take LIMIT_BYTES more address space than it has now. Call it once all libraries are loaded."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """Warm up, then answer until stdin ends."""
    faulthandler.enable()
    answers = silence()
    for line in iter(sys.stdin.readline, "\n"):
        probe(Path(line.rstrip("\n")))
    confine()
    for line in sys.stdin:
        answers.write(probe(Path(line.rstrip("\n"))).line() + "\n")


if __name__ == "__main__":
    main()
