"""The `tesela` command line. Snakemake's rules call it; a person may too. The commands are in `pipelines/commands`."""

from __future__ import annotations

import io
import logging
import signal
import sys

from pipelines.commands.app import app
from pipelines.console import err
from wsi.errors import WsiError


def main() -> None:
    """Run a command. An error that a person can mend is one line on stderr and exit code 2."""
    # Of a terminal that has no "×" a person wants the rest of the line, and no traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A damaged file makes tifffile log its own lines; ours names the file and the remedy.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # As an error, so that what is half written is removed on the way out: Snakemake and clusters stop jobs by it.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    debug = "--debug" in sys.argv
    try:
        app([word for word in sys.argv[1:] if word != "--debug"])
    except (WsiError, OSError) as error:
        if debug:
            raise
        err.print(f"tesela: error: {' '.join(str(error).split())}")
        sys.exit(2)


if __name__ == "__main__":
    main()
