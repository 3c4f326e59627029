"""Bad input: one clear line that names the file and the remedy, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from pipelines import cli, stages
from pipelines.cohort import Cohort, CohortSlide
from pipelines.commands.app import show_json


def tesela(*words: object, ok: bool = False) -> str:
    """Run a command as from a shell, without the second that a process takes to begin; the one line on stderr."""
    before = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["tesela", *map(str, words)]
    with written_to("stdout") as out, written_to("stderr") as errors:
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = before[0]
            signal.signal(signal.SIGTERM, before[1])
        said, faults = (content(file) for file in (out, errors))
    if ok:
        assert code == 0, faults
        return said
    assert code == 2, (code, faults)
    lines = faults.strip().splitlines()
    assert len(lines) == 1, faults
    assert lines[0].startswith("tesela: error: ")
    return lines[0]


def content(file: IO[str]) -> str:
    file.flush()
    file.seek(0)
    return file.read()


@contextmanager
def written_to(stream: str) -> Iterator[IO[str]]:
    """A file that takes what is written to sys.stdout or sys.stderr, also by libraries that are not Python's."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        descriptor, before = {"stdout": 1, "stderr": 2}[stream], getattr(sys, stream)
        kept = os.dup(descriptor)
        os.dup2(file.fileno(), descriptor)
        setattr(sys, stream, file)
        try:
            yield file
        finally:
            setattr(sys, stream, before)
            os.dup2(kept, descriptor)
            os.close(kept)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each bad input."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.tif").touch()
    (folder / "text.tif").write_text("this is no slide\n" * 40)
    pixels = np.random.default_rng(0).integers(0, 255, (600, 500, 3), dtype=np.uint8)
    tifffile.imwrite(folder / "whole.tif", pixels, photometric="rgb", tile=(256, 256), compression="jpeg")
    whole = (folder / "whole.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_text('{"hello": 1}')
    (folder / "classes" / "TUM").mkdir(parents=True)
    (folder / "classes" / "STR").mkdir()
    tifffile.imwrite(folder / "classes" / "STR" / "1.tif", pixels)
    (folder / "nothing").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.tif", "no such file"),
        ("empty.tif", "empty"),
        ("text.tif", "not a slide"),
        ("cut.tif", "copy it again"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "ingest"])
def test_a_file_that_is_no_slide(bad: Path, tmp_path: Path, name: str, said: str, command: str) -> None:
    out = ["--out", tmp_path / "out"] if command == "ingest" else []
    line = tesela(command, bad / name, *out)
    assert name in line
    assert said in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_slide_without_an_mpp_says_how_to_give_one(bad: Path, tmp_path: Path) -> None:
    line = tesela("ingest", bad / "whole.tif", "--out", tmp_path / "out")
    assert "whole.tif" in line
    assert "--mpp" in line
    assert "sheet" in line
    tesela("ingest", bad / "whole.tif", "--out", tmp_path / "out", "--mpp", 0.5, ok=True)
    assert json.loads((tmp_path / "out" / "slide.json").read_text())["mpp_source"] == "given"


