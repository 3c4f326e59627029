"""Who belongs to whom: what is made of a slide carries its fingerprint and the digests of what it was made of.

In tables (Parquet) both stand in the metadata: `tesela.slide`, the fingerprint of the slide (`wsi.fingerprint`), and
`tesela.made_of`, a JSON object of names and digests. GeoJSON has them in its member "tesela", pictures as texts, Zarr
in its attributes. A version of Tesela is no part of it: these digests decide what is up to date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from wsi.errors import InputError, MismatchError

_SLIDE, _MADE_OF = b"tesela.slide", b"tesela.made_of"


def with_provenance(table: pa.Table, slide: str, made_of: Mapping[str, str]) -> pa.Table:
    """The table of the slide of that fingerprint, with what it was made of beside what its metadata says of that."""
    metadata = table.schema.metadata or {}
    entries = {_SLIDE: slide, _MADE_OF: json.dumps({**made_of_table(table), **made_of}, sort_keys=True)}
    return table.replace_schema_metadata({**metadata, **entries})


def slide_of_table(table: pa.Table | pa.Schema) -> str:
    """The fingerprint of the slide that a table is of; "" where it does not say."""
    return _metadata(table).get(_SLIDE, b"").decode()


def made_of_table(table: pa.Table | pa.Schema) -> dict[str, str]:
    """What a table was made of; empty where it does not say."""
    made_of: dict[str, str] = json.loads(_metadata(table).get(_MADE_OF, b"{}"))
    return made_of


def _metadata(table: pa.Table | pa.Schema) -> dict[bytes, bytes]:
    schema = table if isinstance(table, pa.Schema) else table.schema
    return schema.metadata or {}


def require_slide(path: Path, recorded: str, slide: str, name: str) -> None:
    """Raise where `path` was not made of the slide of the fingerprint `slide`, which messages call `name`.

    recorded: what the file says. MismatchError where that is another slide, InputError where it says nothing.
    """
    if not recorded:
        raise InputError(f"{path}: does not say of which slide it is, as what Tesela writes now does; make it again")
    if recorded != slide:
        raise MismatchError(
            f"{path}: is of another slide (fingerprint {recorded[:12]}…) than {name} ({slide[:12]}…); "
            "make it again of this slide, or give the slide it is of"
        )
