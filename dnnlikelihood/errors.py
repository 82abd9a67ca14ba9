"""Every error the package raises on purpose; one parent, so that one `except` catches them all.

A message says what is wrong, where, and how to mend it. Where a number is the evidence (a fit, an
autocorrelation time) the exception carries it as an attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "ArtifactExists",
    "ConfigError",
    "CorruptFile",
    "DnnLikelihoodError",
    "DomainError",
    "IntegrityError",
    "LikelihoodError",
    "Locked",
    "MissingArtifact",
    "MissingDependency",
    "NotConverged",
    "NotSerializable",
    "ParameterError",
    "SafetyError",
    "SaveFailed",
    "SchemaError",
    "ShapeError",
    "SingularFisher",
    "StaleArtifact",
    "TrainingError",
]


class DnnLikelihoodError(Exception):
    """Parent of all errors of this package."""


class ConfigError(DnnLikelihoodError, ValueError):
    """A configuration was given a value that it cannot have."""


class ParameterError(DnnLikelihoodError, ValueError):
    """Names, roles or bounds of parameters that make no parameter space."""


class ShapeError(DnnLikelihoodError, ValueError):
    """An array of the wrong shape, type or column order."""


class LikelihoodError(DnnLikelihoodError, ValueError):
    """A log-density returned something that is no log-density (NaN, +inf, a wrong shape)."""


class DomainError(DnnLikelihoodError, ValueError):
    """A question outside the region in which the answer is known."""


class NotConverged(DnnLikelihoodError):
    """A chain or a fit that did not converge; `evidence` holds the numbers that say so."""

    def __init__(self, message: str, evidence: Any = None) -> None:
        super().__init__(message)
        self.evidence = evidence


class SingularFisher(DnnLikelihoodError, ValueError):
    """An information matrix without inverse; `parameters` names those that the data cannot tell apart."""

    def __init__(self, message: str, parameters: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.parameters = tuple(parameters)


class TrainingError(DnnLikelihoodError):
    """Training was given data it cannot learn from, or its loss left the real numbers."""


class SchemaError(DnnLikelihoodError, ValueError):
    """A JSON document that does not follow its schema, or comes from a newer version."""


class CorruptFile(DnnLikelihoodError, OSError):
    """A file that is truncated or is not of the format its name promises."""


class SafetyError(DnnLikelihoodError):
    """A file that asks for something that reading a file must never do."""


class IntegrityError(DnnLikelihoodError):
    """A file whose sha256 is not the one in the manifest."""


class MissingArtifact(DnnLikelihoodError, FileNotFoundError):
    """A folder or file that should be there and is not."""


class ArtifactExists(DnnLikelihoodError, FileExistsError):
    """Saving would overwrite something and nobody allowed it."""


class SaveFailed(DnnLikelihoodError, OSError):
    """Saving was cut short (disk full, no permission); what stood there before is untouched."""


class Locked(DnnLikelihoodError):
    """Another process is working in this folder."""


class StaleArtifact(DnnLikelihoodError):
    """An artifact whose parents are not the ones it is used with."""


class NotSerializable(DnnLikelihoodError, TypeError):
    """An object that has no recipe from which it could be rebuilt, asked to save itself."""


class MissingDependency(DnnLikelihoodError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""
