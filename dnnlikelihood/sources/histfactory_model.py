r"""A HistFactory model as dense arrays: what is fixed once the workspace is known.

A cell c is one bin of one sample; the expected counts of a bin are the sum of its cells (CERN-OPEN-2012-016),

    lambda_b = sum_{c in b}  F_c (nominal_c + sum_p Delta_pc(alpha_p)),      F_c = prod_q f_qc(alpha_q)  prod_m theta_m

histosys, pyhf's code4p, is linear in two features of its alpha, so that all of them are two matrix products:

    Delta = alpha S + g(alpha) A,     S = (up + down) / 2,  A = (up - down) / 16   (up, down: steps from and to nominal)
    g = alpha^2 (15 - 10 alpha^2 + 3 alpha^4)  for |alpha| <= 1,     8 |alpha| beyond

normsys, code4: f = 1 + sum_{i=1..6} a_i alpha^i for |alpha| < 1, up^alpha above, down^-alpha below, the a_i from value,
slope and curvature at -1 and 1. normfactor, lumi, shapefactor, shapesys and staterror are plain factors theta_m.

Constraints are normal (histosys, normsys, lumi, staterror) or Poisson (shapesys) auxiliary measurements. What the
measurement fixes is no parameter here: its effect is multiplied in, its constraint is a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SchemaError
from .histfactory_workspace import measurement_of, pyhf

__all__ = ["Model", "compile_model"]


@dataclass(frozen=True)
class Model:
    """The arrays; k free parameters, B bins, C cells ordered by bin, G groups (the bins of one sample in a channel)."""

    names: tuple[str, ...]
    """(k,) of the free parameters, as pyhf has them."""
    poi: str | None
    start: np.ndarray
    """(k,)."""
    lower: np.ndarray
    """(k,)."""
    upper: np.ndarray
    """(k,)."""
    bins: tuple[tuple[str, int], ...]
    """(B,) channel and number in it."""
    observed: np.ndarray
    """(B,)."""
    background: np.ndarray
    """(B,) nominal yields as the workspace states them, summed over the samples."""
    nominal: np.ndarray
    """(C,) effects of fixed parameters included."""
    bin_of: np.ndarray
    """(C,) ascending."""
    group_of: np.ndarray
    """(C,)."""
    shape_columns: np.ndarray
    """(h,) parameters with a histosys that moves something."""
    straight: np.ndarray
    """(h, C) S."""
    curved: np.ndarray
    """(h, C) A."""
    scale_columns: np.ndarray
    """(q,) parameters with normsys."""
    coefficients: np.ndarray
    """(q, G, 7) 1, a_1 ... a_6; 1, 0 ... 0 where a parameter leaves a group alone."""
    log_up: np.ndarray
    """(q, G)."""
    log_down: np.ndarray
    """(q, G)."""
    factor_columns: np.ndarray
    """(M, C) parameters that multiply a cell, padded with k (a parameter that is 1)."""
    mean: np.ndarray
    """(k,) of the normal constraints."""
    sigma: np.ndarray
    """(k,); infinite where there is none."""
    rate: np.ndarray
    """(k,) tau of the Poisson constraints of tau theta; 0 where there is none."""
    count: np.ndarray
    """(k,) their auxiliary counts."""
    constant: float
    """log-density of the constraints of fixed parameters."""
    asimov_constant: float
    """The same where their auxiliary measurements are what they predict."""
    lumi: int | None
    """The parameter of the lumi modifier, None if there is none or it is fixed."""
    lumi_value: float
    """What it is fixed at; 1 if there is no lumi modifier."""


@dataclass
class _Cells:
    """What is gathered channel by channel, over all parameters."""

    nominal: list[float]
    bin_of: list[int]
    group_of: list[int]
    shapes: list[tuple[int, int, float, float]]
    """(parameter, cell, down, up)."""
    scales: dict[tuple[int, int], tuple[float, float]]
    """(group, parameter) -> lo, hi."""
    factors: list[tuple[int, int]]
    """(cell, parameter)."""


def compile_model(workspace: Mapping[str, Any], measurement: str | None = None) -> Model:
    """The arrays of a workspace that has been checked.

    Args:
        workspace: as `histfactory_patches.patched` returns it.
        measurement: its name; the first one if None.

    Raises:
        SchemaError: what the schema allows and pyhf's model does not.
    """
    library = pyhf()
    chosen = measurement_of(workspace, measurement)
    poi = chosen["config"]["poi"]
    declared = {m["name"] for c in workspace["channels"] for s in c["samples"] for m in s["modifiers"]}
    spec = {"channels": workspace["channels"], "parameters": chosen["config"]["parameters"]}
    known: Any = tuple(e for e in vars(library.exceptions).values() if isinstance(e, type))
    try:
        with np.errstate(all="ignore"):
            config = library.Model(spec, poi_name=poi if poi in declared else None, validate=False).config
    except (ValueError, KeyError, AssertionError, TypeError, *known) as error:
        raise SchemaError(f"pyhf makes no model of this workspace: {type(error).__name__}: {error}") from error
    return _fold(config, _gather(workspace, config), workspace)


def _gather(workspace: Mapping[str, Any], config: Any) -> _Cells:
    cells = _Cells([], [], [], [], {}, [])
    channels = {c["name"]: c for c in workspace["channels"]}
    seen: dict[str, int] = {}
    first_bin = group = 0
    for name in config.channels:
        bins = config.channel_nbins[name]
        here: dict[str, int] = {}
        for sample in channels[name]["samples"]:
            begin = len(cells.nominal)
            cells.nominal += sample["data"]
            cells.bin_of += range(first_bin, first_bin + bins)
            cells.group_of += [group] * bins
            modifiers = {(m["type"], m["name"]): m for m in sample["modifiers"]}
            for (kind, label), modifier in modifiers.items():
                at = config.par_slice(label).start
                if kind == "staterror":
                    at += here.setdefault(label, seen.get(label, 0))
                _add(cells, kind, modifier.get("data"), at, begin, bins, group)
            group += 1
        for label in here:
            seen[label] = here[label] + bins
        first_bin += bins
    return cells


def _add(cells: _Cells, kind: str, data: Any, at: int, begin: int, bins: int, group: int) -> None:
    """One modifier of one sample."""
    if kind == "normsys":
        cells.scales[group, at] = (data["lo"], data["hi"])
        return
    for i in range(bins):
        cell = begin + i
        if kind == "histosys":
            nominal = cells.nominal[cell]
            cells.shapes.append((at, cell, nominal - data["lo_data"][i], data["hi_data"][i] - nominal))
        else:
            cells.factors.append((cell, at + i if kind in ("shapefactor", "shapesys", "staterror") else at))


def _interpolation(lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a_1 ... a_6 (6, ...), log hi and log lo of code4: odd and even powers from half sums and half differences."""
    up, down = np.log(hi), np.log(lo)
    values, slopes, curvatures = (
        ((a - b) / 2, (a + b) / 2) for a, b in ((hi - 1, lo - 1), (hi * up, -lo * down), (hi * up**2, lo * down**2))
    )
    # odd: a1 + a3 + a5 = v, a1 + 3 a3 + 5 a5 = s, 6 a3 + 20 a5 = c; even: a2 + a4 + a6 = v, 2 a2 + 4 a4 + 6 a6 = s, ...
    v, s, c = values[0], slopes[1], curvatures[0]
    odd = (15 * v - 7 * s + c) / 8, (-10 * v + 10 * s - 2 * c) / 8, (3 * v - 3 * s + c) / 8
    v, s, c = values[1], slopes[0], curvatures[1]
    even = (24 * v - 9 * s + c) / 8, (-24 * v + 14 * s - 2 * c) / 8, (8 * v - 5 * s + c) / 8
    return np.stack([x for pair in zip(odd, even, strict=True) for x in pair]), up, down


