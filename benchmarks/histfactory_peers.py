"""What others do for one label of a HistFactory search: pyhf's conditional fit, and an expert's jit-compiled L-BFGS."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sources.histfactory_workspace import measurement_of, within_regions

__all__ = ["Compiled", "pyhf_label"]


def with_signal(
    likelihood: ProfiledLikelihood, yields: np.ndarray, *, free: bool = False
) -> tuple[dict[str, Any], str]:
    """The workspace with a signal in every region, as SModelS patches it; its yields as shapefactors if `free`."""
    document = json.loads(likelihood.source.arguments["workspace"])
    measurement = measurement_of(document, likelihood.source.arguments["measurement"])
    poi = measurement["config"]["poi"]
    known = dict(zip(likelihood.parameters.names, yields.tolist(), strict=True))
    cut = within_regions(document, sorted({name.rpartition("-")[0] for name in known}))
    lumi = any(m["type"] == "lumi" for c in document["channels"] for s in c["samples"] for m in s["modifiers"])
    for channel in cut["channels"]:
        name, bins = channel["name"], len(channel["samples"][0]["data"])
        modifiers = [{"name": poi, "type": "normfactor", "data": None}]
        modifiers += [{"name": "lumi", "type": "lumi", "data": None}] if lumi else []
        modifiers += [{"name": f"yield_{name}", "type": "shapefactor", "data": None}] if free else []
        data = [1.0] * bins if free else [known[f"{name}-{i}"] for i in range(bins)]
        background = [s for s in channel["samples"] if poi not in [m["name"] for m in s["modifiers"]]]
        channel["samples"] = [{"name": "bsm", "data": data, "modifiers": modifiers}, *background]
    return cut, poi


def build(document: dict[str, Any], poi: str) -> tuple[Any, np.ndarray]:
    """Model and data of pyhf; set-up, which no clock counts."""
    import pyhf

    parameters = document["measurements"][0]["config"]["parameters"]
    model = pyhf.Model({"channels": document["channels"], "parameters": parameters}, poi_name=poi, validate=False)
    return model, np.asarray(pyhf.Workspace(document, validate=False).data(model))


def pyhf_label(likelihood: ProfiledLikelihood, yields: np.ndarray) -> tuple[float, float]:
    """(nll, CPU seconds) of `pyhf.infer.mle.fixed_poi_fit`, NumPy and SLSQP, at mu = 1."""
    import pyhf

    pyhf.set_backend("numpy")
    model, data = build(*with_signal(likelihood, yields))
    start = time.process_time()
    _, value = pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)
    return float(value) / 2, time.process_time() - start


class Compiled:
    """pyhf's model compiled once by jax, signal yields as parameters that are held; fits by SciPy's L-BFGS-B."""

    def __init__(self, likelihood: ProfiledLikelihood) -> None:
        import jax
        import pyhf

        pyhf.set_backend("jax", precision="64b")
        model, data = build(*with_signal(likelihood, np.zeros(len(likelihood.parameters)), free=True))
        config = model.config
        self.start = np.array(config.suggested_init(), float)
        self.bounds = np.array(config.suggested_bounds(), float)
        held = np.array(config.suggested_fixed(), bool)
        held[config.poi_index] = True
        self.columns = np.zeros(len(likelihood.parameters), int)
        for i, name in enumerate(likelihood.parameters.names):
            channel, _, number = name.rpartition("-")
            self.columns[i] = config.par_slice(f"yield_{channel}").start + int(number)
        held[self.columns] = True
        self.free = np.flatnonzero(~held)
        columns, free = jax.numpy.asarray(self.columns), jax.numpy.asarray(self.free)
        full = jax.numpy.asarray(self.start).at[config.poi_index].set(1.0)

        def nll(nuisances: Any, yields: Any) -> Any:
            parameters = full.at[columns].set(yields).at[free].set(nuisances)
            return -model.logpdf(parameters, jax.numpy.asarray(data))[0]

        self.nll = jax.jit(jax.value_and_grad(nll))
        self.nll(self.start[self.free], np.ones(len(self.columns)))

    def label(self, yields: np.ndarray) -> tuple[float, float]:
        """(nll, CPU seconds)."""
        from scipy.optimize import minimize

        def value_and_grad(nuisances: np.ndarray) -> tuple[float, np.ndarray]:
            value, grad = self.nll(nuisances, yields)
            value = float(value)
            return (value, np.asarray(grad, float)) if np.isfinite(value) else (1e10, np.zeros(len(nuisances)))

        start = time.process_time()
        options = {"maxiter": 2000, "maxfun": 10000, "ftol": 1e-13, "gtol": 1e-6}
        bounds = self.bounds[self.free]
        fit = minimize(
            value_and_grad, self.start[self.free], jac=True, bounds=bounds, method="L-BFGS-B", options=options
        )
        return float(fit.fun), time.process_time() - start
