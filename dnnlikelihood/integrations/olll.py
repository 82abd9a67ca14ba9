r"""Files of the Open Library of Learned Likelihoods (OLLL), schema 0.1: export, reading without eval, and a checker.

    export_olll(dnnlik, likelihood, "model.onnx", name=..., author=..., source={...})
    check_olll("model.onnx").problems          # () if OLLL readers can use the file

The format is an ONNX graph, features [batch, n] -> [batch, 8], and metadata entries that hold JSON; `export.olll` has
the formulae. Readers of the format evaluate some entries as Python. Here they are parsed as JSON and nothing else, and
what is not JSON is refused as unsafe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import (
    ConfigError,
    CorruptFile,
    DnnLikelihoodError,
    MissingArtifact,
    MissingDependency,
    SafetyError,
    SchemaError,
)
from ..export.olll import HEADS, LABELS, OlllModel, write_olll
from ..export.onnx_nodes import onnx_package
from ..jsonfiles import strict_loads, validate

if TYPE_CHECKING:
    from ..dnnlik import DnnLik
    from ..profiled import ProfiledLikelihood
    from ..published import PublishedLikelihood

__all__ = ["OlllFile", "OlllReport", "check_olll", "export_olll", "read_olll"]

MOST_BYTES = 2**28
WORDS = ("olll_schema_version", "model_type", "model_name", "model_author", "model_license", "input_type", "run_config")
YIELDS = ("obs_yields", "bkg_yields", "bkg_unc")
NULLS = tuple(f"{label}_mu0" for label in LABELS)
MAXIMA = tuple(f"{label}_max" for label in LABELS)
BOUNDS = ("x_min", "x_max", "y_min", "y_max")
OTHERS = ("source", "channels", "removeCRsVRs", "remove_channels", "preprocessing", "standardization")
JSON = (*YIELDS, *NULLS, *MAXIMA, *BOUNDS, *OTHERS)
EVALUATED = (*YIELDS, "channels", "standardization")
"""Entries that readers evaluate as Python, where true, false and null are no names."""
CONSISTENCY = 3e-2
"""What SModelS allows nll without signal to differ from its stored value, relatively."""


@dataclass(frozen=True)
class OlllFile:
    """A file that was read and is safe to use."""

    data: bytes
    """The ONNX model."""
    metadata: Mapping[str, Any]
    """Its entries: JSON parsed, words as they are, run_config as a mapping."""

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of the inputs, `<channel>-<i>`."""
        return tuple(name for name, _ in self.metadata["bkg_yields"])

    def yields(self, key: str) -> dict[str, float]:
        """One of obs_yields, bkg_yields, bkg_unc by bin, without channels that were removed."""
        removed = set(self.metadata["remove_channels"])
        return {n: float(v) for n, v in self.metadata[key] if n.rpartition("-")[0] not in removed}


