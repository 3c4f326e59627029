"""Memory of this process: how much it held at most, and how large arrays are made and dropped thousands of times."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

# glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
LARGEST_BYTES = 32 << 20
_kept: dict[int, int] = {}  # of this process, by option


def keep_freed_memory(largest_array_bytes: int = 16 << 20, kept_bytes: int = 64 << 20) -> None:
    """Let malloc serve arrays up to `largest_array_bytes` from memory that it keeps, up to `kept_bytes` an arena.

    By default glibc maps every block of pixels anew, and the kernel clears it page by page: 40,000 page faults and a
    sixth of the time when all tiles of a slide were read on 2 cores. Of several calls the largest numbers hold; glibc
    takes no array above 32 MiB (`LARGEST_BYTES`). Elsewhere than on glibc this does nothing.
    """
    asked = {_M_MMAP_THRESHOLD: min(largest_array_bytes, LARGEST_BYTES), _M_TRIM_THRESHOLD: kept_bytes}
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for option, value in asked.items():
        if mallopt is not None and value > _kept.get(option, 0):
            mallopt(option, value)
            _kept[option] = value


def peak_rss_bytes() -> int:
    """The most memory that this process has held since it became the program that it is (Linux).

    `ru_maxrss` would say as much as the process held that started it: it survives exec.
    """
    status = Path("/proc/self/status").read_text("ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise OSError("this system does not say how much memory a process held")
    return int(found[1]) * 1024
