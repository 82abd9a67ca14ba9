"""Effective-theory fits as JSON: the package's own two formats (schemas/eft_counts.json, eft_gaussian.json), and two
layouts in which others keep theirs.

Whatever belongs to a coefficient, a bin, a process or a nuisance is found by its name; the order is nobody's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, ParameterError, ShapeError
from ..jsonfiles import read_json, validate
from .eft_gaussian import EftGaussian
from .eft_model import EftModel, from_triangle, to_triangle

__all__ = ["counts_from_json", "counts_to_json", "gaussian_from_json", "gaussian_to_json", "read_eft"]

Box = Mapping[str, Sequence[float]]


def read_eft(path: str | Path, box: Box | None = None) -> EftModel | EftGaussian:
    """A fit from a JSON file of any of the four layouts.

    Args:
        path: the file.
        box: name -> (low, high) where coefficients are scanned, instead of what the file says; needed for files that
            say nothing.

    Raises:
        SchemaError, ShapeError, ParameterError, LikelihoodError: what is wrong, and where.
        ConfigError: no box is known.
    """
    document = read_json(Path(path))
    where = str(path)
    if not isinstance(document, dict):
        raise ConfigError(f"{where} is no JSON object; see schemas/eft_counts.json and schemas/eft_gaussian.json")
    if "Q_upper" in document:
        return _plain_counts(document, box, where)
    if "ops" in document:
        document = _from_smefit(document, where)
    gaussian = "covariance" in document
    model = gaussian_from_json(document, where) if gaussian else counts_from_json(document, where)
    return model if box is None else _scanned_in(model, box)


def _scanned_in(model: EftModel | EftGaussian, box: Box) -> EftModel | EftGaussian:
    """The same fit, scanned in another box; coefficients that the box does not name keep theirs."""
    unknown = sorted(set(box) - set(model.coefficients))
    if unknown:
        raise ParameterError(f"{model.name}: no coefficients {unknown}; there are {list(model.coefficients)}")
    known = zip(model.coefficients, model.low, model.high, strict=True)
    low, high = np.array([tuple(box.get(name, edges)) for name, *edges in known], float).T
    return replace(model, low=low, high=high)


# Counts -------------------------------------------------------------------------------------------------------------


def counts_from_json(document: dict[str, Any], where: str = "EFT model") -> EftModel:
    """The experiment that a document of schema eft_counts/1 describes."""
    validate(document, "eft_counts", where)
    names = [c["name"] for c in document["coefficients"]]
    bins = [b["name"] for b in document["bins"]]
    processes = [p["name"] for p in document["processes"]]
    signals = [p for p in document["processes"] if "structure" in p]
    rate = [_row(p["rate"], len(bins), f"{where}: rate of {p['name']!r}") for p in document["processes"]]
    up, down = np.zeros((2, len(document["nuisances"]), len(bins), len(processes)))
    for k, nuisance in enumerate(document["nuisances"]):
        for name, effect in nuisance["effects"].items():
            label = f"{where}: nuisance {nuisance['name']!r} on {name!r}"
            column = _index(processes, name, label)
            up[k, :, column] = _row(effect["up"], len(bins), label)
            down[k, :, column] = _row(effect.get("down", effect["up"]), len(bins), label)
    structures = [_structure(p, names, len(bins), where) for p in signals]
    size = len(names) + 1
    return EftModel(
        coefficients=tuple(names),
        low=np.array([c["low"] for c in document["coefficients"]], float),
        high=np.array([c["high"] for c in document["coefficients"]], float),
        bins=tuple(bins),
        observed=np.array([b["observed"] for b in document["bins"]], float),
        processes=tuple(processes),
        rate=np.stack(rate, axis=1),
        signals=tuple(p["name"] for p in signals),
        structure=np.stack(structures, axis=1) if structures else np.zeros((len(bins), 0, size, size)),
        nuisances=tuple(k["name"] for k in document["nuisances"]),
        up=up,
        down=down,
        name=document["name"],
        reference=document.get("reference", ""),
    )


def _structure(process: dict[str, Any], names: list[str], bins: int, where: str) -> np.ndarray:
    """(bins, d + 1, d + 1) S of a process, its coefficients put where the model has them."""
    label = f"{where}: structure of {process['name']!r}"
    own = process["structure"]["coefficients"]
    if len(set(own)) < len(own):
        raise ParameterError(f"{label}: coefficients {own} are not unique")
    columns = np.array([0, *(1 + _index(names, name, label) for name in own)])
    length = len(columns) * (len(columns) + 1) // 2
    rows = process["structure"]["upper"]
    if len(rows) != bins:
        raise ShapeError(f"{label}: {len(rows)} bins, expected {bins}")
    upper = np.stack([_row(row, length, f"{label}, bin {i}") for i, row in enumerate(rows)])
    full = np.zeros((bins, len(names) + 1, len(names) + 1))
    full[:, columns[:, None], columns] = from_triangle(upper, len(columns))
    return full


def counts_to_json(model: EftModel) -> dict[str, Any]:
    """The document from which `counts_from_json` makes the same experiment."""
    edges = zip(model.coefficients, model.low.tolist(), model.high.tolist(), strict=True)
    processes: list[dict[str, Any]] = []
    for j, name in enumerate(model.processes):
        processes.append({"name": name, "rate": model.rate[:, j].tolist()})
        if name in model.signals:
            full = model.structure[:, model.signals.index(name)]
            matters = [i for i in range(len(model.coefficients)) if full[:, :, 1 + i].any()]
            rows = np.array([0, *(1 + i for i in matters)])
            processes[-1]["structure"] = {
                "coefficients": [model.coefficients[i] for i in matters],
                "upper": to_triangle(full[:, rows[:, None], rows]).tolist(),
            }
    return {
        "schema": "eft_counts/1",
        "name": model.name,
        "reference": model.reference,
        "coefficients": [{"name": name, "low": low, "high": high} for name, low, high in edges],
        "bins": [{"name": n, "observed": o} for n, o in zip(model.bins, model.observed.tolist(), strict=True)],
        "processes": processes,
        "nuisances": [{"name": name, "effects": _effects(model, k)} for k, name in enumerate(model.nuisances)],
    }


def _effects(model: EftModel, k: int) -> dict[str, Any]:
    effects = {}
    for j, process in enumerate(model.processes):
        up, down = model.up[k, :, j], model.down[k, :, j]
        if up.any() or down.any():
            effects[process] = {"up": up.tolist()} | ({} if (up == down).all() else {"down": down.tolist()})
    return effects


def _plain_counts(document: dict[str, Any], box: Box | None, where: str) -> EftModel:
    """Arrays side by side: wc, channels, processes, signals, obs, rate, nuisances, lnk_up, lnk_dn, Q_upper."""
    needed = ("wc", "channels", "processes", "signals", "obs", "rate", "nuisances", "lnk_up", "lnk_dn", "Q_upper")
    missing = [key for key in needed if key not in document]
    if missing:
        raise ConfigError(f"{where}: the layout with Q_upper also needs {missing}")
    names = document["wc"]
    if box is None or set(names) - set(box):
        lacking = sorted(set(names) - set(box or {}))
        raise ConfigError(f"{where} names no scan ranges; pass box={{name: (low, high)}} with {lacking}")
    upper, size = _array(document["Q_upper"], f"{where}: Q_upper"), len(names) + 1
    if upper.ndim != 3 or upper.shape[2] != size * (size + 1) // 2:
        raise ShapeError(
            f"{where}: Q_upper has shape {upper.shape}, expected (bins, signals, {size * (size + 1) // 2}) for "
            f"{len(names)} coefficients"
        )
    low, high = np.array([box[name] for name in names], float).T
    return EftModel(
        coefficients=tuple(names),
        low=low,
        high=high,
        bins=tuple(document["channels"]),
        observed=_array(document["obs"], f"{where}: obs"),
        processes=tuple(document["processes"]),
        rate=_array(document["rate"], f"{where}: rate"),
        signals=tuple(_process_of(name, document["processes"], where) for name in document["signals"]),
        structure=from_triangle(upper, size),
        nuisances=tuple(document["nuisances"]),
        up=_array(document["lnk_up"], f"{where}: lnk_up"),
        down=_array(document["lnk_dn"], f"{where}: lnk_dn"),
        name=Path(where).stem,
    )


def _process_of(signal: str, processes: list[str], where: str) -> str:
    """A signal's process, which cards call by the same name or by name_sm."""
    found = [name for name in (signal, f"{signal}_sm") if name in processes]
    if not found:
        raise ParameterError(f"{where}: signal {signal!r} is none of the processes {processes}")
    return found[0]