@dataclass(frozen=True)
class OlllReport:
    """What is wrong with a file; nothing, if `problems` is empty."""

    path: str
    problems: tuple[str, ...]
    unsafe: tuple[str, ...]
    """Those of the problems that may harm who opens the file."""

    @property
    def valid(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def export_olll(
    model: DnnLik | PublishedLikelihood,
    likelihood: ProfiledLikelihood,
    path: str | Path,
    *,
    name: str,
    author: str,
    source: Mapping[str, Any],
    licence: str = "CC-BY-4.0",
    **about: str,
) -> OlllReport:
    """Write a surrogate of the profiled likelihood of a workspace in the format of OLLL, and check the file.

    Args:
        model: with the heads of a profiled likelihood, anchored at no signal.
        likelihood: what it has learned, for the yields of the bins.
        path: the file, `.onnx`.
        name: of the model.
        author: who made it.
        source: {"analysis_id", "arxiv", "experiment", "sqrt_s" in TeV, "statistical_model": {"type": "histfactory",
            "reference": URL or DOI, "filename"}}.
        licence: SPDX identifier.
        **about: further entries, such as training_date (YYYY-MM-DD).

    Raises:
        ConfigError: a surrogate that the format cannot hold, inputs of other regions, or metadata that are not allowed.
        StaleArtifact: a surrogate of other data than those of the likelihood.
    """
    if not set(HEADS) <= set(likelihood.heads):
        raise ConfigError(
            f"OLLL holds likelihoods of workspaces with the heads {', '.join(sorted(set(HEADS)))}, got "
            f"{', '.join(likelihood.heads) or 'one without heads'}; give ProfiledLikelihood.from_workspace(...), whole"
        )
    _check_inputs(model.parameters.names, likelihood.parameters.names)
    write_olll(_ensemble(model), _described(likelihood, name, author, licence, source, about), path)
    report = check_olll(path)
    if not report.valid:
        Path(path).unlink()
        raise ConfigError(f"not written, as OLLL readers would refuse it: {'; '.join(report.problems)}")
    return report


def _check_inputs(learned: Sequence[str], true: Sequence[str]) -> None:
    """Raise ConfigError unless the bins are the same, in order."""
    if learned == true:
        return
    pairs = (("the surrogate", learned, true), ("the likelihood", true, learned))
    alone = [(who, [name for name in mine if name not in other]) for who, mine, other in pairs]
    differ = "; ".join(f"{who} alone has {', '.join(names[:6])}" for who, names in alone if names)
    raise ConfigError(
        f"the surrogate has {len(learned)} inputs, the likelihood {len(true)}: {differ or 'their order differs'}. Give "
        "the workspace and the regions that were learned: --signal-regions and --no-control-regions as for `dnnlik "
        "learn`, in Python ProfiledLikelihood.from_workspace(..., signal_regions=..., include_control_regions=...)"
    )


def _ensemble(model: Any) -> Any:
    if hasattr(model, "ensemble"):
        return model.ensemble
    from ..export.runtimes import check_onnx, read_ensemble

    path = model.folder / "model.onnx"
    return read_ensemble(*check_onnx(path.read_bytes(), str(path)))


def _described(
    likelihood: ProfiledLikelihood,
    name: str,
    author: str,
    licence: str,
    source: Mapping[str, Any],
    about: Mapping[str, str],
) -> OlllModel:
    """Yields of the bins; the uncertainty of the background is sqrt(sum_p (d lambda / d nu_p)^2 sigma_p^2)."""
    profiled, model = likelihood.source, likelihood.source.model
    regions = profiled.arguments["signal_regions"]
    bins = likelihood.parameters.names
    background, slope = model.jacobian(model.hold(np.zeros((1, len(bins)))), np.asarray(model.start)[None])
    held = model.constraints.precision + model.constraints.rate
    variance = np.where(held > 0, 1 / np.where(held > 0, held, 1.0), 0.0)
    return OlllModel(
        name=name,
        author=author,
        licence=licence,
        bins=bins,
        control=np.array([b.rpartition("-")[0] not in regions for b in bins]),
        background=background[0],
        observed=np.asarray(profiled.data["observed"].counts),
        uncertainty=np.sqrt((slope[0].astype(float) ** 2) @ variance),
        null_logpdf=dict(zip(likelihood.heads, likelihood.null_logpdf.tolist(), strict=True)),
        source=source,
        about=about,
    )


def check_olll(path: str | Path) -> OlllReport:
    """Everything that is wrong with a file; it is parsed, and run once if it is safe, and never evaluated.

    Raises:
        MissingArtifact: no such file. MissingDependency: onnx, onnxruntime or PyYAML is not installed.
    """
    path = Path(path)
    try:
        _, problems = _examine(_contents(path), run=True)
    except (CorruptFile, SafetyError) as error:
        problems = [(isinstance(error, SafetyError), str(error))]
    return OlllReport(str(path), tuple(t for _, t in problems), tuple(t for bad, t in problems if bad))


def read_olll(data: bytes | str | Path, where: str = "OLLL file") -> OlllFile:
    """Read a file, or the bytes of one.

    Raises:
        SafetyError: it holds Python code, data elsewhere or foreign operators.
        SchemaError: it is not of OLLL's schema 0.1.
        CorruptFile: it is no ONNX file. MissingArtifact: there is none.
    """
    if not isinstance(data, bytes):
        where, data = str(data), _contents(Path(data))
    found, problems = _examine(data, run=False)
    if problems:
        worst = max(problems, key=lambda p: p[0])
        raise (SafetyError if worst[0] else SchemaError)(f"{where}: {worst[1]} ({len(problems)} problems in all)")
    return found


def _contents(path: Path) -> bytes:
    if not path.is_file():
        raise MissingArtifact(f"{path} does not exist; expected an ONNX file")
    if path.stat().st_size > MOST_BYTES:
        raise SafetyError(f"{path} is larger than {MOST_BYTES} bytes")
    return path.read_bytes()


def _examine(data: bytes, *, run: bool) -> tuple[OlllFile, list[tuple[bool, str]]]:
    """The file, and (is it unsafe, what) for every problem."""
    onnx = onnx_package()
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise CorruptFile(f"not an ONNX file ({error})") from error
    problems = [(True, text) for text in _graph_dangers(model)]
    metadata: dict[str, Any] = {}
    problems += _entries(model, metadata)
    if not problems:
        try:
            validate(metadata, "olll", "the metadata")
        except SchemaError as error:
            problems.append((False, str(error)))
    if not problems:
        n = len(metadata["bkg_yields"])
        problems += [(False, text) for text in (*_interface(model, n), *_values(metadata, n))]
    found = OlllFile(data, metadata)
    if run and not problems:
        problems += [(False, text) for text in _without_signal(found)]
    return found, problems


def _graph_dangers(model: Any) -> list[str]:
    types = onnx_package().AttributeProto
    found = []
    if model.functions or model.training_info or model.graph.sparse_initializer:
        found.append("it holds functions, training graphs or sparse tensors")
    if any(t.data_location or t.external_data for t in model.graph.initializer):
        found.append("it keeps data in other files")
    if {node.domain for node in model.graph.node} - {"", "ai.onnx"}:
        found.append("it has operators that are not ONNX's own")
    if any(a.type in (types.GRAPH, types.GRAPHS) for node in model.graph.node for a in node.attribute):
        found.append("it has loops or branches")
    return found


def _entries(model: Any, metadata: dict[str, Any]) -> list[tuple[bool, str]]:
    """Parse all entries into `metadata`; (is it unsafe, what) for what cannot be parsed or is missing."""
    count = Counter(p.key for p in model.metadata_props)
    problems = [(False, f"the entry {key!r} occurs {n} times") for key, n in count.items() if n > 1]
    problems += [(False, f"the entry {key!r} is missing") for key in (*WORDS, *JSON) if key not in count]
    for entry in model.metadata_props:
        if entry.key in JSON:
            try:
                metadata[entry.key] = strict_loads(entry.value, entry.key)
            except DnnLikelihoodError:
                problems.append(
                    (True, f"{entry.key!r} is not JSON, and other readers evaluate it: {entry.value[:60]!r}")
                )
                continue
            if entry.key in EVALUATED and _constants(metadata[entry.key]):
                problems.append((False, f"{entry.key!r} has true, false or null, which other readers cannot evaluate"))
        elif entry.key == "run_config":
            try:
                metadata[entry.key] = _yaml(entry.value)
            except SafetyError as error:
                problems.append((True, str(error)))
        else:
            metadata[entry.key] = entry.value
    return problems


def _yaml(text: str) -> Any:
    """Plain data of a YAML text; None if it is none.

    Raises:
        SafetyError: it has tags, by which a less careful reader makes Python objects.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingDependency("this needs PyYAML: pip install 'dnnlikelihood[smodels]'") from error
    try:
        return yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:
        raise SafetyError(
            f"'run_config' asks for more than plain data, which other readers may run: {error.problem}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError):  # dates that are none, endless digits, thousands of brackets
        return None


def _constants(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_constants(v) for v in value.values())
    if isinstance(value, list):
        return any(_constants(v) for v in value)
    return value is None or isinstance(value, bool)


def _interface(model: Any, n: int) -> list[str]:
    """What SModelS gives and takes."""
    types = onnx_package().TensorProto

    def shape(value: Any) -> tuple[int, list[int]]:
        return value.type.tensor_type.elem_type, [d.dim_value for d in value.type.tensor_type.shape.dim]

    held = {t.name for t in model.graph.initializer}
    inputs = {v.name: shape(v) for v in model.graph.input if v.name not in held}
    outputs = [shape(v) for v in model.graph.output]
    found = []
    if inputs != {"features": (types.FLOAT, [0, n])}:
        found.append(f"the inputs are {inputs}; expected features, float32 [batch, {n}]")
    if outputs != [(types.FLOAT, [0, 8])]:
        found.append(f"the outputs are {outputs}; expected one, float32 [batch, 8]")
    return found


def _values(m: Mapping[str, Any], n: int) -> list[str]:
    """What the schema cannot say: sizes that go together, bounds in order, bins that are the same."""
    names = {key: [name for name, _ in m[key]] for key in YIELDS}
    bins, shapes = names["bkg_yields"], m["standardization"]
    sizes = {"x_min": m["x_min"], "x_max": m["x_max"]}
    sizes |= {key: shapes[key][0] for key in ("features_mean", "features_std")}
    found = [f"{key} has {len(values)} numbers for {n} bins" for key, values in sizes.items() if len(values) != n]
    found += [
        f"{key} has {len(shapes[key][0])} numbers, not 4"
        for key in ("nLLs_mean", "nLLs_std")
        if len(shapes[key][0]) != 4
    ]
    found += [f"the bins of {key} are not those of bkg_yields, in order" for key in YIELDS if names[key] != bins]
    if len(set(bins)) < len(bins):
        found.append("two bins have the same name")
    unknown = {b.rpartition("-")[0] for b in bins} - set(m["channels"])
    found += [f"channel {name!r} of a bin is not listed in channels" for name in sorted(unknown)]
    for axis in ("x", "y"):
        if any(low > high for low, high in zip(m[f"{axis}_min"], m[f"{axis}_max"], strict=False)):
            found.append(f"{axis}_min exceeds {axis}_max")
    return found


def pipelines(metadata: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[float]]:
    """Operations on the features, on each of the four outputs, and the scales of asinh."""
    data = metadata["run_config"]["data"]
    outputs = data["nLL_trafos"]
    if not isinstance(outputs, dict):
        outputs = {"per_output": [outputs] * 4}
    scale = outputs.get("asinh_scale", 1.0)
    return data["trafos"]["fvs_standardized"], outputs["per_output"], scale if isinstance(scale, list) else [scale] * 4


def _without_signal(file: OlllFile) -> list[str]:
    """Whether nll without signal is what the metadata say, as SModelS asks."""
    from .smodels import NNAdapter

    found = NNAdapter(file.data, "file").without_signal()
    return [
        f"{label}: nll without signal is {found[f'{label}_1']:.6g}, the metadata say {found[f'{label}_0']:.6g}"
        for label in ("nll_exp", "nll_obs", "nllA_exp", "nllA_obs")
        if not abs(found[f"{label}_1"] / found[f"{label}_0"] - 1) <= CONSISTENCY
    ]
