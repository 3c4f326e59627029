"""A local registry of models: colon-9@3 is the third that was added as colon-9; plain colon-9 is the promoted one.

<root>/<name>/<version>/   the model's folder, as `tesela train` wrote it; never changed once it is there
<root>/<name>/promoted     the version that the plain name means

The root is $TESELA_MODELS, else ~/.tesela/models. Without torch, so that a workflow that only looks up a folder starts
at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi.atomic import writing
from wsi.digest import sha256_of
from wsi.errors import InputError, TakenError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFERENCE = re.compile(rf"({_NAME.pattern})(?:@(\d+))?")
_DESCRIPTION, _WEIGHTS, _PROMOTED = "model.json", "model.safetensors", "promoted"
_KEYS = ("architecture", "tile", "classes", "weights_sha256")  # without them it is no model


@dataclass(frozen=True)
class Entry:
    """A version of a model; `description` is what its model.json says."""

    name: str
    version: int
    folder: Path
    promoted: bool
    description: dict[str, Any]

    @property
    def reference(self) -> str:
        """What names it for good."""
        return f"{self.name}@{self.version}"


def default_root() -> Path:
    """Where models are registered on this machine."""
    return Path(os.environ.get("TESELA_MODELS") or "~/.tesela/models").expanduser()


def model_folder(given: str | Path, root: Path | None = None) -> Path:
    """The folder of a model that is named by its path, or as name or name@version in the registry.

    A folder goes before a registered name. Raises InputError where there is neither.
    """
    path = Path(given)
    found = _REFERENCE.fullmatch(str(given))
    if path.is_dir() or found is None:
        return path
    registry = Registry(root or default_root())
    if not registry.versions(found[1]):
        raise InputError(
            f"{given}: no such model folder, and no model of that name in {registry.root}; "
            "`tesela models list` lists those there are"
        )
    return registry.entry(found[1], int(found[2]) if found[2] else None).folder


def name_of(folder: Path) -> str:
    """What people call the model in `folder`: name@version of a registered one, else as its folder is named."""
    whole = folder.absolute()
    registered = whole.parent.parent == default_root().absolute() and whole.name.isdigit()
    return f"{whole.parent.name}@{whole.name}" if registered else whole.name


class Registry:
    """The models under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Of all models, sorted."""
        return sorted(path.name for path in self.root.glob("*") if path.is_dir() and _NAME.fullmatch(path.name))

    def versions(self, name: str) -> list[int]:
        """Of one model, the first one first."""
        return sorted(int(path.name) for path in (self.root / name).glob("*") if path.name.isdigit())

    def entries(self) -> tuple[list[Entry], list[InputError]]:
        """Every version of every model; and what is wrong with those that are damaged."""
        found, faults = [], []
        for name in self.names():
            for version in self.versions(name):
                try:
                    found.append(self.entry(name, version))
                except InputError as error:
                    faults.append(error)
        return found, faults

    def entry(self, name: str, version: int | None = None) -> Entry:
        """One version; None: the promoted one. Raises InputError where it is not there."""
        versions, promoted = self.versions(name), self._promoted(name)
        wanted = promoted if version is None else version
        if wanted is None:
            raise InputError(
                f"{name}: no version is promoted; name one ({_listed(name, versions)}), or promote it: "
                f"tesela models promote {name}@{versions[-1] if versions else 1}"
            )
        if wanted not in versions:
            raise InputError(f"{name}@{wanted}: no such model in {self.root}; there are {_listed(name, versions)}")
        folder = self.root / name / str(wanted)
        return Entry(name, wanted, folder, wanted == promoted, _description(folder))

    def add(self, folder: Path, name: str) -> Entry:
        """Copy a model's folder in, as the next version of `name`; the same weights are there once only.

        Raises InputError for a model that is not whole: a version is never changed once it is there.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot name a model; use letters, digits, dot, dash and underscore")
        digest = _description(folder)["weights_sha256"]
        if not (folder / _WEIGHTS).is_file():
            raise InputError(f"{folder}: {_DESCRIPTION} is there, but {_WEIGHTS} is missing; copy both files")
        if sha256_of(folder / _WEIGHTS) != digest:
            raise InputError(f"{folder / _WEIGHTS}: not the weights that {_DESCRIPTION} is of; copy both files again")
        while True:
            for known in self.entries()[0]:
                if known.name == name and known.description["weights_sha256"] == digest:
                    return known
            version = max(self.versions(name), default=0) + 1
            # Somebody else may add the same version at this moment, and then the next one is ours.
            with suppress(TakenError):
                with writing(self.root / name / str(version)) as temporary:
                    shutil.copytree(folder, temporary)
                return self.entry(name, version)

    def promote(self, name: str, version: int) -> Entry:
        """Let the plain name mean this version."""
        self.entry(name, version)
        with writing(self.root / name / _PROMOTED) as temporary:
            temporary.write_text(f"{version}\n", "utf-8")
        return self.entry(name, version)

    def _promoted(self, name: str) -> int | None:
        try:
            return int((self.root / name / _PROMOTED).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None


def parse_reference(text: str) -> tuple[str, int]:
    """name@version. Raises InputError for anything else."""
    found = _REFERENCE.fullmatch(text)
    if found is None or found[2] is None:
        raise InputError(f"{text!r}: give a model as name@version, such as colon-9@2")
    return found[1], int(found[2])


def _listed(name: str, versions: list[int]) -> str:
    return ", ".join(f"{name}@{version}" for version in versions) or "none"


def _description(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{folder}: no {_DESCRIPTION} in it, so it is not a model; `tesela train` writes one"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / _DESCRIPTION}: not JSON ({error}); copy the model again") from error
    if not isinstance(found, dict):
        raise InputError(f"{folder / _DESCRIPTION}: not the description of a model; copy the model again")
    if missing := [key for key in _KEYS if key not in found]:
        raise InputError(f"{folder / _DESCRIPTION}: {', '.join(missing)} missing; copy the model again")
    return found
