"""An OLLL file of a counting experiment with two signal regions and a control region, written once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from counting_experiment import CountingExperiment
from counting_surrogate import counting_ensemble

from dnnlikelihood.ensemble import Ensemble
from dnnlikelihood.export.olll import OlllModel, write_olll

COUNTS, BACKGROUND, UNCERTAINTY = [12.0, 9.0, 47.0], [10.0, 8.0, 45.0], [2.0, 1.5, 4.0]
SIGNAL = {"SRlow-0": 3.0, "SRhigh-0": 2.0, "CR-0": 4.0}
REACH = np.array([20.0, 18.0, 30.0])
SOURCE: dict[str, Any] = {
    "analysis_id": "COUNTING-2026-01",
    "arxiv": "1007.1727",
    "experiment": "None",
    "sqrt_s": 13,
    "statistical_model": {"type": "histfactory", "reference": "https://example.org/counting", "filename": "a.json"},
}


@cache
def truth() -> CountingExperiment:
    return CountingExperiment(COUNTS, BACKGROUND, UNCERTAINTY)


@cache
def ensemble() -> Ensemble:
    return counting_ensemble(truth(), REACH)


def described(**changes: Any) -> OlllModel:
    fields: dict[str, Any] = {
        "name": "counting", "author": "Somebody", "licence": "CC-BY-4.0", "bins": tuple(SIGNAL),
        "control": np.array([False, False, True]), "background": np.array(BACKGROUND), "observed": np.array(COUNTS),
        "uncertainty": np.array(UNCERTAINTY), "source": SOURCE,
        "null_logpdf": dict(zip(truth().heads, truth().heads_logpdf(np.zeros((1, 3)))[0], strict=True)),
    }  # fmt: skip
    return OlllModel(**{**fields, **changes})


@cache
def written() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counting.onnx"
        write_olll(ensemble(), described(), path)
        return path.read_bytes()
