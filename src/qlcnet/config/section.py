"""What every section of params.yaml is: immutable, and an unknown key is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

# becomes a folder, a DVC target and an MLflow tag
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]


def _without_dot(name: str) -> str:
    if "." in name:
        raise ValueError(f"the name of a task has no dot, at which DVC cuts keys; write {name.replace('.', '-')}")
    return name


TaskName = Annotated[Name, AfterValidator(_without_dot)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A section of params.yaml: immutable, and an unknown key is an error."""

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_a_number(cls, values: Any) -> Any:
        """pydantic would take `true` for 1 and "10" for 10."""
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if not isinstance(value, bool | str) or key not in cls.model_fields:
                continue
            kinds = set(_kinds(cls.model_fields[key].annotation))
            if kinds & {int, float} and type(value) not in kinds and _reads_as_number(value):
                raise ValueError(f"`{key}` should be a number (given {str(value)[:100]!r})")
        return values

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _kinds(annotation: Any) -> Iterator[type]:
    """Types that an annotation is made of; of a Literal the types of its values. A tuple's own are not looked into."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    elif getattr(annotation, "__origin__", None) not in (tuple, dict):
        for part in get_args(annotation):
            if isinstance(part, str | int | float | bool):
                yield type(part)
            else:
                yield from _kinds(part)


def _reads_as_number(value: bool | str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
