"""What a model says it is: model.json, read, and held against its digest. Without torch: look-ups start at once.

The digest is SHA-256 over what decides a tile's score and its name (`MEANING`) and over the weights' own SHA-256, so
that a model in which somebody swaps two classes is another model, though its weights are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi.errors import InputError

FORMAT = "tesela-checkpoint/1"
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
MEANING = ("architecture", "classes", "tile", "mean", "std", "temperature", "thresholds", "stain", "tta")
_NEEDED = ("architecture", "tile", "classes", "weights_sha256")  # without them it is no model
_PART_DIGITS = 12
# Said of a model without one, written before there were digests.
NO_DIGEST = (
    "it has no digest, so that nobody would notice if somebody changed its classes or thresholds; "
    "`tesela models seal FOLDER` gives it one"
)


def read_description(folder: Path) -> dict[str, Any]:
    """What `folder`/model.json says, its digest not looked at. Raises InputError, in one line, if that is no model."""
    path = folder / DESCRIPTION
    if not folder.exists():
        raise InputError(f"{folder}: no such model folder; `tesela train` writes one")
    if not path.is_file():
        raise InputError(f"{folder}: no {DESCRIPTION} in it, so it is not a model; `tesela train` writes one")
    try:
        description = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not JSON ({' '.join(str(error).split())[:160]}); copy the model again") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        kind = description.get("format") if isinstance(description, dict) else type(description).__name__
        raise InputError(f"{path}: its format is {kind!r}, not {FORMAT!r}; use a model that `tesela train` wrote")
    if missing := [key for key in _NEEDED if key not in description]:
        raise InputError(f"{path}: is missing {', '.join(missing)}; copy the model again")
    return description


def digest_of(description: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of what a description means now, whatever digest it states."""
    return _sha256({"weights_sha256": description.get("weights_sha256"), **_meaning(description)})


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description with the digest of what it means now, and a short one of each part, to name what was altered."""
    parts = {name: _sha256(value)[:_PART_DIGITS] for name, value in _meaning(description).items()}
    return {**description, "digest": digest_of(description), "digest_parts": parts}


def altered_parts(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys that do not mean what was sealed; none where all is as it was, or was never sealed."""
    stated = description.get("digest")
    if stated is None or stated == digest_of(description):
        return ()
    before, now = description.get("digest_parts"), sealed(description)["digest_parts"]
    known = before if isinstance(before, dict) else {}
    parts = tuple(name for name in MEANING if known and known.get(name) != now.get(name))
    return parts or ("weights_sha256 or digest",)


def refuse_altered(path: Path, description: Mapping[str, Any]) -> None:
    """Raise InputError where model.json (`path`) no longer means what it did when its digest was made."""
    if parts := altered_parts(description):
        raise InputError(
            f"{path}: {DESCRIPTION} was altered after training ({', '.join(parts)}): its digest is "
            f"{str(description['digest'])[:12]}…, what it says now has {digest_of(description)[:12]}…; copy the model "
            "again, train or calibrate again, or `tesela models seal FOLDER` to accept what it says now as a new model"
        )


def _meaning(description: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there, so that a key of tomorrow leaves the digests of today as they are."""
    return {name: description[name] for name in MEANING if description.get(name) is not None}


def _sha256(value: Any) -> str:
    text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """1 and 1.0 are one number, written so that no digit of it is lost (Python's shortest that reads back the same)."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return float(value)
    return value
