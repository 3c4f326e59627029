"""What all sections of the configuration have in common."""

from __future__ import annotations

import os
import re
from types import NoneType
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipelines.cohort.names import name_fault

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
_NULL_WORDS = ("none", "null")


def _expanded(value: str) -> str:
    """`${NAME}` replaced from the environment, `~` by the home folder; a NAME that is not set is an error."""
    unset = [name for name in re.findall(r"\$\{(\w+)\}", value) if name not in os.environ]
    if unset:
        raise ValueError(f"the environment variable {', '.join(unset)} is not set; export it, or write the path out")
    path = os.path.expanduser(re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], value))
    if fault := name_fault(path):
        raise ValueError(fault)
    if path.lower() in _NULL_WORDS:
        raise ValueError(f"'{value}' would be a file of that name; leave the key out, or write ./{value}")
    return path


def _folder_name(value: str) -> str:
    if value in (".", ".."):
        raise ValueError(f"'{value}' is the folder itself or the one above; give a name")
    return value


PathText = Annotated[str, AfterValidator(_expanded)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=100), AfterValidator(_folder_name)]


class Section(BaseModel):
    """A part of the configuration; frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_written_null(cls, raw: Any) -> Any:
        """YAML's word for nothing is null; `none` is a text, and would be a class or a file of that name."""
        for key, value in raw.items() if isinstance(raw, dict) else ():
            field = cls.model_fields.get(key)
            may_be_null = field is not None and NoneType in get_args(field.annotation)
            if may_be_null and isinstance(value, str) and value.strip().lower() in _NULL_WORDS:
                raise ValueError(f"`{key}: {value}` is a text in YAML; write null, or leave the key out")
        return raw
