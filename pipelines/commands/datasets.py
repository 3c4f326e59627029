"""Data sets of tiles in class folders: fetch, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.table import Table

from pipelines.commands.app import AsJson, app, show, show_json
from pipelines.console import err, progress_bar
from wsi.errors import InputError

if TYPE_CHECKING:
    from models.data import FolderSet
    from models.data.survey import ClassSurvey

dataset = typer.Typer(no_args_is_help=True, help="Tiles in class folders to train on: fetch public ones, check any.")
app.add_typer(dataset, name="dataset")

CasePattern = Annotated[
    Optional[str],  # noqa: UP045 - Typer evaluates it at run time
    typer.Option(help="regular expression on the file name, with the case in its one ( ); or put a cases.csv there"),
]


@dataset.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="nct-crc", show_default=False)],
    out: Annotated[Path, typer.Option(help="folder to put its folders into")],
    no_norm: Annotated[
        bool, typer.Option("--no-norm", help="training tiles in their own colours, not normalised")
    ] = False,
) -> None:
    """Download a public data set, check it and unpack it; without a network, say which files to get.

    nct-crc: nine classes of colorectal tissue, 100,000 tiles to train on and 7,180 of other patients to test on,
    224 px at 0.5 mpp (Kather 2018, CC BY 4.0). 12.5 GB to download, about twice that while it is unpacked.
    """
    from models.data.fetch import NCT_CRC
    from models.data.fetch import fetch as fetch_archives

    if name != "nct-crc":
        raise InputError(f"no public data set {name!r} is known; there is nct-crc")
    train, test = f"NCT-CRC-HE-100K{'-NONORM' if no_norm else ''}", "CRC-VAL-HE-7K"
    with progress_bar(f"fetch {name}") as told:
        fetch_archives(NCT_CRC, [f"{train}.zip", f"{test}.zip"], out, told)
    err.print(f"train: {{folder: {out / train}, test_folder: {out / test}, source_mpp: {NCT_CRC.mpp}}}")


@dataset.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="a sub-folder of images per class")],
    source_mpp: Annotated[float, typer.Option(help="µm per px of the images; they do not say it", show_default=False)],
    test_folder: Annotated[Optional[Path], typer.Option(help="a test set: are slides or files in both?")] = None,  # noqa: UP045
    case_pattern: CasePattern = None,
    as_json: AsJson = False,
) -> None:
    """List classes, sizes, what is broken or left out, duplicates, tiles that touch, and cases. Faults: exit code 2.

    Tiles whose borders go on in one another are of one slide, whatever their names say.
    """
    from models.data import list_some, read_folder
    from models.data.duplicates import find_duplicates
    from models.data.one_slide import of_one_slide
    from models.data.survey import survey
    from models.splits import refuse_shared_cases

    tiles = read_folder(folder, source_mpp, case_pattern)
    sets = [tiles] if test_folder is None else [tiles, read_folder(test_folder, source_mpp, case_pattern)]
    surveys = []
    for each in sets:
        with progress_bar(f"check {each.root.name}") as told:
            surveys.append(survey(each, told))
    duplicates = find_duplicates(*sets)
    with progress_bar("look for tiles that touch") as told:
        touching = of_one_slide(sets, [found.borders for found in surveys], told)
    classes = surveys[0].classes
    of_folders = [f"{each.root}: {note}" for each in sets for note in each.notes]
    warnings = [*of_folders, *_notes(tiles, classes), *duplicates.warnings, *touching.warnings]
    if as_json:
        facts = {"duplicates": vars(duplicates), "touching": touching.counts, "warnings": warnings}
        show_json({**_facts(tiles, classes), **facts})
    else:
        show(_table(tiles, classes))
        show(touching.told)
        for line in warnings:
            err.print(f"warning: {line}")
    for other in sets[1:]:
        refuse_shared_cases(tiles, other)
    duplicates.refuse_contradictions()
    for each, found in zip(sets, surveys, strict=True):
        if found.broken:
            many = f"{len(found.broken)} of {len(each)} images cannot be used"
            raise InputError(f"{each.root}: {many}: {list_some(found.broken)}")


def _notes(tiles: FolderSet, classes: tuple[ClassSurvey, ...]) -> list[str]:
    """What a person should know before training."""
    notes = []
    if tiles.groups is None:
        notes.append(
            "no case ids: tiles of one patient may be on both sides of a split, and its figures flatter; "
            "give a cases.csv (file, case) or --case-pattern"
        )
    counts = {entry.name: entry.images for entry in classes}
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= 10 * counts[least]:
        notes.append(f"class {most} has {counts[most]} images, class {least} {counts[least]}; see train.balance")
    return notes


def _facts(tiles: FolderSet, classes: tuple[ClassSurvey, ...]) -> dict[str, Any]:
    return {
        "folder": str(tiles.root),
        "source_mpp": tiles.source_mpp,
        "images": len(tiles),
        "classes": {
            entry.name: {
                "images": entry.images,
                "sizes_px": [[*size, count] for size, count in entry.sizes.items()],
                "broken": dict(entry.broken),
            }
            for entry in classes
        },
        "left_out": tiles.left_out,
        "cases": len(set(tiles.groups)) if tiles.groups is not None else None,
        "sites": sorted(set(tiles.sites)) if tiles.sites is not None else None,
    }


def _table(tiles: FolderSet, classes: tuple[ClassSurvey, ...]) -> Table:
    """A row a class, and one of them all."""
    cases = "unknown" if tiles.groups is None else str(len(set(tiles.groups)))
    columns = ("class", "images", "cases", "sizes, px", "broken", "left out")
    table = Table(*columns, title=f"{tiles.root} · {tiles.source_mpp:g} mpp")
    for number, entry in enumerate(classes):
        of_class = {g for g, i in zip(tiles.groups or (), tiles.labels, strict=False) if i == number}
        sizes = ", ".join(f"{w} × {h}" + f" ({n})" * (len(entry.sizes) > 1) for (w, h), n in entry.sizes.items())
        known = str(len(of_class)) if tiles.groups is not None else ""
        others = "; ".join(f"{count} {kind}" for kind, count in entry.left_out.items())
        table.add_row(entry.name, f"{entry.images:,}", known, sizes, str(len(entry.broken) or ""), others)
    broken = sum(len(entry.broken) for entry in classes)
    table.add_section()
    left_out = sum(sum(kinds.values()) for kinds in tiles.left_out.values())  # also what lies beside the class folders
    table.add_row("all", f"{len(tiles):,}", cases, "", str(broken or ""), str(left_out or ""))
    return table
