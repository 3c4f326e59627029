"""Write, then rename: a file or folder has its final name only when it is whole, and the disk holds it.

So at any moment, power cut or not, a name stands for the old content or for the new one, whole; while a folder is
replaced, for an instant for nothing. That takes 0.4 ms a file on a solid disk, and as long as writing takes for what
the disk has yet to get: 24 ms for 50 MB.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsi.errors import InputError, TakenError
from wsi.files import remove, sync, sync_names
from wsi.leftovers import remove_leftovers, temporary_for
from wsi.source import Source, file_of

# What `os.replace` answers where a folder that is not empty has the name.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def writing(path: Path, replaces: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the name, on failure it is removed.

    So are folders above it that were made for it. Works for a file or a folder (a Zarr store). Of two that write the
    same at once, the last that is whole stays. What dead processes left of the same target is removed first.

    replaces: whether what has the name already may go. None: any file may, but no folder in which something lies.
    Raises TakenError where it may not, before anything is written.
    """
    temporary = temporary_for(path)
    with _folder_for(path):
        _check_replaced(path, replaces)
        remove_leftovers(path)
        try:
            yield temporary
            sync(temporary)
            if temporary.is_dir():
                _rename_folder(temporary, path, replaces)
            else:
                os.replace(temporary, path)
            sync_names(path.parent)
        except OSError as error:
            if error.errno is not None and error.filename is None:  # a full disk names no file
                error.filename = str(path)
            raise
        finally:
            remove(temporary)


def _check_replaced(path: Path, replaces: Callable[[Path], bool] | None) -> None:
    try:
        if replaces is None:
            fine = not path.is_dir() or _is_empty(path)
        else:
            fine = not path.exists() or _is_empty(path) or replaces(path)
    except FileNotFoundError:  # another writer has just moved it away
        return
    if not fine:
        kind = "folder" if path.is_dir() else "file"
        raise TakenError(f"{path}: a {kind} is there that Tesela did not write; move it away, or give another name")


def _is_empty(path: Path) -> bool:
    return next(path.iterdir(), None) is None if path.is_dir() else path.stat().st_size == 0


def _rename_folder(temporary: Path, path: Path, replaces: Callable[[Path], bool] | None) -> None:
    """Give a folder its name. One that has it is moved away first: only an empty folder can be replaced at once."""
    moved: list[Path] = []
    while not _renamed(temporary, path):
        _check_replaced(path, replaces)
        moved.append(temporary_for(path))
        with suppress(FileNotFoundError):  # another writer has just moved it away
            os.replace(path, moved[-1])
    for old in moved:
        remove(old)


def _renamed(temporary: Path, path: Path) -> bool:
    """False where a folder with something in it, or a link to one, has the name."""
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in _TAKEN or path.is_symlink():
            return False
        raise
    return True


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
    file = file_of(source)
    if not isinstance(file, Path):
        return
    target, slide = out.resolve(), file.resolve()
    if target == slide or (out.exists() and out.samefile(file)):
        raise InputError(f"{out}: is the slide itself; give another name to write to")
    if target in slide.parents:
        raise InputError(f"{out}: the slide {source} lies inside, and would be deleted; give another name to write to")
    if slide in target.parents:
        raise InputError(f"{out}: lies inside the slide {source}; give a name outside of it")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
