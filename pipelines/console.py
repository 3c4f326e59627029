"""What people see while they wait, and how errors end a command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def console(stream: IO[str] | None = None, *, stderr: bool = False, width: int | None = None) -> Console:
    """A console that shows text as it is: of a file `[he]/:a:.tif` no brackets are marks and no word is a picture.

    Long lines are left whole, for programs that read them. Colours are given as `style` or `rich.text.Text`. width: of
    tables, characters; None: of the terminal.
    """
    return Console(file=stream, stderr=stderr, width=width, soft_wrap=True, highlight=False, markup=False, emoji=False)


err = console(stderr=True)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, told the share done (0 to 1); silent where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
