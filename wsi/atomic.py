"""Write, then rename: a file or folder has its final name only when it is whole."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsi.errors import InputError
from wsi.source import Source


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name, on failure it is removed.

    Works for a file or a folder (a Zarr store). Leftovers of a killed process with the same target are
    removed first. The ending is kept, since writers choose formats by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, dot, ending = path.name.partition(".")
    for leftover in path.parent.glob(f".{glob.escape(stem)}.*.partial{dot}{glob.escape(ending)}"):
        remove(leftover)
    temporary = path.with_name(f".{stem}.{os.getpid()}.partial{dot}{ending}")
    try:
        yield temporary
        if temporary.is_dir():
            remove(path)
        os.replace(temporary, path)
    finally:
        remove(temporary)


def refuse_overwriting(out: Path, source: Source) -> None:
    """Raise InputError where writing `out` would replace the slide that is being read."""
    if isinstance(source, Path) and out.exists() and out.samefile(source):
        raise InputError(f"{out}: is the slide itself; give another name to write to")


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
