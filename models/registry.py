"""A local registry of models: colon-9@3 is the third that was added as colon-9; plain colon-9 is the promoted one.

<root>/<name>/<version>/          the model's folder, as `tesela train` wrote it; never changed once it is there
<root>/<name>/promoted            the version that the plain name means, and its digest
<root>/.added/<name>/<version>    the digest of what was added; it stays when a version goes, so that no number is given
                                  twice

The root is $TESELA_MODELS, else ~/.tesela/models. Only `add` needs torch, so that a workflow that looks up a folder
starts at once.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.description import DESCRIPTION, digest_of, read_description, sealed
from models.naming import default_root, is_registered
from wsi.atomic import write_json, writing
from wsi.errors import InputError
from wsi.files import remove

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFERENCE = re.compile(rf"({_NAME.pattern})(?:@(\d+))?")
_PROMOTED, _ADDED = "promoted", ".added"


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


def model_folder(given: str | Path, root: Path | None = None) -> Path:
    """The folder of a model that is named by its path, or as name or name@version in the registry.

    A folder goes before a registered name. Raises InputError where there is neither, or a registered version is not
    what was added.
    """
    path = Path(given)
    found = _REFERENCE.fullmatch(str(given))
    if path.is_dir() and is_registered(path):
        return Registry(default_root()).entry(path.absolute().parent.name, int(path.absolute().name)).folder
    if path.is_dir() or found is None:
        return path
    registry = Registry(root or default_root())
    if not registry.versions(found[1]):
        raise InputError(
            f"{given}: no such model folder, and no model of that name in {registry.root}; "
            "`tesela models list` lists those there are"
        )
    return registry.entry(found[1], int(found[2]) if found[2] else None).folder


class Registry:
    """The models under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Of all models, sorted."""
        return sorted(path.name for path in self.root.glob("*") if path.is_dir() and _NAME.fullmatch(path.name))

    def versions(self, name: str) -> list[int]:
        """Of one model, the first one first."""
        return _numbers(self.root / name)

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
        """One version; None: the promoted one.

        Raises InputError where it is not there, or is not what was added or promoted under that number.
        """
        versions, (promoted, promoted_digest) = self.versions(name), self._promoted(name)
        wanted = promoted if version is None else version
        if wanted is None:
            raise InputError(
                f"{name}: no version is promoted; name one ({_listed(name, versions)}), or promote it: "
                f"tesela models promote {name}@{versions[-1] if versions else 1}"
            )
        if wanted not in versions:
            raise InputError(f"{name}@{wanted}: no such model in {self.root}; there are {_listed(name, versions)}")
        folder = self.root / name / str(wanted)
        description = read_description(folder)
        given = {"added": _text(self._mark(name, wanted))}
        if wanted == promoted:
            given["promoted"] = promoted_digest
        for how, digest in given.items():
            if digest and digest != digest_of(description):
                raise InputError(
                    f"{name}@{wanted}: {folder} is not what was {how} ({digest[:12]}…): its {DESCRIPTION} now means "
                    f"{digest_of(description)[:12]}…; put back what was there, or add the other one as a new version"
                )
        return Entry(name, wanted, folder, wanted == promoted, description)

    def add(self, folder: Path, name: str) -> Entry:
        """Copy a model's folder in, as the next version of `name`; a model that means the same is there once only.

        One without a digest gets it there. Raises InputError for whatever `load_checkpoint` refuses: a version is never
        changed once it is there.
        """
        from models.checkpoint import load_checkpoint  # torch, for this alone

        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot name a model; use letters, digits, dot, dash and underscore")
        description = read_description(folder)
        load_checkpoint(folder)
        digest = digest_of(description)
        for known in self.entries()[0]:
            if known.name == name and digest_of(known.description) == digest:
                return known
        version = self._reserved(name)
        with writing(self.root / name / str(version)) as temporary:
            shutil.copytree(folder, temporary)
            if description.get("digest") is None:
                write_json(temporary / DESCRIPTION, sealed(description))
            _write_text(self._mark(name, version), digest)
        return self.entry(name, version)

    def promote(self, name: str, version: int) -> Entry:
        """Let the plain name mean this version."""
        digest = digest_of(self.entry(name, version).description)
        _write_text(self.root / name / _PROMOTED, f"{version} {digest}")
        return self.entry(name, version)

    def remove(self, name: str, version: int, *, force: bool = False) -> bool:
        """Delete a version; its number is not given again. Returns whether it was the promoted one.

        Raises InputError where it is not there; or is promoted, and not `force`: the plain name then means nothing.
        """
        versions, (promoted, _) = self.versions(name), self._promoted(name)
        if version not in versions:
            raise InputError(f"{name}@{version}: no such model in {self.root}; there are {_listed(name, versions)}")
        if version == promoted and not force:
            raise InputError(
                f"{name}@{version} is promoted: {name} means it; promote another version first, or remove it with "
                f"--force, and {name} will mean none"
            )
        if version == promoted:
            remove(self.root / name / _PROMOTED)
        folder = self.root / name / str(version)
        hidden = folder.with_name(f".{version}.{os.getpid()}.removed")
        os.replace(folder, hidden)  # gone at once: nobody loads half of it
        remove(hidden)
        return version == promoted

    def _reserved(self, name: str) -> int:
        """The next number of `name`, taken by making its mark: of two who add at once each gets one of its own."""
        marks = self._mark(name, 0).parent
        marks.mkdir(parents=True, exist_ok=True)
        number = max(*self.versions(name), *_numbers(marks), self._promoted(name)[0] or 0, 0)
        while True:
            number += 1
            try:
                self._mark(name, number).touch(exist_ok=False)
            except FileExistsError:
                continue
            return number

    def _mark(self, name: str, version: int) -> Path:
        return self.root / _ADDED / name / str(version)

    def _promoted(self, name: str) -> tuple[int | None, str]:
        """The number and the digest; no digest where it was promoted before there were digests."""
        number, _, digest = _text(self.root / name / _PROMOTED).partition(" ")
        return (int(number) if number.isdecimal() else None), digest


def parse_reference(text: str) -> tuple[str, int]:
    """name@version. Raises InputError for anything else."""
    found = _REFERENCE.fullmatch(text)
    if found is None or found[2] is None:
        raise InputError(f"{text!r}: give a model as name@version, such as colon-9@2")
    return found[1], int(found[2])


def _listed(name: str, versions: list[int]) -> str:
    return ", ".join(f"{name}@{version}" for version in versions) or "none"


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (FileNotFoundError, ValueError):
        return ""


def _write_text(path: Path, text: str) -> None:
    with writing(path) as temporary:
        temporary.write_text(f"{text}\n", "utf-8")
