"""Published models of ATLAS searches against fits of the workspaces they were learned from, at signals of HEPData."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

import dnnlikelihood

FOLDER = os.environ.get("DNNLIKELIHOOD_DATA")
MODELS = Path(__file__).parents[1] / "saved_models"
REGIONS = {"atlas_susy_2018_31_a": "RegionA", "atlas_susy_2018_31_b": "RegionB", "atlas_susy_2018_31_c": "RegionC"}
PUBLISHED = [name for name in REGIONS if (MODELS / name).is_dir()]
SIGNALS = 24


@pytest.mark.parametrize("name", [p.name for p in sorted(MODELS.glob("atlas_*"))])
def test_no_workspace_is_inside_and_it_is_small(name):
    files = [p for p in (MODELS / name).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 6e6
    assert dnnlikelihood.open(MODELS / name).metadata["source"]["recipe"] is None
    assert not any(b"hi_data" in p.read_bytes() for p in files)


@pytest.mark.skipif(not FOLDER, reason="needs DNNLIKELIHOOD_DATA, a folder with likelihoods/ of HEPData")
@pytest.mark.parametrize("name", PUBLISHED)
def test_real_signals_are_answered_as_the_fits_do(name):
    """|error| of Delta NLL below 10, of signals that were not learned from."""
    pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")
    from dnnlikelihood.profiled import ProfiledLikelihood

    archive = Path(FOLDER) / "likelihoods" / "ATLAS-SUSY-2018-31_likelihoods_with_patches.tar.gz"
    with tarfile.open(archive) as inside:
        names = sorted(n for n in inside.getnames() if n.startswith(f"{REGIONS[name]}/patch."))
        patches = {n: json.load(inside.extractfile(n)) for n in names[:: len(names) // SIGNALS]}
        truth = ProfiledLikelihood.from_workspace(json.load(inside.extractfile(f"{REGIONS[name]}/BkgOnly.json")))
    patches = {n: steps for n, steps in patches.items() if any(step["op"] == "add" for step in steps)}
    signals = np.stack(list(truth.signals_from_patchset(patches).values()))
    model = dnnlikelihood.open(MODELS / name, outside="ignore")
    null = np.zeros(signals.shape[1])
    assert (model.heads_logpdf(null) == truth.heads_logpdf(null)).all()
    exact = truth.heads_logpdf(signals)
    low = np.abs(exact - truth.null_logpdf) < 10
    off = np.abs(model.heads_logpdf(signals) - exact)[low]
    assert low.sum() > SIGNALS
    assert off.mean() < 0.005
    assert off.max() < 0.1
