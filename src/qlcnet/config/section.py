"""What every section of params.yaml is: immutable, and an unknown key is an error."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]  # becomes a folder, a DVC target and an MLflow tag


def _without_dot(name: str) -> str:
    if "." in name:
        raise ValueError(f"the name of a task has no dot, at which DVC cuts keys; write {name.replace('.', '-')}")
    return name


TaskName = Annotated[Name, AfterValidator(_without_dot)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A section of params.yaml: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
