"""One pool of decoding threads and one bounded cache of decoded native tiles per process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


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


WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make() -> tuple[TileCache, ThreadPoolExecutor]:
    return TileCache(96 * 1024 * 1024), ThreadPoolExecutor(WORKERS, "tesela-decode")


CACHE, POOL = _make()
# Items handed to a thread at once: one native tile takes about 0.4 ms to decode, handing it over 0.03 ms.
_CHUNK = 8


_inside = threading.local()


def submit(work: Callable[..., T], *args: object) -> Future[T]:
    """Run `work` in the pool. What that hands to `in_threads` it does itself: a pool must not wait for itself."""
    return POOL.submit(_marked, work, *args)


def _marked(work: Callable[..., T], *args: object) -> T:
    _inside.pool = True
    return work(*args)


@contextmanager
def in_this_thread() -> Iterator[None]:
    """Within, the caller does by itself what else would be handed to the pool: it is one of many threads already."""
    before = getattr(_inside, "pool", False)
    _inside.pool = True
    try:
        yield
    finally:
        _inside.pool = before


def in_chunks(work: Callable[[Sequence[int]], None], items: Sequence[int], at_once: int = _CHUNK) -> None:
    """Run `work` on all items, `at_once` of them at a time, in the pool.

    By the caller where they are no more than one chunk, or where it is in the pool already.
    """
    chunks = [items[start : start + at_once] for start in range(0, len(items), at_once)]
    if len(chunks) <= 1 or getattr(_inside, "pool", False):
        for chunk in chunks:
            work(chunk)
        return
    for future in [submit(work, chunk) for chunk in chunks]:
        future.result()


def in_threads(work: Callable[[int], None], items: Sequence[int], at_once: int = _CHUNK) -> None:
    """Run `work` on every item: `in_chunks` for work that takes one by one."""

    def one_by_one(chunk: Sequence[int]) -> None:
        for item in chunk:
            work(item)

    in_chunks(one_by_one, items, at_once)


def _after_fork() -> None:
    # Threads do not survive a fork, and a lock held by one of them would stay locked for ever.
    global CACHE, POOL
    CACHE, POOL = _make()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
