"""Is a file read or refused as it should be? Asked of a child process, which may hang, crash or eat memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

LIMIT_S = 5
LIMIT_BYTES = 1 << 30
_ROOT = Path(__file__).parents[2]
_TRACE_CHARS = 1500


@dataclass(frozen=True)
class Verdict:
    """outcome: "read", "refused" or "violation"; detail: the refusal's line, or what is wrong."""

    outcome: str
    detail: str = ""

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps([self.outcome, self.detail])


class Prober:
    """A child that reads files one by one, and is started anew where one kills it.

    warm: healthy files of the kinds to come, so that libraries loaded late do not count as a file's memory.
    command: arguments of the interpreter.
    """

    def __init__(self, warm: Sequence[Path] = (), command: Sequence[str] = ("-m", "tests.fuzzing.child")) -> None:
        self._warm = warm
        self._command = command
        self._child: subprocess.Popen[str] | None = None
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115

    def probe(self, path: Path) -> Verdict:
        """What becomes of `path`. A violation: another exception, a hang, a crash, too much memory, a bad message."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{path}\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        if answer:
            return Verdict(*json.loads(answer))
        status = child.wait()
        self._child = None
        self._errors.seek(0)
        trace = self._errors.read()[-_TRACE_CHARS:]
        how = f"killed by signal {-status}" if status < 0 else f"no answer in {LIMIT_S} s (exit {status})"
        return Verdict("violation", f"{how}\n{trace}")

    def _start(self) -> subprocess.Popen[str]:
        self._errors.seek(0)
        self._errors.truncate()
        self._child = subprocess.Popen(
            [sys.executable, *self._command],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._child.stdin is not None
        self._child.stdin.write("".join(f"{path}\n" for path in self._warm) + "\n")
        return self._child

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.communicate()
            self._child = None
        self._errors.close()

    def __enter__(self) -> Prober:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
