"""What every group of questions to a log-density shares: the density, and a place for the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import MissingArtifact
from .store import Artifact

if TYPE_CHECKING:
    from .inference import InferenceConfig
    from .protocols import LogDensity

__all__ = ["Asked"]


class Asked(Artifact):
    """Answers to questions about one log-density; every question adds one, and logs it."""

    density: LogDensity | None
    config: InferenceConfig
    answers: dict[str, Any]

    def _known(self) -> LogDensity:
        if self.density is None:
            raise MissingArtifact("this inference was loaded from disk: use attach(density) before new questions")
        return self.density

    def _note(
        self, question: str, numbers: Mapping[str, Any], warnings: Sequence[str] = (), seconds: float | None = None
    ) -> None:
        """Keep an answer, and log that it was given."""
        self.answers[question] = {**numbers, "warnings": list(warnings)}
        self.log.record(
            question.split("(")[0],
            id=self.fingerprint,
            parents=self.parents,
            seconds=None if seconds is None else round(seconds, 6),
            seed=self.config.seed,
            numbers={"question": question, **numbers},
            warnings=warnings,
        )