# Gaussian -----------------------------------------------------------------------------------------------------------


def gaussian_from_json(document: dict[str, Any], where: str = "EFT model") -> EftGaussian:
    """The likelihood that a document of schema eft_gaussian/1 describes."""
    validate(document, "eft_gaussian", where)
    names = [c["name"] for c in document["coefficients"]]
    data = np.array(document["data"], float)
    n, d = len(data), len(names)
    linear, quadratic = np.zeros((n, d)), np.zeros((n, d, d))
    for name, values in document["linear"].items():
        label = f"{where}: linear term of {name!r}"
        linear[:, _index(names, name, label)] = _row(values, n, label)
    for pair, values in document["quadratic"].items():
        label = f"{where}: quadratic term {pair!r}"
        parts = pair.split("*")
        if len(parts) != 2:
            raise ParameterError(f"{label}: expected the names of two coefficients, as in 'a*b'")
        i, j = (_index(names, part, label) for part in parts)
        row = _row(values, n, label)
        quadratic[:, i, j] += 0.5 * row
        quadratic[:, j, i] += 0.5 * row
    return EftGaussian(
        coefficients=tuple(names),
        low=np.array([c["low"] for c in document["coefficients"]], float),
        high=np.array([c["high"] for c in document["coefficients"]], float),
        data=data,
        covariance=np.stack([_row(row, n, f"{where}: covariance") for row in document["covariance"]]),
        standard_model=_row(document["standard_model"], n, f"{where}: standard_model"),
        linear=linear,
        quadratic=quadratic,
        name=document["name"],
        reference=document.get("reference", ""),
    )


