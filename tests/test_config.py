"""Configurations: frozen, valid from birth, JSON in and out."""

import dataclasses
from dataclasses import dataclass

import pytest

from dnnlikelihood.config import Config, require
from dnnlikelihood.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Config):
    depth: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer(Config):
    rate: float = 0.1
    sizes: tuple[int, ...] = (3, 4)
    inner: Inner = Inner()
    seed: int | None = None
    stages: tuple[Inner, ...] = ()

    def validate(self) -> None:
        require(self.rate > 0, f"rate must be positive, got {self.rate}")


def test_json_is_lossless():
    config = Outer(rate=0.5, sizes=(1,), inner=Inner(depth=7), stages=(Inner(), Inner(depth=1)))
    assert Outer.from_json(config.to_json()) == config
    assert Outer.from_json(config.to_json()).fingerprint == config.fingerprint


def test_the_fingerprint_depends_on_every_field():
    changes = [{}, {"rate": 0.2}, {"sizes": (3,)}, {"inner": Inner(depth=3)}, {"seed": 0}, {"stages": (Inner(),)}]
    assert len({Outer().replace(**c).fingerprint for c in changes}) == len(changes)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer().rate = 2.0
    with pytest.raises(TypeError):
        Outer(0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Outer(rate=-1.0), "rate must be positive, got -1.0"),
        (lambda: Outer().replace(rate=0.0), "rate must be positive"),
        (lambda: Outer.from_json({"rate": -1.0}), "rate must be positive"),
        (lambda: Outer.from_json({"rates": 1.0}), r"Outer has no fields \['rates'\]; it knows \['inner', 'rate'"),
        (lambda: Outer.from_json({"inner": {"width": 1}}), r"Inner has no fields \['width'\]"),
        (lambda: Outer(rate="fast"), "Outer: rate is 'fast', expected float"),
        (lambda: Outer(rate=float("inf")), "rate is inf, expected a finite float"),
        (lambda: Outer(sizes=3), "sizes is 3, expected tuple"),
        (lambda: Outer(sizes=(2.5,)), r"sizes is \(2.5,\), expected tuple"),
        (lambda: Outer(seed=True), "seed is True, expected"),
        (lambda: Outer.from_json({"inner": 3}), "Inner is a JSON object with fields"),
        (lambda: Outer.from_json({"stages": 3}), "stages is 3, expected tuple"),
    ],
)
def test_configurations_that_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
