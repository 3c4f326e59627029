"""Names of files and folders that are being written, and which of them a dead process has left behind."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from wsi.files import remove

# On a network disk, a name of another machine may be of a process that writes now; after a day it is not.
_OTHERS_AFTER_S = 24 * 3600
# Bytes of a name on every common file system; what is added to a name takes up to 100 of them.
_MAX_NAME, _ADDED, _LONGEST_ENDING = 255, 100, 60


def temporary_for(path: Path) -> Path:
    """A new name beside `path`, of this call alone: .<name>.<machine>-<process>-<random>.partial<ending>.

    The ending is kept, since writers choose formats by it.
    """
    label, ending = _parts(path.name)
    return path.with_name(f".{label}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.partial{ending}")


def remove_leftovers(path: Path) -> None:
    """Remove what dead processes left of writing `path`: of this machine those that are gone, of others day-old ones.

    What cannot be removed stays: it is in nobody's way.
    """
    label, ending = _parts(path.name)
    pattern = re.compile(rf"\.{re.escape(label)}\.([^.]+)\.partial{re.escape(ending)}")
    for entry in os.scandir(path.parent):
        found = pattern.fullmatch(entry.name)
        if found is not None and _is_dead(found[1], Path(entry.path)):
            with suppress(OSError):
                remove(Path(entry.path))


def _parts(name: str) -> tuple[str, str]:
    """A file's name as (stem, ending with its dot); a stem too long to be added to is cut, and known by a digest."""
    stem, dot, ending = name.partition(".")
    if len(os.fsencode(ending)) > _LONGEST_ENDING:  # a name full of dots
        stem, ending = os.path.splitext(name)
        stem, ending = (stem, ending) if len(os.fsencode(ending)) <= _LONGEST_ENDING else (name, "")
    else:
        ending = dot + ending
    raw, room = os.fsencode(stem), _MAX_NAME - _ADDED - len(os.fsencode(ending))
    if len(raw) > room:
        stem = f"{raw[: room - 9].decode(errors='ignore')}-{hashlib.sha256(raw).hexdigest()[:8]}"
    return stem, ending


def _machine() -> str:
    """Where a process number means something: the host's name, and the container's own count of processes."""
    host = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())[:40]
    try:
        return f"{host}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux, or none that says it
        return host


def _is_dead(owner: str, leftover: Path) -> bool:
    machine, _, rest = owner.rpartition("-")[0].rpartition("-")
    if machine == _machine() and rest.isdigit():
        return not _runs(int(rest))
    try:
        return time.time() - leftover.stat().st_mtime > _OTHERS_AFTER_S
    except OSError:
        return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # somebody else's
    return True
