"""Known autocorrelations, and chains that must be caught."""

import numpy as np
import pytest

from dnnlikelihood.errors import ShapeError
from dnnlikelihood.sampling.convergence import (
    autocorrelation,
    autocorrelation_time,
    ess,
    gelman_rubin,
    running_tau,
    split_rhat,
    verdict,
)


def ar1(phi, n, m, rng, d=1):
    """Stationary AR(1) chains of unit variance: rho(t) = phi^t, tau = (1 + phi) / (1 - phi)."""
    noise = rng.normal(size=(n, m, d)) * np.sqrt(1 - phi**2)
    x = np.empty((n, m, d))
    x[0] = rng.normal(size=(m, d))
    for t in range(1, n):
        x[t] = phi * x[t - 1] + noise[t]
    return x


@pytest.mark.parametrize("phi", [0.95, 0.8, 0.0, -0.4, -0.6])
def test_autocorrelation_time_of_ar1(phi):
    chains = ar1(phi, 4000, 32, np.random.default_rng(3))
    exact = (1 + phi) / (1 - phi)
    assert autocorrelation_time(chains)[0] == pytest.approx(exact, rel=0.06)
    assert ess(chains)[0] == pytest.approx(4000 * 32 / exact, rel=0.06)


def test_autocorrelation_function_of_ar1():
    rho = autocorrelation(ar1(0.7, 5000, 64, np.random.default_rng(1))[:, :, 0])
    assert rho[0] == 1
    assert rho[1:6] == pytest.approx(0.7 ** np.arange(1, 6), abs=0.02)


def test_ess_predicts_the_scatter_of_means():
    rng = np.random.default_rng(5)
    chains = ar1(0.9, 2000, 200, rng)
    scatter = chains.mean(axis=0).std() ** -2
    assert ess(chains)[0] / 200 == pytest.approx(scatter, rel=0.25)


def test_independent_draws_converge():
    judged = verdict(np.random.default_rng(0).normal(size=(500, 64, 5)), 0.8)
    assert judged.converged
    assert judged.reasons == ()
    assert judged.rhat == pytest.approx(np.ones(5), abs=0.004)
    assert judged.tau == pytest.approx(np.ones(5), abs=0.12)


def test_antithetic_chains_are_not_credited_with_more_than_their_squares_are_worth():
    chains = ar1(-0.8, 4000, 32, np.random.default_rng(2))
    assert ess(chains)[0] > 5 * 4000 * 32
    assert verdict(chains, 0.8).tau[0] == pytest.approx((1 + 0.64) / (1 - 0.64), rel=0.1)


def test_chains_in_different_modes_are_caught():
    rng = np.random.default_rng(0)
    chains = rng.normal(size=(1000, 16, 2))
    chains[:, 5, 1] += 6.0
    judged = verdict(chains, 0.8, names=("mu", "delta"))
    assert not judged.converged
    assert judged.rhat[0] < 1.01 < judged.rhat[1]
    assert any("R-hat" in reason and "delta" in reason for reason in judged.reasons)


def test_a_drift_common_to_all_chains_is_caught_by_the_halves():
    chains = np.random.default_rng(0).normal(size=(1000, 8, 1))
    assert split_rhat(chains)[0] < 1.01
    assert split_rhat(chains + np.linspace(0, 1, 1000)[:, None, None])[0] > 1.01


def test_chains_that_never_move_are_caught_with_finite_numbers():
    stuck = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 8, 2)), (100, 8, 2)).copy()
    for chains in (stuck, np.zeros((100, 8, 2))):
        judged = verdict(chains, 0.0)
        assert not judged.converged
        assert np.isfinite([judged.rhat, judged.tau, judged.ess]).all()
        assert len(judged.reasons) >= 2


def test_walkers_need_fifty_autocorrelation_times():
    chains = ar1(0.9, 400, 200, np.random.default_rng(0))
    assert any("fewer than 50" in reason for reason in verdict(chains, 0.3, ensemble=True).reasons)
    long = ar1(0.9, 2000, 200, np.random.default_rng(0))
    assert verdict(long, 0.3, ensemble=True).converged


def test_acceptance_out_of_range_is_said():
    chains = np.random.default_rng(0).normal(size=(500, 8, 1))
    assert any("acceptance" in reason for reason in verdict(chains, 0.01).reasons)


def test_gelman_rubin_falls_to_one_and_flags_stuck_chains():
    rng = np.random.default_rng(7)
    chains = ar1(0.95, 4000, 20, rng, d=2)
    running = gelman_rubin(chains, [20, 200, 4000])
    assert running.r_c.shape == (3, 2)
    assert running.r_c[0, 0] > running.r_c[2, 0] == pytest.approx(1.0, abs=0.03)
    assert running.sqrt_v[2] == pytest.approx(np.ones(2), abs=0.05)
    assert running.sqrt_w[2] == pytest.approx(np.ones(2), abs=0.05)
    chains[:, :10] += 5
    assert (gelman_rubin(chains, [4000]).r_c > 2).all()


def test_running_tau_grows_to_the_truth():
    tau = running_tau(ar1(0.95, 4000, 20, np.random.default_rng(7)), [20, 200, 4000])[:, 0]
    assert tau[0] < tau[-1] == pytest.approx(39, rel=0.15)


def test_bad_shapes():
    with pytest.raises(ShapeError, match="n_steps, n_chains, d"):
        verdict(np.zeros((100, 3)), 0.5)
    with pytest.raises(ShapeError, match="at least 3 chains"):
        gelman_rubin(np.zeros((100, 2, 1)), [50])
