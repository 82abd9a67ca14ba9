r"""Spey's back-end `dnnlikelihood.profiled`: a profiled likelihood as a Spey model (arXiv:2307.06996).

    model = spey.get_backend("dnnlikelihood.profiled")(
        model="saved_models/atlas_susy_2018_31_a",
        signal_yields={"SRA_L-0": 1.2, "SRA_M-0": 3.4, ...},
        analysis="ATLAS-SUSY-2018-31", xsection=0.01)
    model.exclusion_confidence_level(), model.poi_upper_limit()
    spey.UnCorrStatisticsCombiner(model, other).poi_upper_limit()

The nuisances are gone, so the signal strength mu is the one parameter that Spey sees. Which data a likelihood is of, is
its head: the observed ones, those before any fit (a priori), and the Asimov data of the background. Spey hands data
around as lists of counts, and here there are none: Asimov data are a list that names the head, and travels through
Spey's combinations. What is not in the model is refused with Spey's exceptions:
toys, counts of somebody else. The Asimov data of the signal, which q_0 asks for after a fit to the observed data, are
in models with the head "asimov_signal"; of them two numbers are known, at mu = 0 and at their best fit, mu = 1.

Outside the domain of a surrogate there is no answer, only a refusal; except where the signal is excluded at the edge
already, beyond doubt and with all bands. Then nll goes on along its chord, a lower bound of a convex one, so that
searches for limits may step over the edge and come back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import spey
from spey.base.model_config import ModelConfig
from spey.system.exceptions import InvalidInput, MethodNotAvailable, NegativeExpectedYields

from .. import __version__
from ..errors import DnnLikelihoodError
from ..protocols import LogDensity
from ..statistics.limits import hypotest
from ..statistics.signals import SignalCurves, along, reach

__all__ = ["AsimovData", "ProfiledLikelihood"]

logger = logging.getLogger(__name__)

OBSERVED, EXPECTED, ASIMOV, SIGNAL = "observed", "expected", "asimov_observed", "asimov_signal"
LEVEL = 0.95
"""Limits of this level, with their bands, lie inside the domain if the signal is excluded at its edge."""
ROW = np.zeros(1, int)


class AsimovData(list):
    """Asimov data: a list with the name of the head that is the likelihood of them."""


class ProfiledLikelihood(spey.BackendBase):
    """A profiled likelihood, learned or exact, along one signal.

    Args:
        model: folder of a published model, or a density with the heads "observed", "expected" and "asimov_observed".
        signal_yields: expected events by bin, or in the order of the model's bins.
    """

    name: str = "dnnlikelihood.profiled"
    version: str = __version__
    author: str = "The dnnlikelihood developers"
    spey_requires: str = ">=0.2.0,<0.3"
    doi: ClassVar[list[str]] = []
    arXiv: ClassVar[list[str]] = []

    def __init__(
        self,
        model: str | Path | LogDensity,
        signal_yields: Mapping[str, float] | Sequence[float],
    ) -> None:
        try:
            self.density = _density(model)
            self.signal = self.density.points(signal_yields)
            if self.signal.shape[0] != 1:
                raise InvalidInput(f"a Spey model is of one signal; signal_yields are {self.signal.shape[0]}")
            # a signal that is zero everywhere is alive to nobody: any direction will do
            alive = self.signal if self.signal.any() else np.ones_like(self.signal)
            self.curves = along(self.density, alive)
        except DnnLikelihoodError as error:
            raise InvalidInput(str(error)) from error
        missing = {OBSERVED, EXPECTED, ASIMOV} - set(self.curves.heads)
        if missing:
            raise InvalidInput(f"the model has no heads {sorted(missing)}, which Spey asks for")
        self.low, self.high = (float(end[0]) for end in reach(self.curves))
        self.excluded_at_edge = np.isfinite(self.high) and _excluded(self.curves, self.high)
        self._asked = OBSERVED

    @property
    def is_alive(self) -> bool:
        """Whether the signal has events in any bin."""
        return bool(self.signal.any())

    def config(
        self,
        allow_negative_signal: bool = True,  # noqa: FBT001, FBT002 - the signature is Spey's
        poi_upper_bound: float = 10.0,
    ) -> ModelConfig:
        """The one parameter, mu, within the domain of the model."""
        low = self.low if allow_negative_signal else 0.0
        high = min(poi_upper_bound, self.high)
        return ModelConfig(0, self.low, [min(1.0, 0.5 * high)], [(low, high)], parameter_names=["mu"])

    def get_logpdf_func(
        self, expected: spey.ExpectationType = spey.ExpectationType.observed, data: Any = None
    ) -> Callable[[np.ndarray], float]:
        """Log-likelihood as a function of [mu].

        Raises:
            InvalidInput: data that are neither those of the model nor its Asimov data.
        """
        head = self._head(expected, data)
        return lambda pars: -self._nll(head, float(np.ravel(pars)[0]))[0]

    def get_objective_function(
        self,
        expected: spey.ExpectationType = spey.ExpectationType.observed,
        data: Any = None,
        do_grad: bool = True,  # noqa: FBT001, FBT002 - the signature is Spey's
    ) -> Callable[[np.ndarray], Any]:
        """Negative log-likelihood as a function of [mu], with its slope if asked for."""
        head = self._head(expected, data)

        def objective(pars: np.ndarray) -> Any:
            nll, slope = self._nll(head, float(np.ravel(pars)[0]))
            return (nll, np.array([slope])) if do_grad else nll

        return objective

    def get_hessian_logpdf_func(
        self, expected: spey.ExpectationType = spey.ExpectationType.observed, data: Any = None
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Second derivative of the log-likelihood in mu, from slopes a thousandth of the domain apart."""
        head = self._head(expected, data)

        def hessian(pars: np.ndarray) -> np.ndarray:
            mu = float(np.ravel(pars)[0])
            step = 1e-3 * (min(self.high, mu + 1.0) - max(self.low, mu - 1.0))
            a, b = max(self.low, mu - step), min(self.high, mu + step)
            return np.array([[(self._nll(head, a)[1] - self._nll(head, b)[1]) / (b - a)]])

        return hessian

    def expected_data(self, pars: Sequence[float]) -> AsimovData:
        """The Asimov data of the background, or of the signal at mu = 1, by name.

        Raises:
            MethodNotAvailable: those of a signal which the model does not know.
        """
        mu = float(np.ravel(pars)[0])
        if mu == 0.0:
            return AsimovData([EXPECTED if self._asked == EXPECTED else ASIMOV])
        self._check_discovery(mu)
        return AsimovData([SIGNAL])

    def minimize_asimov_negative_loglikelihood(
        self,
        expected: spey.ExpectationType = spey.ExpectationType.observed,
        test_statistics: str = "qtilde",
        **_options: Any,
    ) -> tuple[float, float]:
        """Best fit of the Asimov data of the signal and -log L there, which are 1 and, by convention, 0.

        Raises:
            NotImplementedError: of other Asimov data, which Spey fits itself then.
            MethodNotAvailable: a model without them, or a fit to data before any fit.
        """
        if test_statistics != "q0":
            raise NotImplementedError
        self._head(expected, None)
        self._check_discovery(1.0)
        return 1.0, 0.0

    def asimov_negative_loglikelihood(
        self,
        poi_test: float = 1.0,
        expected: spey.ExpectationType = spey.ExpectationType.observed,
        test_statistics: str = "qtilde",
        **_options: Any,
    ) -> float:
        """-log L of the Asimov data of the signal, relative to their best fit; raises as its neighbour does."""
        if test_statistics != "q0":
            raise NotImplementedError
        self._head(expected, None)
        self._check_discovery(1.0)
        return self._nll(SIGNAL, poi_test)[0]

    def _check_discovery(self, mu: float) -> None:
        prefit = self._asked == EXPECTED
        if mu != 1.0 or prefit or SIGNAL not in self.curves.heads:
            raise MethodNotAvailable(
                f"{self.name}: the discovery statistic q0 needs the Asimov data of the signal, which this model does "
                f"not have at mu = {mu:g}{' before any fit' if prefit else ''}; a model learned with `dnnlik learn "
                "--discovery` has those at mu = 1 of a fit to the observed data"
            )

    def _head(self, expected: spey.ExpectationType, data: Any) -> str:
        """Which data are meant; Spey asks for Asimov data right after it has asked for those they are made from."""
        if data is None:
            self._asked = EXPECTED if expected == spey.ExpectationType.apriori else OBSERVED
            return self._asked
        if isinstance(data, AsimovData):
            return str(data[0])
        raise InvalidInput(
            f"{self.name} is a likelihood of the observed data, of the expected and of their Asimov data; it has no "
            "answer for other counts"
        )

    def _nll(self, head: str, mu: float) -> tuple[float, float]:
        """Value and slope; beyond the edge of the domain the chord, or a refusal."""
        if not self.is_alive:
            return float(self.curves.curve(head)(ROW, np.zeros(1))[0][0]), 0.0
        if head == SIGNAL:
            return self._nll_of_signal(mu), 0.0
        if mu < self.low:
            raise NegativeExpectedYields(f"mu = {mu:.6g} lies below {self.low:.6g}, the lowest that the model knows")
        if mu > self.high and not self.excluded_at_edge:
            raise InvalidInput(
                f"mu = {mu:.6g} lies outside the domain of the model, which ends at {self.high:.6g} where the signal "
                "is not excluded yet: this signal is beyond what was learned"
            )
        nll, slope = self.curves.curve(head)(ROW, np.array([min(mu, self.high)]))
        if nll[0] == np.inf:
            raise InvalidInput(f"mu = {mu:.6g} lies in a hole of the model's domain, where nothing was learned")
        if mu <= self.high:
            return float(nll[0]), float(slope[0])
        logger.info("mu = %.6g is beyond the domain, where the signal is excluded: nll is a lower bound", mu)
        chord = (float(nll[0]) - self._nll(head, 0.0)[0]) / self.high
        return float(nll[0]) + chord * (mu - self.high), chord

    def _nll_of_signal(self, mu: float) -> float:
        """-log L of the Asimov data of the signal: 0 at their best fit, the head's value at mu = 1 without signal."""
        if mu not in (0.0, 1.0):
            raise MethodNotAvailable(f"{self.name} knows the Asimov data of the signal at mu = 0 and 1, not at {mu:g}")
        if mu == 1.0:
            return 0.0
        if self.high < 1.0:
            raise InvalidInput(f"the domain of the model ends at mu = {self.high:.6g}, below the signal itself")
        return float(self.curves.curve(SIGNAL)(ROW, np.ones(1))[0][0])


def _density(model: str | Path | LogDensity) -> LogDensity:
    if isinstance(model, LogDensity):
        return model
    from ..published import open as open_published

    return open_published(model)


def _excluded(curves: SignalCurves, mu: float) -> bool:
    """Whether the signal is excluded there: by the data, and by backgrounds that fluctuate up by two sigma."""
    found = [hypotest(curves, mu, bands=head) for head in (ASIMOV, EXPECTED)]
    return all(t.cls[0] < 1 - LEVEL and t.cls_expected[0, -1] < 1 - LEVEL for t in found)
