"""Writing, then renaming: what is found afterwards is whole, and nothing of anybody else's is gone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsi import files
from wsi.atomic import write_json, writing
from wsi.errors import InputError
from wsi.leftovers import temporary_for

# Writes half of a file and waits.
_WRITER = """
import sys, time
from pathlib import Path
from wsi.atomic import writing
with writing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def leftover_of(path: Path, process: int, machine: str = "") -> Path:
    """What that process leaves of writing `path` when it is killed."""
    left = temporary_for(path)
    name = left.name.replace(f"-{os.getpid()}-", f"-{process}-")
    if machine:
        before, _, after = name.partition(f"-{process}-")
        name = f"{before.rpartition('.')[0]}.{machine}-{process}-{after}"
    return left.with_name(name)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def half_written(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has written half of `path`; killed in the end."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        yield process
        process.kill()


def write_folder(path: Path, content: str) -> None:
    """Replaces what is there, whatever it is."""
    with writing(path, lambda _: True) as temporary:
        temporary.mkdir()
        (temporary / content).touch()


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with writing(tmp_path / "sub" / "a.ome.tif") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "sub" / "a.ome.tif").exists()
        assert temporary.name.endswith(".ome.tif")
    assert names(tmp_path / "sub") == ["a.ome.tif"]


@pytest.mark.parametrize("name", ["a" * 250 + ".json", "ä" * 125 + ".json", "c." + "d" * 250])
def test_a_name_as_long_as_names_may_be(name: str, tmp_path: Path) -> None:
    with writing(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [name]


# Leftovers


@pytest.mark.parametrize("name", ["a.json", "slide [1].ome.tif", "bare", "a" * 250 + ".json"])
def test_leftovers_of_a_dead_process_are_removed_and_nothing_else(name: str, tmp_path: Path, dead_process: int) -> None:
    stem, dot, ending = name.partition(".")
    leftover_of(tmp_path / name, dead_process).write_text("half")
    others = [leftover_of(tmp_path / f"{stem[:90]}2{dot}{ending}", dead_process), tmp_path / f".{name[:99]}.partial"]
    for other in others:
        other.touch()
    with writing(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == sorted([name, *(other.name for other in others)])


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with half_written(tmp_path / "a.json") as process:
        process.kill()
        process.wait()
        assert len(names(tmp_path)) == 1
        write_json(tmp_path / "a.json", 1)
        assert names(tmp_path) == ["a.json"]


def test_what_a_live_process_writes_is_left_alone_and_both_end_well(tmp_path: Path) -> None:
    with half_written(tmp_path / "a.json") as process:
        write_json(tmp_path / "a.json", 1)
        assert len(names(tmp_path)) == 2  # its half, and ours
        process.kill()
        process.wait()
    write_json(tmp_path / "a.json", 2)
    assert names(tmp_path) == ["a.json"]


def test_another_machine_on_a_network_disk_has_a_day(tmp_path: Path, dead_process: int) -> None:
    recent = leftover_of(tmp_path / "a.json", dead_process, "node7")
    old = leftover_of(tmp_path / "a.json", dead_process, "node8")
    for left, hours in ((recent, 23), (old, 25)):
        left.touch()
        os.utime(left, (time.time() - hours * 3600,) * 2)
    write_json(tmp_path / "a.json", 1)
    assert names(tmp_path) == sorted(["a.json", recent.name])


def test_a_leftover_that_cannot_be_removed_hinders_nobody(
    tmp_path: Path, dead_process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leftover_of(tmp_path / "a.json", dead_process)
    left.touch()

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EPERM, "not yours", str(path))

    monkeypatch.setattr("wsi.leftovers.remove", refuse)
    write_json(tmp_path / "a.json", 1)
    assert names(tmp_path) == sorted(["a.json", left.name])


# Two writers of one target


@pytest.mark.parametrize("folder", [False, True])
def test_of_two_that_write_the_same_the_last_whole_one_stays(folder: bool, tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    with writing(target, lambda _: True) as first:
        with writing(target, lambda _: True) as second:
            assert first != second
            for temporary, content in ((first, "first"), (second, "second")):
                if folder:
                    temporary.mkdir()
                    (temporary / content).touch()
                else:
                    temporary.write_text(content)
        assert "second" in (names(target) if folder else target.read_text())
    assert "first" in (names(target) if folder else target.read_text())
    assert names(tmp_path) == ["a.zarr"]


def test_many_that_replace_one_folder_at_once(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                write_folder(tmp_path / "a.zarr", f"{number}-{turn}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert names(tmp_path) == ["a.zarr"]
    assert len(names(tmp_path / "a.zarr")) == 1


# What is replaced


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        write_folder(tmp_path / "a.zarr", content)
    assert names(tmp_path / "a.zarr") == ["new"]
    assert names(tmp_path) == ["a.zarr"]


def test_a_folder_with_something_in_it_is_never_replaced_unless_it_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with writing(tmp_path / "thesis") as temporary:  # an empty one may be
        temporary.mkdir()
        (temporary / "text").touch()
    for replaces in (None, lambda _: False):
        refused = pytest.raises(InputError, match=r"thesis: a folder is there that Tesela did not write")
        with refused, writing(tmp_path / "thesis", replaces):
            raise AssertionError("begun all the same")
    assert names(tmp_path / "thesis") == ["text"]


def test_a_folder_that_comes_while_another_is_written_stays_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did not write"), writing(tmp_path / "a") as temporary:  # noqa: PT012
        temporary.mkdir()
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "text").touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["text"]


def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", "old")
    (tmp_path / "a.zarr").symlink_to(tmp_path / "elsewhere")
    write_folder(tmp_path / "a.zarr", "new")
    assert names(tmp_path / "a.zarr") == ["new"]
    assert names(tmp_path / "elsewhere") == ["old"]


# On the disk


def test_the_disk_holds_a_file_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "a.json").exists()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_json(tmp_path / "a.json", 1)
    assert [(Path(path).name.endswith(".partial.json"), there) for path, there in synced] == [
        (True, False),
        (False, True),
    ]
    assert Path(synced[1][0]) == tmp_path


def test_the_disk_holds_every_file_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    with writing(tmp_path / "a.zarr") as temporary:
        (temporary / "0" / "c").mkdir(parents=True)
        (temporary / "zarr.json").touch()
        (temporary / "0" / "c" / "1").touch()
    under = [Path(path).relative_to(temporary).as_posix() for path in synced[:-1]]
    assert sorted(under) == [".", "0", "0/c", "0/c/1", "zarr.json"]
    assert under.index("0/c/1") < under.index("0/c") < under.index("0") < under.index(".")


def test_a_file_system_that_cannot_do_it_for_folders_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_json(tmp_path / "a.json", 1)
    assert names(tmp_path) == ["a.json"]


def test_a_disk_that_is_full_only_when_it_has_to_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network disks take what is written, and say at the end that there is no room."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.json"):
        write_json(tmp_path / "a.json", 1)
    assert names(tmp_path) == []


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: .*a\.json"), writing(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"^damaged$"), writing(tmp_path / "a.json"):
        raise OSError("damaged")


def test_json_refuses_nan_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert names(tmp_path) == []