def _fold(config: Any, cells: _Cells, workspace: Mapping[str, Any]) -> Model:
    """Fixed parameters multiplied in, cells ordered by bin, lists padded to arrays."""
    full = _constraints(config)
    free = np.flatnonzero(~full["fixed"])
    column = np.full(len(full["start"]), -1)
    column[free] = np.arange(len(free))
    value = full["start"]
    nominal, scale = np.array(cells.nominal, float), np.ones(len(cells.nominal))
    group_of, bin_of = np.array(cells.group_of), np.array(cells.bin_of)
    for (group, p), (lo, hi) in cells.scales.items():
        if column[p] < 0:
            scale[group_of == group] *= _code4(value[p], lo, hi)
    for cell, p in cells.factors:
        scale[cell] *= value[p] if column[p] < 0 else 1.0
    shapes = sorted({p for p, _, down, up in cells.shapes if column[p] >= 0 and (down or up)})
    straight, curved = (np.zeros((len(shapes), len(nominal))) for _ in range(2))
    for p, cell, down, up in cells.shapes:
        if column[p] < 0:
            a = abs(value[p])
            g = a**2 * (15 - 10 * a**2 + 3 * a**4) if a <= 1 else 8 * a
            nominal[cell] += value[p] * (up + down) / 2 + g * (up - down) / 16
        elif p in shapes:
            straight[shapes.index(p), cell], curved[shapes.index(p), cell] = (up + down) / 2, (up - down) / 16
    order = np.argsort(bin_of, kind="stable")
    lumi = next((config.par_slice(name).start for name, kind in config.modifiers if kind == "lumi"), None)
    counts = {o["name"]: o["data"] for o in workspace["observations"]}
    bins = tuple((c, i) for c in config.channels for i in range(config.channel_nbins[c]))
    return Model(
        names=tuple(config.par_names[i] for i in free),
        poi=config.poi_name if config.poi_name and column[config.poi_index] >= 0 else None,
        bins=bins,
        observed=np.array([counts[c][i] for c, i in bins], float),
        background=np.bincount(bin_of, np.array(cells.nominal, float), len(bins)),
        nominal=(scale * nominal)[order],
        bin_of=bin_of[order],
        group_of=group_of[order],
        shape_columns=column[shapes] if shapes else np.zeros(0, int),
        straight=(scale * straight)[:, order],
        curved=(scale * curved)[:, order],
        factor_columns=_factors(cells, column, len(free))[:, order],
        constant=full["constant"],
        asimov_constant=full["asimov_constant"],
        lumi=None if lumi is None or column[lumi] < 0 else int(column[lumi]),
        lumi_value=1.0 if lumi is None else float(value[lumi]),
        **_scales(cells, column),
        **{name: full[name][free] for name in ("start", "lower", "upper", "mean", "sigma", "rate", "count")},
    )


