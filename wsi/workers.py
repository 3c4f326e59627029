"""Where Dask's tasks run: threads of this process, a scheduler that runs already, or jobs of a cluster's queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dask.base import compute
from dask.callbacks import Callback

from wsi.errors import InputError
from wsi.readers import cache

Progress = Callable[[float], None]

# Queue → (module, class). What a job asks for (queue, account, cores, memory, walltime) is said in dask-jobqueue's own
# file, ~/.config/dask/jobqueue.yaml. "local" starts jobs on this machine, through the same scripts.
QUEUES = {
    "htcondor": ("dask_jobqueue", "HTCondorCluster"),
    "local": ("dask_jobqueue.local", "LocalCluster"),
    "lsf": ("dask_jobqueue", "LSFCluster"),
    "oar": ("dask_jobqueue", "OARCluster"),
    "pbs": ("dask_jobqueue", "PBSCluster"),
    "sge": ("dask_jobqueue", "SGECluster"),
    "slurm": ("dask_jobqueue", "SLURMCluster"),
}
_TIMEOUT_S = 30
# So long without a worker, and a person is told.
_NO_WORKERS_S = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """scheduler: None: threads of this process; an address (tcp://...); or one of QUEUES, with so many `jobs`.

    Raises InputError for anything else.
    """

    scheduler: str | None = None
    jobs: int = 2

    def __post_init__(self) -> None:
        if self.scheduler is not None and "://" not in self.scheduler and self.scheduler not in QUEUES:
            raise InputError(
                f"dask.scheduler is {self.scheduler!r}; give a scheduler's address such as tcp://10.0.0.5:8786, "
                f"or one of {', '.join(QUEUES)}"
            )
        if self.jobs < 1:
            raise InputError(f"dask.jobs is {self.jobs}; give 1 or more")

    def run(self, tasks: Sequence[Any], progress: Progress | None = None) -> list[Any]:
        """The results of delayed tasks, in their order; `progress` is told the share done, 0 to 1.

        Tasks of a worker that dies are given to another. Waits for workers as long as it takes: a queue may be full.
        Raises InputError where no scheduler answers, it is lost, or workers die of a task; and whatever a task raises.
        """
        if self.scheduler is None:
            with _Told(progress):
                return list(compute(*tasks, scheduler="threads", num_workers=cache.WORKERS))
        with self._client() as client, _told_in_a_line(str(self.scheduler)):
            futures = client.compute(list(tasks))
            if futures:
                _say_if_none_works(client, str(self.scheduler))
            return _gathered(client, futures, progress)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from distributed import Client

        if self.scheduler in QUEUES:
            with _queue(self.scheduler, self.jobs) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(self.scheduler, timeout=_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {self.scheduler} within {_TIMEOUT_S} s; start one with `dask scheduler` "
                "and name the address that it prints, or leave dask.scheduler out to use this machine's threads"
            ) from error
        with client:
            yield client


# What nobody need be asked for.
THREADS = Workers()


@contextmanager
def _queue(name: str, jobs: int) -> Iterator[Any]:
    """A dask-jobqueue cluster of so many jobs; they end with it."""
    module, kind = QUEUES[name]
    try:
        cluster = getattr(import_module(module), kind)()
    except ModuleNotFoundError as error:
        raise InputError(f"dask.scheduler: {name} needs dask-jobqueue; pip install 'tesela[hpc]'") from error
    except ValueError as error:  # of what a job asks for, something is left out
        fault = " ".join(str(error).split())
        raise InputError(
            f"dask.scheduler: {name}: {fault}; say it under jobqueue.{name} in ~/.config/dask/jobqueue.yaml"
        ) from error
    with cluster:
        cluster.scale(jobs=jobs)
        yield cluster


@contextmanager
def _told_in_a_line(scheduler: str) -> Iterator[None]:
    """Makes an InputError of what distributed raises where its processes are lost."""
    from distributed import KilledWorker
    from distributed.client import FuturesCancelledError
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise InputError(
            f"dask.scheduler: {scheduler}: several workers died of the same tiles, most often for lack of memory; "
            "see their logs, and give each more memory or fewer threads"
        ) from error
    except (CancelledError, FuturesCancelledError, CommClosedError) as error:
        raise InputError(
            f"dask.scheduler: {scheduler}: the scheduler was lost while tiles were measured; "
            "see its log, start it and its workers again, and run again"
        ) from error


def _say_if_none_works(client: Any, scheduler: str) -> None:
    """Wait some seconds for the first worker; if none comes, warn: from here on there is nothing to be seen."""
    try:
        client.wait_for_workers(1, timeout=_NO_WORKERS_S)
    except TimeoutError:
        _log.warning("tesela: dask.scheduler: %s: no workers yet; waiting for them", scheduler)


def _gathered(client: Any, futures: Sequence[Any], progress: Progress | None) -> list[Any]:
    from distributed import as_completed

    for number, future in enumerate(as_completed(futures), start=1):
        if future.status != "finished":
            future.result()  # raises: the other tasks need not be waited for
        if progress is not None:
            progress(number / len(futures))
    return list(client.gather(futures))


class _Told(Callback):
    """Tells `progress` the share of Dask tasks done."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._progress = progress

    def _posttask(self, *event: Any) -> None:
        # Dask hands over (key, result, graph, state, worker).
        state = event[3]
        if self._progress is not None:
            done, left = len(state["finished"]), sum(len(state[name]) for name in ("ready", "waiting", "running"))
            self._progress(done / max(1, done + left))
