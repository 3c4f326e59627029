"""Write, then rename: a file or folder has its final name only when it is whole."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsi.errors import InputError
from wsi.source import Source


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name, on failure it is removed.

    So are folders above it that were made for it. Works for a file or a folder (a Zarr store). Leftovers of a killed
    process with the same target are removed first. The ending is kept, since writers choose formats by it.
    """
    stem, dot, ending = path.name.partition(".")
    temporary = path.with_name(f".{stem}.{os.getpid()}.partial{dot}{ending}")
    with _folder_for(path):
        for leftover in path.parent.glob(f".{glob.escape(stem)}.*.partial{dot}{glob.escape(ending)}"):
            remove(leftover)
        try:
            yield temporary
            if temporary.is_dir():
                remove(path)
            os.replace(temporary, path)
        except OSError as error:
            if error.errno is not None and error.filename is None:  # a full disk names no file
                error.filename = str(path)
            raise
        finally:
            remove(temporary)


@contextmanager
def _folder_for(path: Path) -> Iterator[None]:
    """Make the folders above `path`; on failure those that were made are removed, if nothing lies in them."""
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def refuse_overwriting(out: Path, source: Source) -> None:
    """Raise InputError where writing `out` would replace or alter the slide that is being read."""
    if not isinstance(source, Path):
        return
    target, slide = out.resolve(), source.resolve()
    if target == slide or (out.exists() and out.samefile(source)):
        raise InputError(f"{out}: is the slide itself; give another name to write to")
    if target in slide.parents:
        raise InputError(f"{out}: the slide {source} lies inside, and would be deleted; give another name to write to")
    if slide in target.parents:
        raise InputError(f"{out}: lies inside the slide {source}; give a name outside of it")


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
