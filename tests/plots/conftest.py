"""Small, exactly known inputs for figures."""

import numpy as np
import pytest

from dnnlikelihood import ParameterSpace
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.results import Convergence, Samples


@pytest.fixture
def space():
    return ParameterSpace(
        (
            Parameter(name="mu", role="poi", latex=r"\mu"),
            Parameter(name="m_jet", unit="GeV"),
            Parameter(name="delta", latex=r"\delta_\mathrm{ISR}"),
        )
    )


@pytest.fixture
def samples(space, rng):
    chains = rng.normal(size=(200, 8, 3)) @ np.array([[0.4, 0.3, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    verdict = Convergence(np.ones(3), np.ones(3), np.full(3, 1600.0), 0.5, converged=True, reasons=())
    return Samples(space.names, chains, -0.5 * (chains**2).sum(axis=2), verdict)


@pytest.fixture
def history(rng):
    """A function that makes the history of one member."""

    def make(n=12, *, gradient=True):
        keys = ("loss", "val_loss", "gradient_loss", "val_gradient_loss", "learning_rate")
        made = {key: list(rng.uniform(1e-4, 1e-1, n)) for key in keys}
        if not gradient:
            made |= {"gradient_loss": [0.0] * n, "val_gradient_loss": [0.0] * n}
        return made

    return make