def test_an_unknown_configuration_key(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("run: r\nslides: s\nmodel: {path: m}\noverlay: {alhpa: 1}\n")
    line = tesela("check", config)
    assert "my.yaml" in line
    assert "overlay.alhpa" in line


def test_a_sheet_without_the_column_it_needs(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("file\na.tif\n")
    line = tesela("cohort", "--sheet", tmp_path / "s.csv", "--out", tmp_path / "cohort.csv")
    assert "s.csv" in line
    assert "'slide' is missing" in line
    assert not (tmp_path / "cohort.csv").exists()


def test_what_is_left_out_is_counted_where_a_person_looks(bad: Path, tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    (slides / "a.tif").write_bytes((bad / "whole.tif").read_bytes())
    (slides / "b.png").touch()
    (slides / "c{d}.tif").write_bytes((bad / "cut.tif").read_bytes())
    out = tmp_path / "cohort.csv"
    done = CliRunner().invoke(cli.app, ["cohort", "--slides", str(slides), "--out", str(out)])
    assert "3 files: 2 slides, left out: 1 .png" in done.stderr
    assert "c-d- will fail" in done.stderr
    counts = json.loads((tmp_path / "cohort.json").read_text())
    assert (counts["seen"], counts["slides"], counts["left_out"]) == (3, 2, {".png": 1})


def test_one_slide_in_two_rows_of_a_sheet(bad: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.tif").write_bytes((bad / "whole.tif").read_bytes())
    (tmp_path / "s.csv").write_text(f"slide,id,split\n{bad / 'whole.tif'},one,train\ncopy.tif,two,test\n")
    line = tesela("cohort", "--sheet", tmp_path / "s.csv", "--out", tmp_path / "cohort.csv")
    assert "whole.tif, train" in line
    assert "copy.tif, test" in line
    assert not (tmp_path / "cohort.csv").exists()


@pytest.mark.parametrize("overlay", ["{heat: TUMOR}", "{classes: [TUM, LYM]}"])
def test_a_class_to_paint_that_no_folder_of_tiles_has(bad: Path, tmp_path: Path, overlay: str) -> None:
    """Before hours of training."""
    (tmp_path / "slides").mkdir()
    shutil.copyfile(bad / "whole.tif", tmp_path / "slides" / "a.tif")
    train = f"train: {{folder: {bad / 'classes'}, source_mpp: 1}}\ntile: {{mpp: 1}}\n"
    (tmp_path / "my.yaml").write_text(f"run: r\nslides: {tmp_path / 'slides'}\n{train}overlay: {overlay}\n")
    assert "not among the classes of train.folder, STR, TUM" in tesela("check", tmp_path / "my.yaml")


@pytest.mark.parametrize(("option", "name"), [("--outside", "none"), ("--outside", "None"), ("--name", "none")])
def test_a_class_called_none_is_asked_about(option: str, name: str) -> None:
    words = ["label", "tiles.parquet", "--regions", "r.geojson", "--out", "o.parquet", option, name]
    assert f"leave it out ({option}, in a configuration" in tesela(*words)


def test_a_path_begins_in_the_home_folder_also_where_the_shell_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.tif").touch()
    CliRunner().invoke(cli.app, ["cohort", "--slides=~/slides", "--out", "~/cohort.csv"], catch_exceptions=False)
    assert (tmp_path / "cohort.csv").exists()


@pytest.mark.parametrize("name", ["[he]", "[/tmp/out]", ":smile:", "[bold red]x[/]"])
def test_a_file_is_shown_by_its_name_whatever_brackets_are_in_it(bad: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    shutil.copyfile(bad / "whole.tif", folder / "a.tif")
    path = str(folder / "a.tif")
    assert path in CliRunner().invoke(cli.app, ["inspect", path], catch_exceptions=False).stdout
    assert str(folder / "b.tif") in tesela("inspect", folder / "b.tif")
    out = CliRunner().invoke(cli.app, ["cohort", "--slides", str(folder), "--out", str(folder / "c.csv")])
    assert out.exit_code == 0, out.exception


def test_a_failed_slide_is_shown_as_it_is_named(tmp_path: Path) -> None:
    reason = "[/tmp/out]/a.tif: :warning: [red]no[/red]"
    Cohort((CohortSlide("a", "a.tif", fault=reason),)).write(tmp_path / "cohort.csv")
    done = CliRunner().invoke(cli.app, ["report", str(tmp_path)], catch_exceptions=False)
    assert f"failed a: {reason}" in done.stderr


def test_nothing_but_the_console_of_tesela_prints() -> None:
    """One that takes brackets for marks would lose part of a name, or fail."""
    root = Path(cli.__file__).parent
    consoles = [path.name for path in root.rglob("*.py") if "Console(" in path.read_text("utf-8")]
    assert consoles == ["console.py"]


def test_a_terminal_with_few_letters_gets_its_line(bad: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "pipelines.cli", "inspect", str(bad / "whole.tif")]
    done = subprocess.run(words, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"500 \xd7 600 px" in done.stdout


def test_a_program_with_few_letters_gets_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, written in (("ascii", b"\\u00b5m"), ("utf-8", "µm".encode())):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
        monkeypatch.setattr(sys, "stdout", stream)
        show_json({"a": "µm"})
        stream.flush()
        assert written in stream.buffer.getvalue()  # type: ignore[attr-defined]  # a BytesIO
        assert json.loads(stream.buffer.getvalue()) == {"a": "µm"}  # type: ignore[attr-defined]


def test_an_empty_folder_of_slides(bad: Path, tmp_path: Path) -> None:
    assert "nothing" in tesela("cohort", "--slides", bad / "nothing", "--out", tmp_path / "cohort.csv")


def test_a_model_that_is_none(bad: Path, tmp_path: Path) -> None:
    line = tesela("predict", bad / "whole.tif", "--mpp", 0.5, "--model", bad / "model", "--out", tmp_path / "o")
    assert "model.json" in line
    assert not (tmp_path / "o").exists()


def test_a_class_folder_without_images(bad: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(json.dumps({"tile": {"mpp": 1}, "train": {"folder": str(bad / "classes"), "source_mpp": 1}}))
    line = tesela("train", "--config", config, "--out", tmp_path / "model")
    assert "TUM" in line
    assert not (tmp_path / "model").exists()


def test_a_slide_is_never_written_over(bad: Path) -> None:
    before = (bad / "whole.tif").read_bytes()
    assert "is the slide itself" in tesela("convert", bad / "whole.tif", bad / "whole.tif", "--mpp", 0.5)
    assert (bad / "whole.tif").read_bytes() == before


def test_a_mask_of_ink_is_a_png_beside_the_regions(bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "regions.png"
    assert "both --mask and --out" in tesela("ink", bad / "whole.tif", "--out", out, "--mask", out)
    line = tesela("ink", bad / "whole.tif", "--out", out, "--mask", tmp_path / "mask.jpg")
    assert "mask.jpg" in line
    assert ".png" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["tissue", "--mask-mpp", "-3"],
        ["tissue", "--min-area-mm2", "-1"],
        ["tiles", "--mpp", "1", "--max-bright", "7"],
        ["tiles", "--mpp", "1", "--bright-level", "900"],
        ["tiles", "--mpp", "1", "--stride-px", "0"],
        ["predict", "--model", "m", "--threads", "0"],
        ["tune", "--threads", "-1"],
        ["pilot", "--threads", "0"],
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(bad: Path, tmp_path: Path, words: list[str]) -> None:
    """Before the slide is opened."""
    result = CliRunner().invoke(cli.app, [*words, str(bad / "whole.tif"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.output.count("Invalid value") == 1
    assert words[-2] in result.output
    assert not (tmp_path / "out").exists()


def test_a_downsample_of_0_is_not_taken_for_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(stages, "overlay_region", lambda *words: given.append(words[5]))
    words = ["overlay", "a.tif", "--predictions", "p.parquet", "--out", "r.png", "--region", "0,0,9,9"]
    CliRunner().invoke(cli.app, [*words, "--downsample", "0"], catch_exceptions=False)
    CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert given == [0, 1]


def test_channels_on_pages_of_their_own_are_no_colour_picture(tmp_path: Path) -> None:
    channels = np.zeros((3, 512, 512), np.uint8)
    tifffile.imwrite(tmp_path / "cyx.ome.tif", channels, ome=True, tile=(256, 256), metadata={"axes": "CYX"})
    line = tesela("inspect", tmp_path / "cyx.ome.tif")
    assert "3 pages of 512 × 512 px" in line


def test_the_command_as_a_shell_starts_it(bad: Path) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "inspect", str(bad / "text.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tesela: error: ")
    assert done.stderr.count("\n") == 1


def test_debug_shows_the_traceback(bad: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "inspect", str(bad / "text.tif"), "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr


def test_inspect_prints_json_that_a_program_may_read(bad: Path) -> None:
    found = json.loads(tesela("inspect", bad / "whole.tif", "--json", ok=True))
    assert (found["width"], found["height"], found["mpp"], found["mpp_source"]) == (500, 600, None, "unknown")


@pytest.mark.parametrize("command", [None, *(command.callback.__name__ for command in cli.app.registered_commands)])
def test_help_teaches_every_command(command: str | None) -> None:
    words = [command, "--help"] if command else ["--help"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_every_package_is_installed() -> None:
    """An editable install finds what the list leaves out; one from a wheel does not."""
    root = Path(__file__).parent.parent
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = [
        ".".join(file.parent.relative_to(root).parts)
        for room in ("wsi", "models", "pipelines")
        for file in (root / room).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(there)
