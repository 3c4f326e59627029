"""The run of the figures: it ends whatever its parts do, and says of each what became of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import main, record
from benchmarks.figures import Figure
from benchmarks.running import Measured, measure_apart

# A part by the name of what it does.
_CHILD = """
import os, subprocess, sys, time
from dataclasses import asdict
from pathlib import Path
from benchmarks.figures import Figure
from wsi.atomic import write_json

part, out = sys.argv[1:]
if part == "hangs":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path("pid").write_text(str(child.pid))
    time.sleep(60)
if part == "fails":
    raise SystemExit(3)
if part == "crashes":
    os.kill(os.getpid(), 11)
write_json(Path(out), [] if part == "empty" else [asdict(Figure("a.b", 0.5, "s", "c", 1.0, at_least=part == "missed"))])
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of that module; the working folder is one of its own."""
    (tmp_path / "child_of_a_test.py").write_text(_CHILD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[1]}")
    monkeypatch.chdir(tmp_path)
    return "child_of_a_test"


def test_a_part_gives_its_figures(module: str) -> None:
    measured = measure_apart("kept", 60, module)
    assert measured == Measured("kept", (Figure("a.b", 0.5, "s", "c", 1.0, at_least=False),))


@pytest.mark.parametrize(("part", "fault"), [("fails", "exit code 3"), ("crashes", "killed by signal 11")])
def test_a_part_that_fails_says_how(module: str, part: str, fault: str) -> None:
    measured = measure_apart(part, 60, module)
    assert measured.figures == ()
    assert measured.fault.startswith(fault)


def test_a_part_that_never_ends_is_ended_with_what_it_started(module: str, tmp_path: Path) -> None:
    measured = measure_apart("hangs", 5, module)
    assert measured.fault == "no end within 5 s"
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    for _ in range(50):
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("what it started runs on")


@pytest.mark.parametrize(("parts", "code"), [(["kept"], 0), (["missed", "kept"], 1), (["fails", "kept"], 1)])
def test_the_exit_code_says_whether_all_was_measured_and_holds(
    module: str, parts: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.__main__.PARTS", tuple(parts))
    monkeypatch.setattr("benchmarks.__main__.measure_apart", lambda part, limit: measure_apart(part, limit, module))
    assert main([]) == code
    assert ("fails: NOT MEASURED: exit code 3" in capsys.readouterr().out) == ("fails" in parts)
    assert json.loads(Path("build/bench.json").read_text())["a.b"]["part"] == "kept"


def test_a_part_takes_the_place_of_its_own_figures_only(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    one, two, three = (Figure(name, 1.0, "s", "c", 2.0) for name in ("one", "two", "three"))
    record(Measured("first", (one, two)), file)
    record(Measured("second", (three,)), file)
    record(Measured("first", (two,)), file)
    assert sorted(json.loads(file.read_text())) == ["three", "two"]
    record(Measured("second", fault="exit code 1"), file)
    found = json.loads(file.read_text())
    assert list(found) == ["two"]
    assert {"value", "unit", "against", "bound", "holds", "part", "measured"} == set(found["two"])


def test_a_part_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inks"])
    assert "no part inks; there are slides, converting" in capsys.readouterr().err
