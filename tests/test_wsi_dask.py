"""The blank filter on Dask: how work is cut, what travels, and what a worker that is killed costs."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask_jobqueue  # noqa: F401 - it adds its defaults to Dask's configuration when it is first imported
import numpy as np
import psutil
import pytest
import tifffile
from dask.delayed import delayed
from distributed import Client, LocalCluster, SchedulerPlugin
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import wsi.workers
from wsi import bands
from wsi.bands import _CUT_BYTES, MOST_BANDS, Bands, _at_once, tile_stats
from wsi.errors import InputError, SlideError
from wsi.geometry import TileGrid, TileSpec
from wsi.ingest import ingest
from wsi.readers import cache
from wsi.readers.tiff import TiffReader
from wsi.slide import open_slide
from wsi.tilestats import Measures, TileStats
from wsi.workers import THREADS, Workers

MEASURES = Measures(215)
# 30 bands, most of a task's time is decoding: long enough for a worker to be killed while others are busy.
GRID = TileGrid(TileSpec(16, 0.125, 16), 1500, 1100, (0.5, 0.5))


def all_tiles(path: Path, workers: Workers = THREADS, grid: TileGrid = GRID, **more: Any) -> TileStats:
    with open_slide(path) as slide:
        return tile_stats(slide, grid, np.ones((grid.rows, grid.cols), bool), MEASURES, workers=workers, **more)


@pytest.fixture(scope="module")
def expected(phantom_jpeg: Path) -> TileStats:
    """What threads of this process find."""
    return all_tiles(phantom_jpeg)


def same(found: TileStats, expected: TileStats) -> None:
    """The same numbers, and every tile once: a band that ran twice counts once."""
    assert found.index.tolist() == list(range(GRID.rows * GRID.cols))
    np.testing.assert_array_equal(found.values, expected.values)


# How work is cut.


@given(st.integers(8, 600), st.integers(1, 100), st.integers(1, 250_000), st.sampled_from([128, 240, 256, 512, 1000.5]))
def test_tasks_are_few_and_bands_end_where_native_tiles_do_if_that_is_possible(
    size_px: int, percent: int, height: int, native_px: float
) -> None:
    stride = max(1, size_px * percent // 100)
    grid = TileGrid(TileSpec(size_px, 0.5, stride), 1000, height, (0.5, 0.5))
    bands = Bands.of(grid, (native_px, native_px))
    assert -(-grid.rows // bands.rows) <= MOST_BANDS
    assert bands.rows % bands.strip == 0
    if native_px % stride == 0 and native_px // stride <= 8:
        assert bands.rows * stride % native_px == 0
        assert bands.across * stride % native_px == 0


def test_a_slide_of_200000_px_is_at_most_200_small_tasks(phantom_tiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What travels: for each task some kB, whatever the size of the slide, and 36 bytes a tile back."""
    seen: list[int] = []

    def look(_: Workers, tasks: list[Any], __: object) -> list[TileStats]:
        seen.extend(len(pickle.dumps(dict(task.dask))) for task in tasks)
        return []

    monkeypatch.setattr(Workers, "run", look)
    grid = TileGrid(TileSpec(128, 0.5, 128), 100_000, 200_000, (0.5, 0.5))
    all_tiles(phantom_tiled, grid=grid)
    assert 100 <= len(seen) <= MOST_BANDS
    assert max(seen) < 9_000  # of it, a byte says of each of 8 × 782 tiles whether it is wanted
    sent_back = len(pickle.dumps(TileStats(np.zeros(1000, np.int64), np.zeros((1000, 7), np.float32))))
    assert sent_back < 37_000


