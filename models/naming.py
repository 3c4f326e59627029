"""Where registered models lie on this machine, and what people call a model."""

from __future__ import annotations

import os
from pathlib import Path


def default_root() -> Path:
    """Where models are registered on this machine."""
    return Path(os.environ.get("TESELA_MODELS") or "~/.tesela/models").expanduser()


def is_registered(folder: Path) -> bool:
    """Whether the model in `folder` is a version in the registry of this machine."""
    whole = folder.absolute()
    return whole.parent.parent == default_root().absolute() and whole.name.isdecimal()


def name_of(folder: Path) -> str:
    """What people call the model in `folder`: name@version of a registered one, else as its folder is named."""
    whole = folder.absolute()
    return f"{whole.parent.name}@{whole.name}" if is_registered(folder) else whole.name
