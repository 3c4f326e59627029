"""Files and folders alike: delete them, and have the disk keep them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

# From so many files on, the whole disk is waited for at once: one by one, a spinning disk takes some ms for each.
_MANY = 1000
# What file systems answer that cannot do this for a folder (SMB, FUSE).
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk holds a file, or a folder with all that is in it. Raises OSError where it cannot."""
    if not path.is_dir():
        return _sync_file(path)
    folders, files = [path], []
    for parent, below, names in os.walk(path):
        folders += [Path(parent, name) for name in below]
        files += [Path(parent, name) for name in names]
    if len(files) >= _MANY:
        return os.sync()
    for file in files:
        _sync_file(file)
    for folder in reversed(folders):
        sync_names(folder)
    return None


def sync_names(folder: Path) -> None:
    """Wait until the disk holds the names in a folder; file systems that know no such thing are believed."""
    try:
        _sync_file(folder)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