def _code4(alpha: float, lo: float, hi: float) -> float:
    """One factor at one value."""
    if abs(alpha) >= 1:
        return hi**alpha if alpha > 0 else lo**-alpha
    coefficients, _, _ = _interpolation(np.array(lo), np.array(hi))
    return 1.0 + float(coefficients @ alpha ** np.arange(1, 7))


def _scales(cells: _Cells, column: np.ndarray) -> dict[str, np.ndarray]:
    """The normsys of each parameter in each group."""
    columns = sorted({int(column[p]) for _, p in cells.scales if column[p] >= 0})
    sides = np.ones((2, len(columns), max(cells.group_of) + 1))
    for (group, p), lo_hi in cells.scales.items():
        if column[p] >= 0:
            sides[:, columns.index(column[p]), group] = lo_hi
    coefficients, up, down = _interpolation(*sides)
    with_one = np.concatenate([np.ones((1, *up.shape)), coefficients]).transpose(1, 2, 0)
    return {
        "scale_columns": np.array(columns, int),
        "coefficients": np.ascontiguousarray(with_one),
        "log_up": up,
        "log_down": down,
    }


def _factors(cells: _Cells, column: np.ndarray, one: int) -> np.ndarray:
    """(M, C) the parameters that multiply each cell."""
    lists: list[list[int]] = [[] for _ in cells.nominal]
    for cell, p in cells.factors:
        if column[p] >= 0:
            lists[cell].append(int(column[p]))
    out = np.full((max(map(len, lists)), len(lists)), one)
    for cell, entries in enumerate(lists):
        out[: len(entries), cell] = entries
    return out


def _constraints(config: Any) -> dict[str, Any]:
    """Start, bounds, fixed and the auxiliary measurements of all parameters."""
    n = len(config.suggested_init())
    mean, sigma, rate, count = np.zeros(n), np.full(n, np.inf), np.zeros(n), np.zeros(n)
    for name in config.auxdata_order:
        paramset, at = config.param_set(name), config.par_slice(name)
        if paramset.pdf_type == "normal":
            mean[at], sigma[at] = paramset.auxdata, paramset.width()
        else:
            rate[at], count[at] = paramset.factors, paramset.auxdata
    start = np.array(config.suggested_init(), float)
    lower, upper = np.array(config.suggested_bounds(), float).T
    fixed = np.array(config.suggested_fixed(), bool)
    bad = ~fixed & ~((lower < upper) & (lower <= start) & (start <= upper) & (sigma > 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise SchemaError(
            f"parameter {config.par_names[i]!r}: starts at {start[i]}, bounds ({lower[i]}, {upper[i]}), uncertainty "
            f"{sigma[i]}; it must start within its bounds and have an uncertainty > 0"
        )
    if fixed.all():
        raise SchemaError("the measurement fixes every parameter: nothing is left to learn")
    normal, poisson = fixed & np.isfinite(sigma), fixed & (rate > 0)
    predicted = rate[poisson] * start[poisson]
    return {
        "start": start,
        "lower": lower,
        "upper": upper,
        "fixed": fixed,
        "mean": mean,
        "sigma": sigma,
        "rate": rate,
        "count": count,
        "constant": _normal(start[normal], mean[normal], sigma[normal]) + _poisson(count[poisson], predicted),
        "asimov_constant": _normal(start[normal], start[normal], sigma[normal]) + _poisson(predicted, predicted),
    }


def _normal(x: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> float:
    return float((-0.5 * ((x - mean) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))).sum())


def _poisson(n: np.ndarray, rate: np.ndarray) -> float:
    from scipy.special import gammaln, xlogy

    return float((xlogy(n, rate) - rate - gammaln(n + 1.0)).sum())
