"""Points that are done: a small file each, so that a pilot that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.atomic import write_json


@dataclass(frozen=True)
class Store:
    """Predictions by a key of all that they depend on. fingerprint: of the tiles; files of other tiles are not read."""

    folder: Path
    fingerprint: str

    def get(self, key: str, count: int) -> NDArray[np.int64] | None:
        """(count,) classes; None where they were not written, or the file is not whole."""
        try:
            values = json.loads(self._path(key).read_text("utf-8"))["predicted"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return np.array(values, np.int64) if len(values) == count else None

    def put(self, key: str, reader: str, predicted: NDArray[np.int64], seconds: float) -> None:
        """Write them, whole or not at all."""
        write_json(self._path(key), {"reader": reader, "seconds": round(seconds, 2), "predicted": predicted.tolist()})

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(f'{self.fingerprint} {key}'.encode()).hexdigest()[:24]}.json"
