"""Other processes of this program: begun anew, never forked.

A fork takes along the locks that threads hold, but not the threads: a child of a process whose OpenCV, OpenMP or own
threads have worked waits for ever where it first needs one of them. A server process that has no threads makes the
children instead, and imports what they need once for all of them; where there is none (Windows), each begins anew.

Whatever a child is given is pickled, and it imports the main module again: a script that uses this does its work
below `if __name__ == "__main__":`.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext


def fresh(*preload: str) -> BaseContext:
    """What makes processes, for pools, executors and loaders. preload: modules that its children need."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", *preload])  # heeded when the server begins, for all that come
    return context
