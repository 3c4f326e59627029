"""One pool of decoding threads and one bounded cache of decoded native tiles per process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray


class TileCache:
    """Least recently used decoded tiles, up to `limit_bytes`; safe with threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._tiles: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> NDArray[np.uint8] | None:
        """The tile, now the most recently used; None where it is not held."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: Hashable, tile: NDArray[np.uint8]) -> None:
        """Hold `tile`, dropping the least recently used ones until the limit is kept."""
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self._held += tile.nbytes
            while self._held > self._limit:
                self._held -= self._tiles.popitem(last=False)[1].nbytes


def _make() -> tuple[TileCache, ThreadPoolExecutor]:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return TileCache(128 * 1024 * 1024), ThreadPoolExecutor(workers, "tesela-decode")


CACHE, POOL = _make()


def _after_fork() -> None:
    # Threads do not survive a fork, and a lock held by one of them would stay locked for ever.
    global CACHE, POOL
    CACHE, POOL = _make()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
