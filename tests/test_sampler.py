"""The Sampler: the toy's published moments, kills, other people's folders, round trips."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from dnnlikelihood import Likelihood, Normal, Parameter, ParameterSpace, Prior, Uniform
from dnnlikelihood.errors import (
    ConfigError,
    CorruptFile,
    LikelihoodError,
    Locked,
    MissingArtifact,
    SaveFailed,
    SchemaError,
    StaleArtifact,
)
from dnnlikelihood.sampler import Move, Sampler, SamplerConfig
from dnnlikelihood.store import check_manifest, lock

SPACE = ParameterSpace.of("a", "b")
PRIOR = Prior({"a": Normal(1.0, 2.0), "b": Uniform(-3.0, 3.0)})
SMALL = SamplerConfig(method="emcee", n_chains=12, n_steps=50, n_warmup=20, block=10, seed=5)


def quadratic(theta):
    return -0.5 * (theta**2).sum(axis=1)


@pytest.fixture
def density():
    return Likelihood(quadratic, SPACE, prior=PRIOR)


@pytest.fixture(scope="module")
def toy():
    return Likelihood.from_source("toy_lhc")


# The toy -------------------------------------------------------------------------------------------------------------


def test_the_toy_has_its_published_moments(toy):
    """All 95 means and widths of the two million points of the paper's sampling S1, in effective standard errors."""
    text = resources.files("dnnlikelihood.reference").joinpath("toy_lhc.json").read_text("utf-8")
    published = json.loads(text)["S1_sample_moments_2M"]
    samples = Sampler(toy, SamplerConfig(n_chains=128, n_steps=300, seed=7)).run(progress=False)
    assert samples.verdict.converged, samples.verdict.reasons
    sigma, n = np.array(published["std"]), samples.verdict.ess
    z = (samples.theta.mean(axis=0) - published["mean"]) / (sigma * np.sqrt(1 / n + 1 / 2e6))
    assert np.abs(z).max() < 4.5
    assert np.sqrt(np.mean(z**2)) < 1.3
    z = (samples.theta.std(axis=0) / sigma - 1) / np.sqrt(0.5 / n + 0.5 / 2e6)
    assert np.abs(z).max() < 4.5
    assert np.sqrt(np.mean(z**2)) < 1.3
    assert samples.verdict.ess.min() / samples.seconds > 2000, "ten times less than on a free core"


