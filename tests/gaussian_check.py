"""A sample held against the normal distribution it should come from."""

import numpy as np
from scipy.stats import kstest, norm


def assert_normal(samples, mean, covariance):
    """Means and covariances within 4.5 standard errors, and KS tests at the effective sample size."""
    ess, theta = samples.verdict.ess, samples.theta
    sigma = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(theta.mean(axis=0) - mean) < 4.5 * sigma / np.sqrt(ess))
    error = np.sqrt((np.outer(sigma, sigma) ** 2 + np.asarray(covariance) ** 2) / ess.min())
    assert np.all(np.abs(np.cov(theta, rowvar=False).reshape(len(mean), -1) - covariance) < 4.5 * error)
    for i in range(len(mean)):
        distance = kstest(theta[:, i], norm(mean[i], sigma[i]).cdf).statistic
        assert distance * np.sqrt(ess[i]) < 1.95, f"KS of column {i}"