def test_long_bands_come_first(phantom_tiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is done early then waits for a short one."""
    wanted = np.arange(GRID.cols) < np.random.default_rng(1).permutation(GRID.rows)[:, None]
    seen: list[int] = []

    def look(_: object, __: object, ___: object, ____: object, _____: object, part: NDArray[np.bool_]) -> TileStats:
        seen.append(int(part.sum()))
        return TileStats.joined([])

    monkeypatch.setattr(bands, "_band_stats", look)
    monkeypatch.setattr(cache, "WORKERS", 1)
    with open_slide(phantom_tiled) as slide:
        tile_stats(slide, GRID, wanted, MEASURES)
    assert len(seen) > 3
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("size_px", [64, 128, 512])
def test_a_native_tile_is_decoded_once_and_only_if_a_wanted_tile_touches_it(
    phantom_jpeg: Path, size_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = TileGrid(TileSpec(size_px, 0.5, size_px), 1500, 1100, (0.5, 0.5))
    wanted = np.random.default_rng(4).random((grid.rows, grid.cols)) < 0.3
    wanted[0, 0] = wanted[-1, -1] = True
    decoded: list[int] = []
    plain = TiffReader._decoded

    def counted(self: TiffReader, level: int, index: int, raws: list[bytes], *, keep: bool) -> Any:
        decoded.append(index)
        return plain(self, level, index, raws, keep=keep)

    monkeypatch.setattr(TiffReader, "_decoded", counted)
    with open_slide(phantom_jpeg, unused_levels=()) as slide:  # as slide.json says: no level has to be looked at
        stats = tile_stats(slide, grid, wanted, MEASURES)
    assert stats.index.tolist() == np.flatnonzero(wanted).tolist()
    columns, touched = -(-1500 // 256), set()
    for x, y, width, height in grid.boxes()[wanted.ravel()]:
        right, bottom = min(x + width, 1500) - 1, min(y + height, 1100) - 1
        touched |= {
            r * columns + c for r in range(y // 256, bottom // 256 + 1) for c in range(x // 256, right // 256 + 1)
        }
    assert sorted(decoded) == sorted(touched)


def test_progress_is_told_to_its_end(phantom_jpeg: Path) -> None:
    told: list[float] = []
    all_tiles(phantom_jpeg, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_no_file_stays_open(phantom_jpeg: Path) -> None:
    before = len(psutil.Process().open_files())
    for _ in range(3):
        all_tiles(phantom_jpeg)
    assert len(psutil.Process().open_files()) == before


@given(st.integers(8, 4096), st.integers(1, 100), st.integers(1, 8), st.sampled_from([1, 8]))
def test_tiles_that_overlap_are_held_few_at_a_time(size_px: int, percent: int, strip: int, row_step: int) -> None:
    spec = TileSpec(size_px, 0.5, max(1, size_px * percent // 100))
    columns, tiles = _at_once(spec, Bands(strip, strip, 1), row_step)
    tile_bytes = -(-size_px // row_step) * size_px * 3
    assert columns == 1 or columns * strip * tile_bytes <= _CUT_BYTES
    assert tiles == 1 or tiles * tile_bytes <= _CUT_BYTES


def write_blank(path: Path) -> None:
    """A white slide of the phantom's size."""
    tifffile.imwrite(path, np.full((1100, 1500, 3), 255, np.uint8), tile=(256, 256), photometric="rgb")


class Elsewhere(Workers):
    """Runs tasks in another folder than the one where they were made."""

    def run(self, tasks: Any, progress: Any = None) -> list[Any]:
        os.chdir("elsewhere")
        return super().run(tasks, progress)


@pytest.mark.parametrize("name", ["a.tif", "found/slide.json"])
def test_a_relative_path_is_the_same_slide_in_the_folder_of_a_worker(
    name: str, phantom_jpeg: Path, expected: TileStats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another slide may have the same name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(phantom_jpeg, "a.tif")
    write_blank(Path("elsewhere/a.tif"))
    ingest(Path("a.tif"), Path("found"))
    same(all_tiles(Path(name), Elsewhere()), expected)


def test_a_slide_json_is_read_from_any_folder_and_moves_with_its_conversion(
    phantom_flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "before").mkdir()
    monkeypatch.chdir(tmp_path / "before")
    shutil.copy(phantom_flat, "flat.tif")
    ingest(Path("flat.tif"), Path("found"))
    found = (tmp_path / "before" / "found").rename(tmp_path / "moved")
    written = json.loads((found / "slide.json").read_text())
    assert (written["path"], written["source"]) == ("slide.ome.tif", str(tmp_path / "before" / "flat.tif"))
    monkeypatch.chdir("/")
    with open_slide(found / "slide.json") as slide:
        assert slide.path == found / "slide.ome.tif"


def test_an_older_slide_json_is_relative_to_the_folder_of_the_command(
    phantom_jpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(phantom_jpeg, "a.tif")
    ingest(Path("a.tif"), Path("found"))
    written = json.loads(Path("found/slide.json").read_text())
    Path("found/slide.json").write_text(json.dumps(written | {"path": "a.tif", "source": "a.tif"}))
    with open_slide(Path("found/slide.json")) as slide:
        assert slide.path == Path("a.tif")


def test_a_slide_that_is_replaced_is_refused_until_it_is_ingested_and_then_measured_anew_by_the_same_workers(
    phantom_jpeg: Path, expected: TileStats, tmp_path: Path
) -> None:
    shutil.copy(phantom_jpeg, tmp_path / "a.tif")
    ingest(tmp_path / "a.tif", tmp_path / "found")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        workers = Workers(cluster.scheduler_address)
        same(all_tiles(tmp_path / "found" / "slide.json", workers), expected)
        write_blank(tmp_path / "a.tif")
        with pytest.raises(SlideError, match=r"a\.tif: another slide than when"):
            all_tiles(tmp_path / "found" / "slide.json", workers)
        ingest(tmp_path / "a.tif", tmp_path / "found", 0.5)
        found = all_tiles(tmp_path / "found" / "slide.json", workers)
    assert (found["bright"] == 1).all()


# Where tasks run.


class Kill(SchedulerPlugin):
    """Kills one worker's process once some tasks are done, while it has others to do."""

    name = "kill"

    def __init__(self, pids: dict[str, int], after: int) -> None:
        self.pids, self.after = pids, after
        self.done, self.killed, self.left = 0, "", 0

    def transition(self, *event: Any, **_: Any) -> None:
        self.done += event[2] == "memory"  # (key, state before, state after)
        if self.done >= self.after and not self.killed:
            workers = self.scheduler.workers.values()
            victim = max(workers, key=lambda worker: len(worker.processing))
            self.killed, self.left = victim.address, len(victim.processing)
            os.kill(self.pids[victim.address], signal.SIGKILL)

    async def start(self, scheduler: Any) -> None:
        self.scheduler = scheduler


def test_a_worker_killed_in_the_middle_costs_time_and_no_tile(phantom_jpeg: Path, expected: TileStats) -> None:
    """Of a cluster of processes on this machine."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        pids = client.run(os.getpid)
        kill = Kill(pids, after=3)
        cluster.scheduler.add_plugin(kill)
        client.sync(kill.start, cluster.scheduler)
        found = all_tiles(phantom_jpeg, Workers(cluster.scheduler_address))
        assert kill.killed
        assert kill.left > 0  # it died with work to do
        assert not psutil.pid_exists(pids[kill.killed]) or psutil.Process(pids[kill.killed]).status() == "zombie"
    same(found, expected)


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A `dask` command; killed in the end."""
    run = subprocess.Popen([sys.executable, "-m", "dask", *words], stderr=subprocess.PIPE, text=True)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def said(run: subprocess.Popen[str], pattern: str) -> str:
    """What the pattern's group matches in a line that the process writes."""
    assert run.stderr is not None
    for line in run.stderr:
        found = re.search(pattern, line)
        if found:
            return found[1]
    raise AssertionError(f"it ended without saying {pattern}")


def test_scheduler_and_workers_started_by_hand_survive_a_kill(phantom_jpeg: Path, expected: TileStats) -> None:
    """`dask scheduler` and two `dask worker`s over the loopback: what a person starts on a few machines."""
    with process("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard") as scheduler:
        address = said(scheduler, r"Scheduler at:\s+(tcp://\S+)")
        words = ("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        with process(*words) as first, process(*words), Client(address) as client:
            client.wait_for_workers(2, timeout=30)
            killed: list[int] = []

            def kill_when_a_tenth_is_done(share: float) -> None:
                if share >= 0.1 and not killed:
                    killed.append(sum(len(keys) for keys in client.processing().values()))
                    first.send_signal(signal.SIGKILL)

            found = all_tiles(phantom_jpeg, Workers(address), progress=kill_when_a_tenth_is_done)
            assert killed[0] > 0  # tasks were left
            assert first.wait(5) == -signal.SIGKILL
            assert len(client.scheduler_info()["workers"]) == 1
    same(found, expected)


def test_jobs_of_a_queue_give_the_same(phantom_jpeg: Path, expected: TileStats) -> None:
    """dask-jobqueue's own scripts, started on this machine instead of being sent to a queue."""
    job = {"cores": 1, "memory": "1GB", "scheduler-options": {"dashboard_address": None, "host": "127.0.0.1"}}
    with dask.config.set({f"jobqueue.local.{key}": value for key, value in job.items()}):
        same(all_tiles(phantom_jpeg, Workers("local", jobs=2)), expected)


def test_a_queue_that_nobody_described_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"dask.scheduler: slurm: .*jobqueue\.slurm in ~/\.config/dask/jobqueue\.yaml"):
        Workers("slurm").run([])


def test_a_scheduler_that_does_not_answer_is_one_clear_line(
    phantom_jpeg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsi.workers, "_TIMEOUT_S", 1)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*`dask scheduler`"):
        all_tiles(phantom_jpeg, Workers("tcp://127.0.0.1:9"))
    assert time.monotonic() - began < 10


def test_a_scheduler_that_is_lost_is_one_clear_line(phantom_jpeg: Path) -> None:
    with process("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard") as scheduler:
        address = said(scheduler, r"Scheduler at:\s+(tcp://\S+)")
        with process("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"):
            began = time.monotonic()
            with pytest.raises(InputError, match=rf"{address}: the scheduler was lost .* see its log"):
                all_tiles(phantom_jpeg, Workers(address), progress=lambda _: scheduler.kill())
            assert time.monotonic() - began < 30


def test_tiles_that_kill_every_worker_are_one_clear_line() -> None:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        pytest.raises(InputError, match=r"several workers died of the same tiles, .*memory; see their logs"),
    ):
        Workers(cluster.scheduler_address).run([delayed(os._exit)(1)])


def test_a_task_s_own_error_is_what_is_raised() -> None:
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        pytest.raises(FileNotFoundError),
    ):
        Workers(cluster.scheduler_address).run([delayed(os.stat)("nowhere")])


def test_that_no_worker_is_there_yet_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(wsi.workers, "_NO_WORKERS_S", 0.2)
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        threading.Timer(2, cluster.scale, [1]).start()
        assert Workers(cluster.scheduler_address).run([delayed(abs)(-1)]) == [1]
        assert f"{cluster.scheduler_address}: no workers yet" in caplog.text


@pytest.mark.parametrize(("scheduler", "jobs", "named"), [("slrum", 2, "slrum.*slurm"), ("slurm", 0, "dask.jobs is 0")])
def test_what_cannot_be_a_scheduler_is_refused(scheduler: str, jobs: int, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Workers(scheduler, jobs)
