"""Every slide of a folder, once; everything else that lies there, counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.cohort.endings import ending_of, is_slide
from pipelines.cohort.intake import Intake
from wsi.hidden import is_hidden
from wsi.readers.dicom import dicom_series
from wsi.readers.parts import parts_of

# Endings of slides whose pixels lie in other files. Of TIFF only OME-TIFF is: nothing else is opened here.
_INDEX_ENDINGS = (".mrxs", ".vms", ".vmu")
_OME_ENDINGS = (".ome.tif", ".ome.tiff", ".ome.btf", ".ome.tf2", ".ome.tf8")


@dataclass
class Scan:
    """What lies in a folder. slides: (path as one walks to it, path that names it: of a DICOM series its folder).

    others: paths of files that are no slides by their ending. parts, links, hidden: see `Intake`.
    """

    slides: list[tuple[Path, Path]] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    parts: int = 0
    links: int = 0
    hidden: int = 0

    def intake(self, warnings: Iterable[str] = ()) -> Intake:
        """The counts."""
        left_out = dict(sorted(Counter(ending_of(path.name) for path in self.others).items()))
        seen = len(self.slides) + len(self.others) + self.parts + self.links + self.hidden
        return Intake("file", seen, len(self.slides), self.parts, self.links, self.hidden, left_out, tuple(warnings))


def scan(folder: Path) -> Scan:
    """Walk a folder and all below it, through links too, each folder and each file once.

    A file that is reached in several ways goes by its own name, else by the first of its links; system folders and
    hidden ones are not entered. Raises OSError where a folder cannot be read.
    """
    found = Scan()
    candidates: list[Path] = []
    for path in sorted(_files(folder, found)):
        (candidates if is_slide(path.name, folder=path.is_dir()) else found.others).append(path)
    _take_parts(candidates, found)
    groups = _grouped(candidates)
    found.slides = list(zip((group[0] for group in groups), _namings(groups, folder), strict=True))
    found.parts += len(candidates) - len(found.slides)
    return found


def _files(folder: Path, found: Scan) -> Iterator[Path]:
    """Every file and every OME-Zarr folder, once; what lies there without a link comes before what links lead to."""
    inside, linked_folders, linked_files = [folder], list[Path](), list[Path]()
    # A link that leads up would bring in all that lies beside the folder.
    entered = {str(above) for above in Path(os.path.realpath(folder)).parents}
    known: set[tuple[object, ...]] = set()
    while inside or linked_folders:
        here = inside.pop() if inside else linked_folders.pop(0)
        if (real := os.path.realpath(here)) in entered:
            found.links += 1
            continue
        entered.add(real)
        for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
            path = Path(entry.path)
            if is_hidden(entry.name):
                found.hidden += 1
            elif os.path.isdir(path) and not is_slide(entry.name, folder=True):  # False of a link to itself
                (linked_folders if entry.is_symlink() else inside).append(path)
            elif entry.is_symlink():
                linked_files.append(path)
            elif _is_new(path, known, found):
                yield path
        linked_folders.sort()
    for path in sorted(linked_files):
        if _is_new(path, known, found):
            yield path


def _is_new(path: Path, known: set[tuple[object, ...]], found: Scan) -> bool:
    """Whether a file was not met under another name: through a link, or a hard link."""
    real = os.path.realpath(path)
    keys: set[tuple[object, ...]] = {(real,)}
    if os.path.isfile(real) and (state := os.stat(real)).st_nlink > 1:
        keys.add((state.st_dev, state.st_ino))
    if known & keys:
        found.links += 1
        return False
    known |= keys
    return True


def _take_parts(candidates: Iterable[Path], found: Scan) -> None:
    """Count files as parts of a slide that an index beside them names, not as left out."""
    parts = {
        os.path.realpath(part)
        for path in candidates
        if path.suffix.lower() in _INDEX_ENDINGS and path.is_file()
        for part in parts_of(path.resolve())
    }
    if parts:
        others = [path for path in found.others if os.path.realpath(path) not in parts]
        found.parts += len(found.others) - len(others)
        found.others = others


def _grouped(candidates: Iterable[Path]) -> list[list[Path]]:
    """The files of each slide: DICOM by series, OME-TIFF by what the files say of one another, others alone."""
    dicom = [path for path in candidates if path.suffix.lower() == ".dcm" and path.is_file()]
    ome = [path for path in candidates if path.name.lower().endswith(_OME_ENDINGS) and path.is_file()]
    together = {*dicom, *ome}
    alone = [[path] for path in candidates if path not in together]
    return sorted([*alone, *dicom_series(dicom), *_ome_sets(ome)])


def _ome_sets(paths: Iterable[Path]) -> list[list[Path]]:
    """OME-TIFF files that name one another are one slide. One that was renamed names files that are not its own."""
    parts = {path: tuple(parts_of(path)) for path in paths}
    sets: dict[tuple[Path, ...], list[Path]] = {}
    for path, named in parts.items():
        mutual = tuple(part for part in named if parts.get(part) == named)
        sets.setdefault(mutual, []).append(path)
    return list(sets.values())


def _namings(groups: list[list[Path]], root: Path) -> list[Path]:
    """The path that each slide is named by: its file; of the only DICOM series of a folder that folder."""
    series = Counter(group[0].parent for group in groups if group[0].suffix.lower() == ".dcm")
    return [
        folder.with_name(f"{folder.name}.dcm")
        if len(group) > 1 and series[folder] == 1 and folder != root
        else group[0]
        for group, folder in ((group, group[0].parent) for group in groups)
    ]
