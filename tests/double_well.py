"""A density with two valleys in one of its coordinates, whose profiles brute force knows."""

import numpy as np

from dnnlikelihood import Likelihood, Parameter, ParameterSpace

DEPTH, TILT, WEIGHT = 2.5, 0.35, 30.0
SLOPES = np.array([0.8, -0.5, 1.2, 0.3])


def double_well(theta):
    r"""-DEPTH (c^2 - 1)^2 - TILT c - 1/2 sum_i (x_i - s_i c)^2 - WEIGHT/2 y^2, in (x_0 ... x_3, c, y).

    Two valleys in c. At fixed x the others are a quartic in c and a Gaussian in y.
    """
    x, c, y = theta[:, :4], theta[:, 4], theta[:, 5]
    value = -DEPTH * (c**2 - 1) ** 2 - TILT * c - 0.5 * ((x - c[:, None] * SLOPES) ** 2).sum(1) - WEIGHT / 2 * y**2
    slope = np.concatenate([-(x - c[:, None] * SLOPES), np.zeros((len(x), 1)), -WEIGHT * y[:, None]], axis=1)
    slope[:, 4] = -4 * DEPTH * c * (c**2 - 1) - TILT + (x - c[:, None] * SLOPES) @ SLOPES
    return value, slope


def density(bound: float = 6.0) -> Likelihood:
    names = ("x0", "x1", "x2", "x3", "c", "y")
    space = ParameterSpace(
        tuple(Parameter(name=n, role="poi" if n.startswith("x") else "nuisance", bounds=(-bound, bound)) for n in names)
    )
    return Likelihood(lambda t: double_well(t)[0], space, gradient=lambda t: double_well(t)[1])


C = np.linspace(-6, 6, 240_001)


def exact(points, columns):
    """The profile, by brute force over c."""
    rest = -DEPTH * (C**2 - 1) ** 2 - TILT * C
    return np.array([(rest - 0.5 * ((p[:, None] - np.outer(SLOPES[columns], C)) ** 2).sum(0)).max() for p in points])
