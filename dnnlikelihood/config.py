"""Frozen configurations: valid from birth, JSON in and out, one fingerprint each."""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, Self

from .errors import ConfigError
from .jsonfiles import fingerprint

__all__ = ["Config", "require"]


def require(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence at every call
    """Raise ConfigError(message) unless the condition holds."""
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Parent of all configurations.

    A child is declared `@dataclass(frozen=True, slots=True, kw_only=True)` and states what it demands in
    `validate`, with `require`. Fields are numbers, strings, booleans, None, tuples or other configurations.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kind = getattr(field.type, "__name__", field.type)
            kind = f"a finite {kind}" if isinstance(value, float) and not math.isfinite(value) else kind
            require(_is(hints[field.name], value), f"{type(self).__name__}: {field.name} is {value!r}, expected {kind}")
        self.validate()

    def validate(self) -> None:
        """Raise ConfigError if a field has a value it cannot have."""

    def to_json(self) -> dict[str, Any]:
        """The configuration as a JSON object; `from_json` is its inverse."""
        return {f.name: _to_json(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Rebuild a configuration.

        Raises:
            ConfigError: unknown keys (named, with the known ones), or values `validate` refuses.
        """
        hints = typing.get_type_hints(cls)
        require(isinstance(value, dict), f"{cls.__name__} is a JSON object with fields {sorted(hints)}, got {value!r}")
        unknown = sorted(set(value) - set(hints))
        require(not unknown, f"{cls.__name__} has no fields {unknown}; it knows {sorted(hints)}")
        return cls(**{name: _from_json(hints[name], item) for name, item in value.items()})

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON."""
        return fingerprint(self.to_json())

    def replace(self, **changes: Any) -> Self:
        """The same configuration with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)


def _is(hint: Any, value: Any) -> bool:
    """Whether a value is what a field's type says; numbers must be finite, a list passes for a tuple."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, types.UnionType) or origin is typing.Union:
        return any(_is(option, value) for option in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple | list) and all(_is(inner[0], item) for item in value)
    if hint in (int, float):
        number = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool) and math.isfinite(value)
    return not isinstance(hint, type) or isinstance(value, hint)


def _to_json(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_json()
    return [_to_json(v) for v in value] if isinstance(value, tuple) else value


def _from_json(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if isinstance(hint, type) and issubclass(hint, Config):
        return hint.from_json(value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = typing.get_args(hint)[0]
        return tuple(_from_json(inner, item) for item in value)
    return value
