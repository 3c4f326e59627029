"""YAML files, read strictly: a key that is given twice is an error, where YAML takes the last without a word."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from wsi.errors import InputError


class _Strict(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML says no types
    """Refuses a key that a mapping has already; `<<` may be overruled, as it is made for that."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                twice = f"in line {line}" if line == lines[key.value] else f"in lines {lines[key.value]} and {line}"
                raise yaml.YAMLError(f"the key '{key.value}' is given twice, {twice}")
            lines[key.value] = line
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def read_yaml(path: Path) -> object:
    """What a YAML file says. Raises InputError where it cannot be read, is no YAML, or gives a key twice."""
    try:
        return yaml.load(path.read_text("utf-8"), _Strict)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from error
