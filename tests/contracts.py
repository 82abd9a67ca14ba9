"""Every log-density there is, by name: what `test_contracts.py` holds to the promises of `LogDensity`.

To add one, write a function that returns a `Case` and decorate it with `@case("name")`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from profiled_gaussian import ProfiledGaussian

from dnnlikelihood import Likelihood, Normal, ParameterSpace, Prior, Uniform, combine
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.protocols import LogDensity


@dataclass(frozen=True)
class Case:
    """A log-density, and where to ask it: points are centre + spread * N(0, 1)."""

    density: LogDensity
    centre: np.ndarray
    spread: np.ndarray | float = 0.5
    gradient_rtol: float = 1e-6
    """Agreement of the gradient with central differences, relative to the largest component."""
    hessian_rtol: float = 1e-5
    hessian: bool = True
    """Whether to ask for it; False saves the time of compiling the same one twice."""
    outside: np.ndarray | None = None
    """A point where the density is zero, if there is one."""

    def points(self, n: int, seed: int = 1) -> np.ndarray:
        """(n, d) points inside the support."""
        rng = np.random.default_rng(seed)
        d = len(self.density.parameters)
        drawn = self.centre + self.spread * rng.normal(size=(20 * n, d))
        inside = drawn[self.density.support(drawn)]
        assert len(inside) >= n, "a case must have its points in the support"
        return inside[:n]


CASES: dict[str, Callable[[], Case]] = {}


def case(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a case; it is built once, when first asked for."""

    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        CASES[name] = cache(make)
        return make

    return register


MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[2.0, 0.6, -0.2], [0.6, 1.0, 0.1], [-0.2, 0.1, 0.5]])


@cache
def gaussian() -> Likelihood:
    return Likelihood.from_source("gaussian", mean=MEAN.tolist(), covariance=COVARIANCE.tolist(), names=["a", "b", "c"])


@cache
def toy(prior: str = "original") -> Likelihood:
    return Likelihood.from_source("toy_lhc", prior=prior)


@cache
def peak() -> Likelihood:
    return Likelihood.from_source("unbinned", seed=3, signal=30.0, background=200.0)


PEAK_CENTRE = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
TOY_CENTRE = np.r_[0.3, np.zeros(90), -0.3, -0.4, 0.2, 0.3]
TOY_SPREAD = np.r_[0.2, np.ones(90), 0.6, 0.6, 0.6, 0.4]


def banana(theta: np.ndarray) -> np.ndarray:
    """A curved density with an edge: zero for x < -3."""
    x, y = theta.T
    return np.where(x > -3, -0.5 * x**2 - 2.0 * (y - 0.5 * x**2) ** 2, -np.inf)


def banana_gradient(theta: np.ndarray) -> np.ndarray:
    x, y = theta.T
    residual = y - 0.5 * x**2
    return np.stack([-x + 4.0 * residual * x, -4.0 * residual], axis=1)


SPACE = ParameterSpace((Parameter(name="x", role="poi", bounds=(-5.0, 4.0)), Parameter(name="y")))
BANANA = {"centre": np.array([0.3, 0.4]), "outside": np.array([-4.0, 0.0])}


@case("gaussian")
def _() -> Case:
    return Case(gaussian(), MEAN)


@case("toy_lhc original")
def _() -> Case:
    return Case(toy(), TOY_CENTRE, TOY_SPREAD, outside=np.r_[-1.5, np.zeros(94)])


@case("toy_lhc normalised")
def _() -> Case:
    return Case(toy("normalised"), TOY_CENTRE, TOY_SPREAD, hessian=False, outside=np.r_[5.5, np.zeros(94)])


@case("unbinned")
def _() -> Case:
    return Case(peak(), PEAK_CENTRE, np.array([0.3, 1.0, 1.0, 0.2, 0.1]), outside=np.array([-30.0, 0, 0, 1, 1]))


@case("callable, no gradient")
def _() -> Case:
    return Case(Likelihood(banana, SPACE), **BANANA)


