"""What lies in class folders: every file is a tile, or counted among what is left out."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.data.cases import SHEET
from models.data.sets import list_some
from wsi.errors import InputError
from wsi.hidden import is_hidden
from wsi.names import alike_notes, class_name

# What Pillow reads as one picture of 8 bits a channel.
ENDINGS = frozenset(
    {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".jp2", ".j2k"},
)
HIDDEN = "hidden or of the system"
BESIDE = "beside the class folders"
_NO_ENDING = "no ending"


@dataclass(frozen=True)
class Listing:
    """images: class → its files, both sorted by name. left_out: class, or BESIDE, → ending, or HIDDEN, → files.

    notes: what a person should know, such as two folders that are taken for one class.
    """

    images: Mapping[str, tuple[Path, ...]]
    left_out: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]


def list_folder(root: Path) -> Listing:
    """The images below `root`/<class>/. Folders whose names differ in what nobody sees (spaces) are one class.

    Raises InputError where the folder is missing, has no class folders, some of them hold no image, folders of images
    or what is named as one and is no file.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give one with a sub-folder of images per class")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))
    if not folders:
        raise InputError(f"{root}: no class folders in it; make one sub-folder of images per class")
    images: dict[str, tuple[Path, ...]] = {}
    left_out: dict[str, Counter[str]] = defaultdict(Counter)
    empty = []
    for folder in folders:
        name, own = _class_of(folder), _images(folder)
        images[name] = (*images.get(name, ()), *own)
        others = _others(folder, own)
        left_out[name] += others
        if not own:
            empty.append(folder.name + (f" (it holds {_counted(others)})" if others else ""))
    if empty:
        raise InputError(
            f"{root}: no images ({', '.join(sorted(ENDINGS))}) in class folder {', '.join(empty)}; "
            "add some or remove the folder"
        )
    left_out[BESIDE] = _beside(root)
    kept = {name: dict(sorted(counts.items())) for name, counts in left_out.items() if counts}
    notes = (*_merged(folders), *alike_notes(images), *_left_out(kept))
    return Listing({name: images[name] for name in sorted(images)}, kept, notes)


def _class_of(folder: Path) -> str:
    return class_name(folder.name) or folder.name


def _images(folder: Path) -> list[Path]:
    """Files that are named as images, sorted; raises InputError where something so named is no file."""
    named = sorted(path for path in folder.iterdir() if _is_image(path.name))
    if lost := [path.name for path in named if not path.is_file()]:
        raise InputError(
            f"{folder}: links to nothing, or folders, named as images: {list_some(lost, ', ')}; remove them"
        )
    _refuse_images_below(folder)
    return named


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in ENDINGS and not is_hidden(name)


def _refuse_images_below(folder: Path) -> None:
    """Folders in a class folder (a case each, often) would otherwise be left out of all figures without a word."""
    counts = {
        below.name: sum(_is_image(path.name) for path, hidden in _files(below) if not hidden)
        for below in sorted(folder.iterdir())
        if below.is_dir() and not is_hidden(below.name)
    }
    if told := [f"{name} ({count} images)" for name, count in counts.items() if count]:
        raise InputError(
            f"{folder}: images in folders within a class folder: {list_some(told, ', ')}; move them up into "
            f"{folder.name}, and where these folders are cases, put the case into each file's name or into {SHEET}"
        )


def _files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Every file in and below `folder`, and whether it, or a folder it lies in below there, is hidden."""
    for place, _, names in os.walk(folder):
        hidden = any(is_hidden(part) for part in Path(place).relative_to(folder).parts)
        for name in names:
            yield Path(place, name), hidden or is_hidden(name)


def _others(folder: Path, images: Sequence[Path]) -> Counter[str]:
    taken = set(images)
    return Counter(_kind(path, hidden) for path, hidden in _files(folder) if path not in taken)


def _beside(root: Path) -> Counter[str]:
    """Files in no class folder; the sheet of cases is not left out."""
    found: Counter[str] = Counter()
    for path in root.iterdir():
        if path.is_dir():
            found[HIDDEN] += sum(1 for _ in _files(path)) if is_hidden(path.name) else 0
        elif path.name != SHEET:
            found[_kind(path, is_hidden(path.name))] += 1
    return +found


def _kind(path: Path, hidden: bool) -> str:
    return HIDDEN if hidden else path.suffix.lower() or _NO_ENDING


def _merged(folders: Sequence[Path]) -> Iterator[str]:
    by_class: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        by_class[_class_of(folder)].append(folder.name)
    for name, same in by_class.items():
        if len(same) > 1:
            yield f"folders {', '.join(map(repr, same))} are taken for one class, {name!r}"


def _left_out(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """A sentence on what was left out; hidden files need none."""
    meant = {name: {kind: n for kind, n in kinds.items() if kind != HIDDEN} for name, kinds in counts.items()}
    if said := [f"{name}: {_counted(kinds)}" for name, kinds in meant.items() if kinds]:
        total = sum(sum(kinds.values()) for kinds in meant.values())
        yield f"{total} files are left out, since they do not end as images do: {list_some(said)}"


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