# Killed and resumed --------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
import numpy as np
from test_sampler import resumable
resumable(sys.argv[1]).run(sys.argv[2], progress=False)
"""


def slow(theta):
    time.sleep(0.001)
    return quadratic(theta)


def resumable(method):
    """A sampler that makes many blocks."""
    if method == "emcee":
        config = SMALL.replace(n_steps=500)
        return Sampler(Likelihood(slow, SPACE, prior=PRIOR), config)
    gaussian = Likelihood.from_source("gaussian", mean=[0.0, 1.0], covariance=[[1.0, 0.5], [0.5, 2.0]])
    config = SamplerConfig(method=method, n_chains=8, n_steps=400, n_warmup=60, block=5, seed=3)
    return Sampler(gaussian.with_prior(Prior({"x0": Normal(0, 3), "x1": Normal(0, 3)})), config)


@pytest.mark.parametrize("method", ["emcee", "hmc"])
def test_a_killed_run_resumes_to_the_identical_chain(method, tmp_path):
    folder = tmp_path / "run"
    arguments = [sys.executable, "-c", SCRIPT, method, str(folder)]
    process = subprocess.Popen(arguments, cwd=Path(__file__).parent)
    while len(list(folder.glob("blocks/0*.npz"))) < 12 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = len(list(folder.glob("blocks/0*.npz")))
    with pytest.raises(MissingArtifact):
        Sampler.load(folder)
    resumed = resumable(method).run(folder, progress=False)
    assert 12 <= made < len(list(folder.glob("blocks/0*.npz")))
    whole = resumable(method).run(progress=False)
    assert np.array_equal(resumed.chains, whole.chains)
    assert np.array_equal(resumed.logpdf, whole.logpdf)
    events = [(e["event"], e["numbers"].get("first_block")) for e in Sampler.load(folder).log]
    assert events == [("sampling", 0), ("sampling", made), ("sampled", None)]
    check_manifest(folder)


def test_a_finished_run_is_read_again_and_can_be_continued(density, tmp_path):
    folder = tmp_path / "run"
    first = Sampler(density, SMALL).run(folder, progress=False)
    before = {p.name: p.stat().st_mtime_ns for p in folder.rglob("*")}
    again = Sampler(density, SMALL).run(folder, progress=False)
    assert np.array_equal(first.chains, again.chains)
    assert before == {p.name: p.stat().st_mtime_ns for p in folder.rglob("*")}
    longer = Sampler(density, SMALL.replace(n_steps=90)).run(folder, progress=False)
    assert np.array_equal(longer.chains, Sampler(density, SMALL.replace(n_steps=90)).run(progress=False).chains)
    assert np.array_equal(longer.chains[:50], first.chains)
    check_manifest(folder)


# Folders that must not be touched ------------------------------------------------------------------------------------


def test_another_run_in_the_folder_is_refused(density, tmp_path):
    folder = tmp_path / "run"
    Sampler(density, SMALL).run(folder, progress=False)
    with pytest.raises(StaleArtifact, match="another config"):
        Sampler(density, SMALL.replace(seed=6)).run(folder, progress=False)
    with pytest.raises(StaleArtifact, match="another density"):
        Sampler(density.with_prior(Prior({"a": Normal(0.0, 1.0)})), SMALL).run(folder, progress=False)


def test_another_callable_of_the_same_name_is_found_out_by_its_numbers(density, tmp_path):
    folder = tmp_path / "run"
    Sampler(density, SMALL).run(folder, progress=False)

    def other(theta):
        return 1.01 * quadratic(theta)

    other.__qualname__ = quadratic.__qualname__
    with pytest.raises(StaleArtifact, match="another log-density: chain"):
        Sampler(Likelihood(other, SPACE, prior=PRIOR), SMALL).run(folder, progress=False)


def test_other_starting_points_are_refused(density, tmp_path):
    config, folder = SMALL.replace(start="given"), tmp_path / "run"
    start = np.random.default_rng(0).normal(size=(12, 2))
    Sampler(density, config).run(folder, start=start, progress=False)
    with pytest.raises(StaleArtifact, match="another start"):
        Sampler(density, config).run(folder, start=start + 1e-9, progress=False)
    Sampler(density, config.replace(n_steps=60)).run(folder, progress=False)


def test_a_folder_of_something_else_is_refused(density, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StaleArtifact, match="no run of a sampler"):
        Sampler(density, SMALL).run(tmp_path, progress=False)
    with pytest.raises(StaleArtifact, match="no run of a sampler"):
        Sampler(density, SMALL).run(tmp_path / "thesis.tex", progress=False)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert not (tmp_path / "run.json").exists()


def test_a_folder_in_use_is_refused(density, tmp_path):
    holder = f"""
