"""Models by name: models add, list, promote, remove; and seal, for one that was changed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from models.naming import default_root
from models.registry import Entry, Registry, parse_reference
from pipelines.commands.app import AsJson, app, show, show_json
from pipelines.console import err

models = typer.Typer(
    no_args_is_help=True,
    help="Models by name, wherever a command or a configuration takes a model: `colon-9@2`, or `colon-9` for the "
    "promoted version. They are kept in $TESELA_MODELS, else in ~/.tesela/models.",
)
app.add_typer(models, name="models")


@models.command("add")
def add(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="folder that `tesela train` wrote", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="its name; the version is the next number")],
    as_json: AsJson = False,
) -> None:
    """Copy a model into the registry as the next version of NAME. A model that means the same gets no second version.

    It is loaded first: what `tesela predict` would refuse is no version. A number is never given twice.
    """
    entry = Registry(default_root()).add(model, name)
    return show_json(_row(entry)) if as_json else err.print(f"{entry.reference} · {entry.folder}")


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Every version, what it was trained on, and how it did; the promoted one is marked."""
    entries, faults = Registry(default_root()).entries()
    for fault in faults:
        err.print(f"warning: {fault}")
    rows = [_row(entry) for entry in entries]
    if as_json:
        return show_json(rows)
    table = Table("model", "", "network", "tile", "classes", "test", "validation")
    for row in rows:
        table.add_row(
            row["model"],
            "promoted" if row["promoted"] else "",
            row["architecture"],
            f"{row['size_px']} px, {row['mpp']:g} mpp",
            ", ".join(row["classes"]),
            *("–" if row[on] is None else f"{row[on]:.3f}" for on in ("test", "val")),
        )
    return show(table)


@models.command("promote")
def promote(reference: Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)]) -> None:
    """Let the plain name mean this version. Runs that name the model so are predicted anew."""
    entry = Registry(default_root()).promote(*parse_reference(reference))
    err.print(f"{entry.name} is now {entry.reference}")


@models.command("remove")
def remove(
    reference: Annotated[str, typer.Argument(metavar="NAME@VERSION", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="also the promoted version: NAME then means none")] = False,
) -> None:
    """Delete a version. Its number is not given again, and what names it is refused from now on."""
    name, version = parse_reference(reference)
    was_promoted = Registry(default_root()).remove(name, version, force=force)
    err.print(f"removed {reference}{f'; {name} means no version now' if was_promoted else ''}")


@models.command("seal")
def seal(
    model: Annotated[Path, typer.Argument(metavar="FOLDER", help="model that was changed by hand", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Accept what a model.json says now, such as another threshold, as a new model with a digest of its own.

    The folder is loaded first, and left as it is where that fails. The figures in it stay those of the model before.
    """
    from models.checkpoint import seal_checkpoint

    found = seal_checkpoint(model)
    if as_json:
        return show_json({"digest_before": found.before, "digest": found.now, "changed": list(found.changed)})
    return err.print(f"{model}: {found.text}")


def _row(entry: Entry) -> dict[str, Any]:
    """test, val: balanced accuracy, None where it was not measured."""
    said = entry.description
    trained = said.get("provenance", {})
    return {
        "model": entry.reference,
        "promoted": entry.promoted,
        "folder": str(entry.folder),
        "digest": said.get("digest"),
        "architecture": said["architecture"],
        "size_px": said["tile"]["size_px"],
        "mpp": said["tile"]["mpp"],
        "classes": said["classes"],
        **{on: (trained.get(on) or {}).get("balanced_accuracy") for on in ("test", "val")},
    }
