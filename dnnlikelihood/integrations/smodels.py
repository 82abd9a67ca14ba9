r"""SModelS (arXiv:2112.00769 and later) with learned likelihoods: the reader of OLLL files that its package lacks.

    import dnnlikelihood.integrations.smodels
    dnnlikelihood.integrations.smodels.enable()

SModelS asks `smodels.statistics.hep_olll.nnAdapter` for what an ONNX file says about total yields, and the packages on
PyPI do not hold that module. `enable` puts one there, of our own making. It answers, for total yields x,

    nll_h_0 = stored value without signal,   nll_h_1 = nll_h_0 + undo(network(do(x)))_h,   sigma_h = |undo'| sigma_h

where `do` and `undo` are the pre- and postprocessing that the metadata name: standardization (x - mean) / std,
log_w_negatives sign(x) ln(1 + |x|), log ln x, asinh asinh(x / scale).
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import DomainError, MissingDependency, ShapeError
from .olll import pipelines, read_olll

__all__ = ["NNAdapter", "enable"]

PACKAGE = "smodels.statistics.hep_olll"
NLLS = ("nll_exp", "nll_obs", "nllA_exp", "nllA_obs")
SIGMAS = ("sigma_exp", "sigma_obs", "sigma_expA", "sigma_obsA")
STORED = ("nLL_exp_mu0", "nLL_obs_mu0", "nLLA_exp_mu0", "nLLA_obs_mu0")


def enable() -> None:
    """Let SModelS read ONNX files with our adapter; one that is installed is left alone.

    Raises:
        MissingDependency: SModelS is not installed.
    """
    if importlib.util.find_spec("smodels") is None:
        raise MissingDependency("this needs SModelS: pip install 'dnnlikelihood[smodels]'")
    if f"{PACKAGE}.nnAdapter" in sys.modules or importlib.util.find_spec(PACKAGE) is not None:
        return
    package, adapter = types.ModuleType(PACKAGE), types.ModuleType(f"{PACKAGE}.nnAdapter")
    package.__path__ = []
    adapter.NNAdapter = NNAdapter  # type: ignore[attr-defined]
    package.nnAdapter = adapter  # type: ignore[attr-defined]
    sys.modules |= {PACKAGE: package, f"{PACKAGE}.nnAdapter": adapter}


class NNAdapter:
    """One OLLL file, as SModelS wants to use it; nothing in it is evaluated.

    Args:
        onnx_bytes: the file; or the model that onnx has parsed.
        onnxfilename: its name, for messages.
        session_options: attributes of onnxruntime's SessionOptions; one thread if None.
        validate_metadata: files are checked in any case.

    Raises:
        SafetyError, SchemaError, CorruptFile: as `read_olll`.
        MissingDependency: onnxruntime is not installed.
    """

    def __init__(
        self,
        onnx_bytes: Any,
        onnxfilename: str = "?",
        session_options: Mapping[str, int] | None = None,
        validate_metadata: bool = True,  # noqa: FBT001, FBT002 - the signature is SModelS's
    ) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingDependency("this needs onnxruntime: pip install 'dnnlikelihood[smodels]'") from error
        data = onnx_bytes if isinstance(onnx_bytes, bytes) else onnx_bytes.SerializeToString()
        self.file = read_olll(data, onnxfilename)
        m = self.file.metadata
        parsed = {key: self.file.yields(key) for key in ("obs_yields", "bkg_yields", "bkg_unc")}
        self.onnxMeta: dict[str, Any] = {**m, **parsed}
        self._bins = tuple(parsed["bkg_yields"])
        self._do, self._undo, self._scales = pipelines(m)
        shapes = m["standardization"]
        self._features = tuple(np.array(shapes[f"features_{part}"][0]) for part in ("mean", "std"))
        self._outputs = tuple(np.array(shapes[f"nLLs_{part}"][0]) for part in ("mean", "std"))
        options = onnxruntime.SessionOptions()
        for name, value in (session_options or {"inter_op_num_threads": 1, "intra_op_num_threads": 1}).items():
            setattr(options, name, value)
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def predict(self, yields: Mapping[str, float], yields_are_signal_yields: bool = False) -> dict[str, float]:  # noqa: FBT001, FBT002 - SModelS's signature
        """Negative log-likelihoods without signal (_0) and at the given yields (_1), and their standard deviations.

        Args:
            yields: of every bin, by name: total, or of the signal alone.
            yields_are_signal_yields: which of the two.

        Raises:
            ShapeError: bins are missing or unknown, or a yield is no finite number.
        """
        if not isinstance(yields, Mapping):
            raise ShapeError(f"yields must be numbers by the names of bins, {{{self._bins[0]!r}: ...}}; got {yields!r}")
        unknown, missing = set(yields) - set(self._bins), set(self._bins) - set(yields)
        if unknown or missing:
            raise ShapeError(f"yields do not match the bins: missing {sorted(missing)}, unknown {sorted(unknown)}")
        try:
            x = np.array([float(yields[name]) for name in self._bins])
        except (TypeError, ValueError, OverflowError) as error:
            raise ShapeError(f"a yield is no number: {dict(yields)}") from error
        if not np.isfinite(x).all():
            raise ShapeError(f"a yield is not finite: {dict(zip(self._bins, x, strict=True))}")
        if yields_are_signal_yields:
            x = x + self._no_signal()
        features = _forward(self._do, x, *self._features).astype(np.float32)
        raw = self._session.run(None, {"features": features[None]})[0][0].astype(float)
        found = {f"{name}_0": float(self.onnxMeta[key]) for name, key in zip(NLLS, STORED, strict=True)}
        for h, (name, sigma) in enumerate(zip(NLLS, SIGMAS, strict=True)):
            mean, std = self._outputs[0][h], self._outputs[1][h]
            delta, slope = _backward(self._undo[h], raw[h], mean, std, self._scales[h])
            found[f"{name}_1"] = found[f"{name}_0"] + delta
            found[sigma] = float(abs(slope * raw[4 + h]))
        found["nll_obs_max"] = float(self.onnxMeta["nLL_obs_max"][1])
        return found

    def without_signal(self) -> dict[str, float]:
        """The answer at no signal."""
        return self.predict(dict(zip(self._bins, self._no_signal(), strict=True)))

    def _no_signal(self) -> np.ndarray:
        """(n,) background of signal regions, observed counts of the others."""
        channels = self.onnxMeta["channels"]
        return np.array(
            [
                self.onnxMeta["bkg_yields" if channels[b.rpartition("-")[0]] == "SR" else "obs_yields"][b]
                for b in self._bins
            ]
        )


def _forward(operations: list[str], x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Preprocess the features."""
    steps: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "standardization": lambda v: (v - mean) / std,
        "log_w_negatives": lambda v: np.sign(v) * np.log1p(np.abs(v)),
        "log": np.log,
        "asinh": np.arcsinh,
    }
    for name in operations:
        if name == "log" and (x <= 0).any():
            raise DomainError("this file takes logarithms of total yields, and one is not positive")
        x = steps[name](x)
    return x


def _backward(operations: list[str], y: float, mean: float, std: float, scale: float) -> tuple[float, float]:
    """Undo the preprocessing of an output: its value, and the slope by which deviations grow."""
    slope = 1.0
    for name in reversed(operations):
        if name == "standardization":
            y, slope = y * std + mean, slope * std
        elif name == "log_w_negatives":
            slope *= np.exp(abs(y))
            y = float(np.sign(y) * np.expm1(abs(y)))
        elif name == "log":
            y = float(np.exp(y))
            slope *= y
        else:
            slope *= scale * np.cosh(y)
            y = float(scale * np.sinh(y))
    return float(y), float(slope)