@case("callable, one point at a time")
def _() -> Case:
    return Case(Likelihood(lambda point: float(banana(point[None])[0]), SPACE, vectorised=False), **BANANA)


@case("callable with gradient and prior")
def _() -> Case:
    prior = Prior({"x": Uniform(-4.5, 4.0), "y": Normal(0.2, 1.5)})
    return Case(Likelihood(banana, SPACE, prior=prior, gradient=banana_gradient), **BANANA)


@case("callable with finite differences")
def _() -> Case:
    density = Likelihood(banana, SPACE, prior=Prior({"y": Normal(0.2, 1.5)}), gradient="finite-difference")
    return Case(density, **BANANA, hessian_rtol=1e-4)


@case("with_prior")
def _() -> Case:
    prior = Prior({"a": Normal(0.5, 2.0), "b": Uniform(-8.0, 5.0)})
    return Case(gaussian().with_prior(prior), MEAN, outside=np.array([1.0, 6.0, 0.5]))


@case("with_prior of the toy")
def _() -> Case:
    prior = Prior({"mu": Uniform(-0.9, 3.0), "delta_JES": Normal(0.3, 0.5)})
    return Case(toy().with_prior(prior), TOY_CENTRE, TOY_SPREAD, outside=np.r_[3.5, np.zeros(94)])


@case("condition")
def _() -> Case:
    return Case(gaussian().condition({"b": -1.0}), MEAN[[0, 2]])


@case("condition of the toy")
def _() -> Case:
    fixed = {f"delta_mc_{i}": 0.1 for i in range(1, 91)}
    return Case(toy().condition(fixed), TOY_CENTRE[[0, 91, 92, 93, 94]], 0.3, outside=np.array([-1.5, 0, 0, 0, 0]))


@case("rename")
def _() -> Case:
    return Case(peak().rename({"mu": "strength"}), PEAK_CENTRE, 0.2, outside=np.array([-30.0, 0, 0, 1, 1]))


@case("reparametrise")
def _() -> Case:
    matrix = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [-0.3, 0.0, 2.0]])
    return Case(gaussian().reparametrise(matrix, ["u", "v", "w"]), np.linalg.solve(matrix, MEAN))


@case("reparametrise to fewer")
def _() -> Case:
    matrix = np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
    return Case(gaussian().reparametrise(matrix, ["s", "c"]), np.array([0.5, 0.5]))


@case("reparametrise with bounds and a uniform prior")
def _() -> Case:
    density = Likelihood(banana, SPACE, prior=Prior({"x": Uniform(-4.5, 3.5)}), gradient=banana_gradient)
    matrix = np.array([[1.0, 1.0], [0.0, 1.0]])
    return Case(density.reparametrise(matrix, ["p", "q"]), np.array([0.2, 0.3]), outside=np.array([3.0, 0.9]))


@case("combine")
def _() -> Case:
    density = combine([gaussian(), peak()])
    return Case(density, np.r_[MEAN, PEAK_CENTRE], 0.2, outside=np.r_[MEAN, -30.0, 0, 0, 1, 1])


@case("combine with a shared parameter")
def _() -> Case:
    first = gaussian().with_prior(Prior({"b": Normal(-2.0, 1.0)}))
    second = gaussian().rename({"a": "d", "c": "e"}).with_prior(Prior({"b": Normal(-2.0, 1.0)}))
    return Case(combine([first, second], shared=["b"]), np.r_[MEAN, MEAN[[0, 2]]])


@case("combine with correlated priors")
def _() -> Case:
    first = gaussian().with_prior(Prior({"b": Normal(-2.0, 1.0)}))
    second = gaussian().rename({"a": "d", "b": "e", "c": "f"}).with_prior(Prior({"e": Normal(-1.0, 2.0)}))
    return Case(combine([first, second], correlated={("b", "e"): 0.7}), np.r_[MEAN, MEAN])


