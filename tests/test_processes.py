"""No process of the project is forked: a child of a process whose threads have worked may wait for ever."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from wsi import processes

_ROOT = Path(__file__).parents[1]
_ROOMS = ("wsi", "models", "pipelines", "benchmarks")
# What makes processes → the argument that says how.
_MAKERS = {"ProcessPoolExecutor": "mp_context", "DataLoader": "multiprocessing_context"}


def forks(path: Path) -> Iterator[str]:
    """Every place of a module that may fork."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(name.split(".")[0] in ("multiprocessing", "billiard", "loky") for name in names):
                yield f"{path.name}:{node.lineno} imports multiprocessing"
        if isinstance(node, ast.Attribute) and node.attr in ("fork", "forkpty"):
            yield f"{path.name}:{node.lineno} forks"
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = {keyword.arg for keyword in node.keywords}
            if "preexec_fn" in given:
                yield f"{path.name}:{node.lineno} runs Python between fork and exec"
            if name in _MAKERS and _MAKERS[name] not in given:
                yield f"{path.name}:{node.lineno} makes processes without {_MAKERS[name]}"


def test_no_module_forks() -> None:
    modules = [path for room in _ROOMS for path in (_ROOT / room).rglob("*.py")]
    assert len(modules) > 200
    assert [place for path in modules if path != _ROOT / "wsi" / "processes.py" for place in forks(path)] == []


def blurred(side: int) -> float:
    """What waited for ever in a forked child: OpenCV's threads, after the parent's had worked."""
    cv2.setNumThreads(2)
    return float(cv2.GaussianBlur(np.full((side, side), 7, np.uint8), (0, 0), 3).mean())


def test_a_child_uses_opencv_after_its_parent_did() -> None:
    assert blurred(2000) == 7
    with ProcessPoolExecutor(2, mp_context=processes.fresh("cv2")) as pool:
        assert [*pool.map(blurred, [2000] * 4, timeout=60)] == [7] * 4