from pathlib import Path
import time
from dnnlikelihood.store import lock
with lock(Path({str(tmp_path / "run")!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(Locked):
        Sampler(density, SMALL).run(tmp_path / "run", progress=False)
    process.kill()
    process.wait()
    with lock(tmp_path / "run"):
        pass


def test_a_full_disk_keeps_the_blocks_so_far(density, tmp_path, monkeypatch):
    folder, config = tmp_path / "run", SMALL
    from dnnlikelihood.sampling import chains

    written = []

    def full(path, content):
        if len(written) == 4:
            raise SaveFailed("disk full")
        written.append(path)
        write(path, content)

    write = chains.write_text
    monkeypatch.setattr(chains, "write_text", full)
    with pytest.raises(SaveFailed):
        Sampler(density, config).run(folder, progress=False)
    monkeypatch.undo()
    resumed = Sampler(density, config).run(folder, progress=False)
    assert np.array_equal(resumed.chains, Sampler(density, config).run(progress=False).chains)


def test_a_truncated_block_is_named(density, tmp_path):
    folder = tmp_path / "run"
    Sampler(density, SMALL).run(folder, progress=False)
    block = folder / "blocks" / "00003.npz"
    block.write_bytes(block.read_bytes()[:500])
    with pytest.raises(CorruptFile, match="00003"):
        Sampler.load(folder).samples  # noqa: B018
    foreign = folder / "blocks" / "00004.npz"
    np.savez(foreign, chain=np.array([{"a": 1}], dtype=object))
    block.unlink()
    foreign.rename(block)
    with pytest.raises(CorruptFile):
        Sampler.load(folder).samples  # noqa: B018


# Round trips ---------------------------------------------------------------------------------------------------------


def test_save_and_load(density, tmp_path):
    sampler = Sampler(density, SMALL.replace(moves=(Move.stretch(1.3), Move.gaussian(0.1, "random", 0.5))))
    samples = sampler.run(progress=False)
    loaded = Sampler.load(sampler.save(tmp_path / "saved"))
    assert loaded.config == sampler.config
    assert loaded.fingerprint == sampler.fingerprint
    assert loaded.parents == (density.fingerprint,)
    assert np.array_equal(loaded.samples.chains, samples.chains)
    assert loaded.samples.verdict.to_json() == samples.verdict.to_json()
    assert [e["event"] for e in loaded.log] == ["sampling", "sampled"]
    numbers = list(loaded.log)[-1]["numbers"]
    assert {"acceptance", "cpu_seconds", "ess_min", "rhat_max", "converged"} <= set(numbers)
    metadata = json.loads((tmp_path / "saved" / "metadata.json").read_text())
    assert metadata["verdict"]["converged"] is samples.verdict.converged
    with pytest.raises(MissingArtifact, match="Sampler\\(density"):
        loaded.run()
    loaded.save(tmp_path / "copy")
    assert np.array_equal(Sampler(density, loaded.config).run(tmp_path / "copy").chains, samples.chains)


def test_loading_something_else(tmp_path):
    likelihood = Likelihood.from_source("gaussian")
    likelihood.save(tmp_path / "likelihood")
    with pytest.raises(SchemaError, match="not a sampler"):
        Sampler.load(tmp_path / "likelihood")


def test_nothing_to_save_before_a_run(density, tmp_path):
    with pytest.raises(MissingArtifact, match="call run"):
        Sampler(density, SMALL).save(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_an_executor_does_not_change_the_chain(density):
    alone = Sampler(density, SMALL).run(progress=False)
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as executor:
            shared = Sampler(density, SMALL).run(executor=executor, progress=False)
        assert np.allclose(shared.chains, alone.chains)


# What cannot be sampled ----------------------------------------------------------------------------------------------


def test_starts_without_prior_or_bounds_name_the_parameters():
    space = ParameterSpace((Parameter(name="a", bounds=(0.0, 1.0)), Parameter(name="b")))
    with pytest.raises(ConfigError, match=r"nowhere to start \['b'\]"):
        Sampler(Likelihood(quadratic, space), SMALL).run(progress=False)


def test_all_minus_infinity_is_refused_naming_a_point():
    nowhere = Likelihood(lambda t: np.full(len(t), -np.inf), SPACE, prior=PRIOR)
    with pytest.raises(LikelihoodError, match=r"-inf.*First draw: a="):
        Sampler(nowhere, SMALL).run(progress=False)


def test_a_profiled_density_needs_a_prior(density):
    density.kind, density.prior = "profiled", Prior({})
    with pytest.raises(ConfigError, match="prior"):
        Sampler(density)


def test_start_and_config_must_agree(density):
    with pytest.raises(ConfigError, match="'prior', and start was given"):
        Sampler(density, SMALL).run(start=np.zeros((12, 2)))
    with pytest.raises(ConfigError, match="'given', and start was not given"):
        Sampler(density, SMALL.replace(start="given")).run()


def test_a_covariance_of_another_dimension(density):
    with pytest.raises(ConfigError, match="1 dimensions for a density of 2"):
        Sampler(density, SamplerConfig(covariance=((1.0,),)))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "gibbs"},
        {"n_chains": 1},
        {"n_steps": 3},
        {"n_steps": 10.5},
        {"thin": 0},
        {"block": 0},
        {"n_warmup": 0},
        {"seed": -1},
        {"start": "somewhere"},
        {"moves": ()},
        {"step_size": 0.0},
        {"n_leapfrog": 0},
        {"target_acceptance": 1.0},
        {"covariance": ((1.0, 2.0), (2.0, 1.0))},
    ],
)
def test_bad_configurations(changes):
    with pytest.raises(ConfigError):
        SamplerConfig(**changes)


def test_configurations_round_trip_through_json():
    for config in (SamplerConfig(), SamplerConfig.paper_s1(), SamplerConfig.paper_s2(seed=3)):
        assert SamplerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ConfigError, match="walkers"):
        SamplerConfig.from_json({"walkers": 3})


def test_the_papers_samplings_in_small(toy):
    s1 = Sampler(toy, SamplerConfig.paper_s1(n_chains=200, n_steps=5, n_warmup=20, thin=4)).run(progress=False)
    assert 0.2 < s1.verdict.acceptance < 0.9
    start = np.zeros((20, 95))
    start[:, 0] = np.linspace(-0.5, 1, 20)
    s2 = Sampler(toy, SamplerConfig.paper_s2(n_chains=20, n_steps=50)).run(start=start, progress=False)
    moved = (s2.chains[1:] != s2.chains[:-1]).sum(axis=2)
    assert moved.max() == 1, "one coordinate a step"
    assert s2.logpdf.min() > -310
    assert not s2.verdict.converged