@case("nested")
def _() -> Case:
    both = combine(
        [toy().condition({f"delta_mc_{i}": 0.0 for i in range(1, 91)}), gaussian().rename({"a": "mu"})], ["mu"]
    )
    chosen = both.with_prior(Prior({"b": Normal(-2.0, 0.5), "mu": Uniform(-0.9, 4.0)})).condition({"delta_CR": 0.2})
    outside = np.array([4.5, 0.1, 0.1, 0.1, -2.0, 0.5])
    return Case(chosen, np.array([0.3, -0.3, -0.4, 0.2, -2.0, 0.5]), 0.2, outside=outside)


@case("simplified")
def _simplified() -> Case:
    second = [[4.0, 1.0], [1.0, 2.0]]
    source = {"observed": [12, 7], "signal": [3.0, 2.0], "mean": [10.0, 6.0], "third_moment": [1.0, 0.5]}
    density = Likelihood.from_source("simplified", covariance=second, **source)
    return Case(density, np.zeros(len(density.parameters)), 0.3)


@case("heads")
def _heads() -> Case:
    return Case(ProfiledGaussian(), np.zeros(3), outside=np.array([2.5, 0.0, 0.0]))


@case("one head")
def _one_head() -> Case:
    return Case(ProfiledGaussian().select("asimov"), np.zeros(3), outside=np.array([2.5, 0.0, 0.0]))


@case("heads, composed")
def _heads_composed() -> Case:
    matrix = np.array([[1.0, 0.0, 0.0], [0.3, 1.0, 0.0], [0.0, -0.5, 2.0]])
    density = ProfiledGaussian().reparametrise(matrix, ["u", "v", "w"]).with_prior(Prior({"v": Normal(0.1, 2.0)}))
    return Case(density.rename({"u": "t"}).condition({"w": 0.1}), np.zeros(2), outside=np.array([2.5, 0.0]))


@case("heads, two analyses")
def _heads_combined() -> Case:
    other = ProfiledGaussian(seed=6).rename({"c1": "e1"})
    return Case(combine([ProfiledGaussian(), other], shared=["c0", "c2"]), np.zeros(4))


@case("DnnLik")
def _dnnlik() -> Case:
    """A surrogate with kinks; its networks are float32, and so are slopes and curvatures."""
    from surrogates import random_ensemble

    from dnnlikelihood import DnnLik
    from dnnlikelihood.dnnlik import DnnLikConfig

    ensemble = random_ensemble()
    space = ParameterSpace(tuple(Parameter(name=f"x{i}", role="poi" if i == 0 else "nuisance") for i in range(6)))
    density = DnnLik(ensemble, space, Prior({"x5": Normal()}), "posterior", DnnLikConfig())
    outside = np.full(6, 20.0)
    return Case(density, ensemble.domain.center, 0.5, gradient_rtol=3e-2, hessian_rtol=3e-2, outside=outside)


@case("PublishedLikelihood")
def _published() -> Case:
    import tempfile
    from pathlib import Path

    from surrogates import MEAN as CENTRE
    from surrogates import publish_gaussian

    import dnnlikelihood

    folder = Path(tempfile.mkdtemp())
    density = dnnlikelihood.open(publish_gaussian(folder / "gaussian")).guarded("-inf")
    outside = np.full(3, 50.0)
    return Case(density, np.array(CENTRE), 0.3, gradient_rtol=3e-2, hessian_rtol=1e-1, outside=outside)


@case("HistFactory workspace")
def _histfactory() -> Case:
    from workspaces import search

    density = Likelihood.from_workspace(search())
    centre = np.array([p.start for p in density.parameters])
    spread = np.where(density.parameters.lower == -5.0, 0.7, 0.02)
    outside = np.where(np.array(density.parameters.names) == "lumi", 1.2, centre)
    return Case(density, centre, spread, outside=outside)


@case("profiled HistFactory workspace")
def _profiled_histfactory() -> Case:
    from workspaces import search

    from dnnlikelihood import ProfiledLikelihood

    density = ProfiledLikelihood.from_workspace(search())
    outside = np.full(5, 1.0)
    outside[0] = -200.0
    return Case(density, np.full(5, 3.0), 0.8, gradient_rtol=1e-5, hessian_rtol=1e-4, outside=outside)
