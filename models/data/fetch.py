"""Public data sets: downloaded, checked and unpacked, or said how, where there is no network."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pooch
from requests.exceptions import RequestException

from wsi.atomic import writing
from wsi.errors import InputError


@dataclass(frozen=True)
class PublicSet:
    """Archives of one publication. md5: archive → what the publication's record states of it; mpp: of all tiles."""

    doi: str
    licence: str
    mpp: float
    md5: dict[str, str]


# Kather, Halama, Marx 2018: colorectal cancer, nine classes, 224 px. Training tiles come with colours normalised
# (Macenko) and as they were (NONORM); CRC-VAL-HE-7K is of other patients.
NCT_CRC = PublicSet(
    "10.5281/zenodo.1214456",
    "CC BY 4.0",
    0.5,
    {
        "NCT-CRC-HE-100K.zip": "6fd702d11df6292bc054397ae038a464",
        "NCT-CRC-HE-100K-NONORM.zip": "035777cf327776a71a05c95da6d6325f",
        "CRC-VAL-HE-7K.zip": "2fd1651b4f94ebd818ebf90ad2b6ce06",
    },
)


class _Bar:
    """What pooch tells its progress to."""

    def __init__(self, told: Callable[[float], None]) -> None:
        self.total, self._done, self._told = 0, 0, told

    def update(self, count: int) -> None:
        self._done += count
        self._told(min(1.0, self._done / max(1, self.total)))

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def fetch(data: PublicSet, archives: Sequence[str], out: Path, told: Callable[[float], None] = lambda _: None) -> None:
    """Each archive as a folder of its name in `out`; what is there already is left alone.

    An archive that a person put into `out` is used (and kept) instead of a download. Raises InputError where one
    cannot be downloaded, with how to get it by hand, or is not what the publication states.
    """
    for number, name in enumerate(archives):
        folder = out / name.removesuffix(".zip")
        if folder.is_dir():
            continue
        archive = out / name
        given = archive.is_file()
        if given:
            _check(archive, data.md5[name])
        else:
            _download(data, archives[number:], out, _Bar(told))
        unpack(archive, folder)
        if not given:
            archive.unlink()


def _check(archive: Path, md5: str) -> None:
    found = pooch.file_hash(str(archive), alg="md5")
    if found != md5:
        raise InputError(
            f"{archive}: its MD5 is {found}, and the publication's {md5}: cut short, or another file; "
            "delete it and get it again"
        )


def _download(data: PublicSet, missing: Sequence[str], out: Path, bar: _Bar) -> None:
    """The first of the missing archives into `out`; pooch gives it its name when it is whole and its MD5 is right."""
    pooch.get_logger().setLevel("ERROR")
    source = pooch.create(out, f"doi:{data.doi}", registry={name: f"md5:{md5}" for name, md5 in data.md5.items()})
    try:
        source.fetch(missing[0], downloader=pooch.DOIDownloader(progressbar=bar))
    except (RequestException, ValueError) as error:
        raise InputError(
            f"{missing[0]} could not be downloaded ({type(error).__name__}); where there is a network, get "
            f"{', '.join(missing)} of DOI {data.doi}, put them into {out} without unpacking them, and run this again"
        ) from error


def unpack(archive: Path, folder: Path) -> None:
    """What the archive holds below its one folder, as `folder`: whole, or not at all.

    Raises InputError where it is damaged or laid out otherwise.
    """
    try:
        with zipfile.ZipFile(archive) as opened, writing(folder) as temporary:
            for member in opened.infolist():
                inside = PurePosixPath(member.filename)
                if inside.parts[0] != archive.stem or ".." in inside.parts:
                    raise InputError(
                        f"{archive}: {member.filename} is not in a folder {archive.stem}; unpack it by hand"
                    )
                path = temporary.joinpath(*inside.parts[1:])
                if member.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive}: not a whole zip archive ({error}); get it again") from error