def gaussian_to_json(model: EftGaussian) -> dict[str, Any]:
    """The document from which `gaussian_from_json` makes the same likelihood."""
    names = model.coefficients
    edges = zip(names, model.low.tolist(), model.high.tolist(), strict=True)
    quadratic = {}
    for i, first in enumerate(names):
        for j in range(i, len(names)):
            terms = model.quadratic[:, i, j] * (1.0 if i == j else 2.0)
            if terms.any():
                quadratic[f"{first}*{names[j]}"] = terms.tolist()
    return {
        "schema": "eft_gaussian/1",
        "name": model.name,
        "reference": model.reference,
        "coefficients": [{"name": name, "low": low, "high": high} for name, low, high in edges],
        "data": model.data.tolist(),
        "covariance": model.covariance.tolist(),
        "standard_model": model.standard_model.tolist(),
        "linear": {name: model.linear[:, i].tolist() for i, name in enumerate(names)},
        "quadratic": quadratic,
    }


def _from_smefit(document: dict[str, Any], where: str) -> dict[str, Any]:
    """A document with the keys ops, bounds, y, sm, lin, quad and cov, in the package's words."""
    missing = [key for key in ("bounds", "y", "sm", "lin", "quad", "cov") if key not in document]
    if missing:
        raise ConfigError(f"{where}: the layout with ops also needs {missing}")
    lacking = sorted(set(document["ops"]) - set(document["bounds"]))
    if lacking:
        raise ParameterError(f"{where}: no bounds for {lacking}")
    ranges = [(name, *document["bounds"][name]) for name in document["ops"]]
    return {
        "schema": "eft_gaussian/1",
        "name": Path(where).stem,
        "coefficients": [{"name": name, "low": low, "high": high} for name, low, high in ranges],
        "data": document["y"],
        "covariance": document["cov"],
        "standard_model": document["sm"],
        "linear": document["lin"],
        "quadratic": document["quad"],
    }


def _row(values: list[float], length: int, label: str) -> np.ndarray:
    if len(values) != length:
        raise ShapeError(f"{label}: {len(values)} numbers, expected {length}")
    return np.array(values, float)


def _array(values: Any, label: str) -> np.ndarray:
    try:
        return np.array(values, float)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{label} is no array of numbers ({error})") from error


def _index(names: list[str], name: str, label: str) -> int:
    if name not in names:
        raise ParameterError(f"{label}: {name!r} is not among {names}")
    return names.index(name)
