"""What all sections of the configuration have in common."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


def _expanded(value: str) -> str:
    """`${NAME}` replaced from the environment; an unset one is an error, never an empty text."""
    unset = [name for name in re.findall(r"\$\{(\w+)\}", value) if name not in os.environ]
    if unset:
        raise ValueError(f"the environment variable {', '.join(unset)} is not set; export it, or write the path out")
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], value)


PathText = Annotated[str, AfterValidator(_expanded)]


class Section(BaseModel):
    """A part of the configuration; frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
