"""`dnnlik learn WORKSPACE.json`: from a workspace of random structure to a published folder, held against the fits."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from workspaces import absorbed, counting, modifier, random_workspace, sample

pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")
import dnnlikelihood
from dnnlikelihood.cli import main
from dnnlikelihood.cli.workspace import _signals
from dnnlikelihood.errors import LikelihoodError, MissingArtifact, ParameterError, SchemaError, ShapeError
from dnnlikelihood.inference import Inference
from dnnlikelihood.jsonfiles import read_json
from dnnlikelihood.learn_workspace import LearnWorkspaceConfig, learn_workspace, read_patches
from dnnlikelihood.plots.signals import planes_of
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sampling.signal_designs import SignalRays

SEED = 3


def command(*arguments):
    return CliRunner().invoke(main, ["learn", *map(str, arguments), "--no-progress", "--json"])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A workspace, and a folder of patches in a grid of two masses, one of them without signal."""
    base = tmp_path_factory.mktemp("workspace")
    document, rng = random_workspace(SEED), np.random.default_rng(5)
    (base / "search.json").write_text(json.dumps(document))
    (base / "patches").mkdir()
    for heavy in (100, 200, 300, 400):
        for light in (10, 20, 30, 40):
            steps = []
            for i, channel in enumerate(document["channels"]):
                bins = len(channel["samples"][0]["data"])
                data = (
                    1600.0 / heavy * rng.exponential(size=bins) * (0.2 if channel["name"][:2] == "CR" else 1)
                ).tolist()
                value = {"name": "new", "data": data, "modifiers": []}
                steps.append({"op": "add", "path": f"/channels/{i}/samples/0", "value": value})
            (base / "patches" / f"patch.pair_{heavy}_{light}.json").write_text(json.dumps(steps))
    (base / "patches" / "patch.pair_500_10.json").write_text(json.dumps([{"op": "remove", "path": "/channels/0"}]))
    return base


@pytest.fixture(scope="module")
def learned(files):
    result = command(
        files / "search.json", "--patchset", files / "patches", "--reference", "doi:10.1/x", "--output", files / "run"
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_workspace_never_seen_is_learned_and_published(learned, files):
    assert learned["passed"]
    assert learned["limits"]["signals"] == learned["limits"]["observed"]["answered"] == 16
    published = dnnlikelihood.open(files / "run" / "model")
    truth = ProfiledLikelihood.from_workspace(files / "search.json")
    null = np.zeros(len(truth.parameters))
    assert (published.heads_logpdf(null) == truth.heads_logpdf(null)).all()
    signals = np.stack(list(truth.signals_from_patchset(read_patches(files / "patches")).values()))
    ours, theirs = (Inference(d).upper_limit(signals).observed for d in (published, truth))
    off = np.abs(ours / theirs - 1)
    assert learned["limits"]["observed"]["largest"] == pytest.approx(off.max(), rel=0.05)
    assert off.max() < 0.1


def test_it_says_how_wrong_it_is(learned):
    places = {row["where"] for row in learned["accuracy"]}
    assert {"held out", "unseen signals", "real signals", "real signals at their limits"} <= places
    assert {row["where"] for row in learned["percent"]} >= {"held out", "real signals"}
    assert all(0 < row["mape"] <= row["max_ape"] for row in learned["percent"])
    assert len([t for t in learned["targets"] if "unseen signals" in t["target"]]) == 7
    refusals = {t["target"]: t["value"] for t in learned["targets"] if t["target"].startswith("share of")}
    assert set(refusals) == {
        *(f"share of {where}, |delta_nll| < 10, outside the domain" for where in ("unseen signals", "real signals")),
        *(f"share of {which} limits that are refused" for which in ("observed", "expected")),
    }
    assert all(0 <= share <= 0.1 for share in refusals.values())
    kinds = {row["kind"] for row in learned["coverage"] if "kind" in row}
    assert kinds >= {"contamination to 0.1", "contamination beyond"}


def test_the_card_names_the_workspace_and_what_was_tested(learned, files):
    card = (files / "run" / "model" / "README.md").read_text("utf-8")
    assert "upper limits on mu of 16 real signals" in card
    assert "| `observed` | contamination beyond |" in card
    assert "dnnlik learn search.json --patchset patches --reference doi:10.1/x --preset quick --output DIR" in card
    assert "doi:10.1/x" in card
    metadata = (files / "run" / "model" / "metadata.json").read_text("utf-8")
    assert "search.json, sha256" in metadata
    assert {p.stem for p in (files / "run" / "plots").iterdir()} >= {"along_signals", "limits", "exclusion"}


def test_signals_of_three_masses_are_drawn_inplanes_of():
    """A contour never joins signals of another third mass."""
    fixed = [f"pair_{a}_{b}_60" for a in (400, 500, 600) for b in (100, 200, 300, 350)]
    apart = [f"pair_{a}_{b + 130}_{b}" for a in (400, 500, 600) for b in (1, 90, 200)]
    planes = planes_of([*fixed, *apart])
    assert list(planes) == ["third mass 60 GeV", "second - third mass 130 GeV"]
    first, second = (np.isfinite(grid).all(axis=1) for grid in planes.values())
    assert first.sum() == len(fixed)
    assert first[: len(fixed)].all()
    np.testing.assert_array_equal(second, ~first)
    np.testing.assert_array_equal(planes["second - third mass 130 GeV"][-1], [600, 330])
    two = planes_of([f"pair_{a}_{b}" for a in (100, 200, 300) for b in (1, 2, 3)])
    assert list(two) == [""]
    assert planes_of(["a", "b_1"]) == planes_of(["a", "b"]) == planes_of(["pair_1_2", "pair_3_4"]) == {}


def test_again_it_reads_what_is_there(learned, files, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("rows are labelled already")

    monkeypatch.setattr("dnnlikelihood.data.label", refuse)
    again = command(
        files / "search.json", "--patchset", files / "patches", "--reference", "doi:10.1/x", "--output", files / "run"
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["accuracy"] == learned["accuracy"]
    other = command(files / "search.json", "--contamination", 0.3, "--output", files / "run")
    assert other.exit_code != 0
    assert "holds another run" in other.output


def test_what_does_not_fit_is_refused(files, tmp_path):
    result = command("gaussian", "--patchset", files / "patches", "--output", tmp_path / "x")
    assert result.exit_code == 2
    assert "go with a pyhf workspace" in result.output
    result = command(files / "search.json", "--signal-regions", "SR9", "--output", tmp_path / "x")
    assert result.exit_code == 2
    assert "SR9" in result.output
    (tmp_path / "absorbed.json").write_text(json.dumps(absorbed()))
    result = command(tmp_path / "absorbed.json", "--no-control-regions", "--output", tmp_path / "x")
    assert result.exit_code in (1, 2)
    assert not (tmp_path / "x").exists()
    (tmp_path / "none").mkdir()
    with pytest.raises(MissingArtifact, match="holds no patches"):
        read_patches(tmp_path / "none")
    with pytest.raises((MissingArtifact, SchemaError)):
        read_patches(tmp_path / "missing.json")


def adding(data, path="/channels/0/samples/0"):
    return {"op": "add", "path": path, "value": {"name": "new", "data": data, "modifiers": []}}


def patch_set(*steps):
    return {"patches": [{"metadata": {"name": "point"}, "patch": list(steps)}]}


BAD = {
    "no patches": ({"a": 1}, "no patches in {'a': 1}; a patch set is"),
    "a workspace": (counting(), "no patches in a workspace"),
    "a number": ({"patches": 3}, "no patches in"),
    "empty": ({"patches": []}, "no patches in"),
    "no name": ({"patches": [{"patch": [adding([1.0])]}]}, "patch 0: needs metadata.name and patch"),
    "no patch": ({"patches": [{"metadata": {"name": "point"}}]}, "patch 0: needs metadata.name and patch"),
    "text": ({"patches": ["point"]}, "patch 0: needs metadata.name"),
    "twice": ({"patches": 2 * patch_set(adding([1.0]))["patches"]}, "patch 1: there is another patch 'point'"),
    "no list": ({"patches": [{"metadata": {"name": "point"}, "patch": adding([1.0])}]}, "patch 'point': .* is no list"),
    "no dict": (patch_set(adding([1.0]), 3), "patch 'point', step 1: 3 needs a path and an op"),
    "no path": (patch_set({"op": "add"}), "patch 'point', step 0: .* needs a path and an op"),
    "no operation": (patch_set({"path": "/channels/0"}), "patch 'point', step 0: .* needs a path and an op"),
    "nothing added": (patch_set({"op": "remove", "path": "/channels/0"}), "none of 1 patches adds anything"),
    "no channel": (patch_set(adding([1.0], "/channels/7/samples/0")), "patch 'point', step 0: .*another workspace"),
    "the last": (patch_set(adding([1.0], "/channels/-1/samples/0")), "patch 'point', step 0: .*another workspace"),
    "gone": (patch_set({"op": "remove", "path": "/channels/0"}, adding([1.0])), "step 1: .*has 0 at this step"),
    "more bins": (patch_set(adding([1.0, 2.0])), "patch 'point', step 0: 'SR' has 1 bins"),
    "null": (patch_set(adding([None])), "patch 'point', step 0: 'SR' has 1 bins.* got .None."),
    "text yield": (patch_set(adding(["1"])), "patch 'point', step 0: 'SR' has 1 bins.* got .'1'."),
    "no data": (patch_set({**adding([]), "value": {"name": "new"}}), "patch 'point', step 0: .* got None"),
    "no value": (patch_set({"op": "add", "path": "/channels/0/samples/0"}), "patch 'point', step 0: .* got None"),
    "huge": (patch_set(adding([10**350])), "patch 'point', step 0: 'SR' has 1 bins"),
    "a channel": (
        patch_set(adding([1.0]), {"op": "add", "path": "/channels/-", "value": {"name": "VR"}}),
        "patch 'point', step 1: adds a channel, of which the workspace has no background",
    ),
    "of another workspace": (
        {**patch_set(adding([1.0])), "metadata": {"digests": {"sha256": "0" * 64}}},
        "made for another workspace .sha256 000000000000",
    ),
    "newer": (
        {**patch_set(adding([1.0])), "version": "2.0.0"},
        "version '2.0.0' is none of pyhf's schema.* upgrade pyhf",
    ),
    "a modifier": (
        patch_set(adding([1.0], "/channels/0/samples/0/modifiers/0")),
        "patch 'point', step 0: cannot tell what 'add' of '/channels/0/samples/0/modifiers/0' makes of the signal",
    ),
    "beyond the end": (
        patch_set(adding([1.0], "/channels/0/samples/77")),
        "patch 'point', step 0: '77' is no place among the 2 samples that 'SR' has",
    ),
    "no place": (patch_set(adding([1.0], "/channels/0/samples/foo")), "patch 'point', step 0: 'foo' is no place"),
    "unknown modifier": (
        patch_set({**adding([]), "value": sample("new", [1.0], modifier("warp", "w"))}),
        "patch 'point', step 0: unknown modifier 'warp' .'w' of sample 'new' in channel 'SR'",
    ),
    "only replaced": (
        patch_set({"op": "replace", "path": "/channels/0/samples/0/data", "value": [9.0]}),
        "patch 'point', step 0: cannot tell what 'replace'",
    ),
    "only removed": (
        patch_set({"op": "remove", "path": "/channels/0/samples/0"}),
        "patch 'point', step 0: cannot tell what 'remove'",
    ),
    "elsewhere": (patch_set({"op": "add", "path": "/measurements/-", "value": {}}), "none of 1 patches adds anything"),
}


@pytest.fixture(scope="module")
def one_bin():
    return ProfiledLikelihood.from_workspace(counting())


@pytest.mark.parametrize("what", BAD)
def test_a_bad_patch_set_is_refused_by_patch_and_step(what, one_bin, tmp_path):
    document, match = BAD[what]
    (tmp_path / "signals.json").write_text(json.dumps(document))
    with pytest.raises(SchemaError, match=rf"signals\.json.*{match}"):
        _signals(one_bin, tmp_path / "signals.json")
    with pytest.raises(SchemaError):
        one_bin.signals_from_patchset(document)


@pytest.mark.parametrize(
    "step",
    [
        {"op": "replace", "path": "/channels/0/samples/0/data", "value": [9.0]},
        {"op": "replace", "path": "/channels/0/samples/0/data/0", "value": 9.0},
        {"op": "replace", "path": "/channels", "value": []},
        {"op": "replace", "path": "", "value": {}},
        {"op": "remove", "path": "/channels/0/samples/0"},
        {"op": "move", "from": "/channels/0/samples/0", "path": "/channels/0/samples/1"},
        {"op": "move", "from": "/channels/0/samples/0", "path": "/measurements/-"},
        {"op": "copy", "from": "/channels/0/samples/0", "path": "/channels/0/samples/-"},
        adding([1.0], "channels/0/samples/0"),
    ],
    ids=lambda step: f"{step['op']} {step['path']}",
)
def test_steps_that_change_channels_are_not_passed_over(step, one_bin):
    with pytest.raises(SchemaError, match=f"patch 'point', step 1: cannot tell what '{step['op']}'"):
        one_bin.signals_from_patchset({"point": [adding([1.0]), step]})


def test_steps_about_measurements_and_observations_say_nothing_of_the_signal(one_bin):
    steps = [adding([1.0], "/channels/0/samples/2"), adding([0.5], "/channels/0/samples/3")]
    steps += [{"op": "replace", "path": "/measurements/0/config/poi", "value": "mu_new"}]
    steps += [{"op": "replace", "path": "/observations/0/data", "value": [3.0]}]
    assert one_bin.signals_from_patchset({"point": steps}) == {"point": [1.5]}


def test_the_digest_is_of_the_workspace_as_it_came(one_bin, tmp_path):
    """Not of one that was patched before, where the patches of the set would count other channels."""
    from pyhf.utils import digest

    document = patch_set(adding([1.0])) | {"metadata": {"digests": {"sha256": digest(counting())}}}
    (tmp_path / "signals.json").write_text(json.dumps(document))
    assert one_bin.signals_from_patchset(read_patches(tmp_path / "signals.json")) == {"point": [1.0]}
    once = ProfiledLikelihood.from_workspace(counting(), patch=document, patch_name="point")
    with pytest.raises(SchemaError, match="no patch applied"):
        once.signals_from_patchset(document)


def test_the_command_names_the_file(tmp_path):
    (tmp_path / "search.json").write_text(json.dumps(counting()))
    path = tmp_path / "signals.json"
    path.write_text(json.dumps(patch_set(adding([1.0], "/channels/7/samples/0"))))
    result = command(tmp_path / "search.json", "--patchset", path, "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert f"{path}, patch 'point', step 0: '/channels/7/samples/0' is of a channel that is not there" in result.output
    assert not (tmp_path / "run").exists()


def test_yields_that_are_no_numbers_are_refused(one_bin, tmp_path):
    (tmp_path / "signals.json").write_text(json.dumps(patch_set(adding([np.nan]))))
    with pytest.raises(SchemaError, match=r"signals.json: NaN"):
        read_patches(tmp_path / "signals.json")
    with pytest.raises(SchemaError, match="patch 'point', step 0"):
        one_bin.signals_from_patchset({"point": [adding([np.nan])]})
    for signal in ([np.nan], [1.0, 2.0]):
        with pytest.raises(ShapeError, match="signal 'point' must be 1 finite yields"):
            learn_workspace(one_bin, tmp_path / "run", signals={"point": np.array(signal)})


def test_a_simplified_likelihood_of_other_bins_is_refused_before_the_work(one_bin, tmp_path):
    document = counting()
    document["channels"][0]["name"] = document["observations"][0]["name"] = "SRother"
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(ParameterError, match="no parameter 'SRother-0'"):
        learn_workspace(
            one_bin, tmp_path / "run", simplified=ProfiledLikelihood.from_workspace(tmp_path / "other.json")
        )
    assert not (tmp_path / "run").exists()


def test_signals_without_a_limit_or_with_negative_yields_are_told(learned, files, tmp_path, caplog):
    """The run above, as it was before it saw a real signal: of those that are left now none has a limit."""
    seen = shutil.ignore_patterns("rows_*", "design_*", "limits.npz")
    shutil.copytree(files / "run", tmp_path / "run", ignore=seen)
    truth = ProfiledLikelihood.from_workspace(files / "search.json")
    config = LearnWorkspaceConfig.preset("quick", len(truth.parameters))
    one = np.ones(len(truth.parameters))
    signals = {"weak": 1e-12 * one, "weaker": 1e-13 * one, "below": one - 2, "none": 0 * one}
    again = learn_workspace(truth, tmp_path / "run", config=config, signals=signals, progress=False)
    found = again.summary
    assert found["weights_per_member"] == learned["weights_per_member"]
    assert found["left_out"] == {"a negative yield": ["below"], "no yield in any bin": ["none"]}
    assert "left out for a negative yield: 1 of 4 real signals (below); 2 are tested on" in caplog.text
    nothing = {"answered": 0, "median": None, "largest": None, "refused": 0, "no_truth": 2}
    assert found["limits"]["observed"] == nothing
    assert set(found["refused"]) == {"held out", "unseen signals", "real signals"}
    assert not [t for t in found["targets"] if "limits" in t["target"]]
    card = (tmp_path / "run" / "model" / "README.md").read_text("utf-8")
    assert "Real signals not tested on, for a negative yield: 1." in card


def test_events_without_a_background_are_refused():
    """Where nothing is seen either, the bin is as good as any other."""
    document = counting()
    document["channels"].append({"name": "SRrare", "samples": [{"name": "top", "data": [2.0, 0.0], "modifiers": []}]})
    document["observations"].append({"name": "SRrare", "data": [1.0, 0.0]})
    assert ProfiledLikelihood.from_workspace(document).parameters.names == ("SR-0", "SRrare-0", "SRrare-1")
    document["observations"][1]["data"] = [1.0, 3.0]
    with pytest.raises(LikelihoodError, match="'SRrare' bin 1: 3 events observed where the nominal background is 0"):
        ProfiledLikelihood.from_workspace(document)


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_signals_of_workspaces_of_any_structure(seed):
    """Points to learn from lie within the bounds, nearly all of them can be fitted, and most are of interest."""
    truth = ProfiledLikelihood.from_workspace(random_workspace(seed))
    theta = SignalRays()(truth, 300, np.random.default_rng(0))
    pure = SignalRays(contamination=0.1)(truth, 300, np.random.default_rng(0))
    control = [i for i, name in enumerate(truth.parameters.names) if not name.startswith("SR")]
    assert (np.abs(pure) <= -0.1001 * truth.parameters.lower)[:, control].all()
    assert truth.support(theta).all()
    found = truth.label(theta)
    assert found.ok.mean() > 0.98
    rise = truth.null_logpdf - found.value[found.ok]
    assert (np.abs(rise[:, 0]) < 10.5).mean() > 0.5
    assert (rise[:, 0] > 1).mean() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_workspaces_of_other_structure(seed, tmp_path):
    truth = ProfiledLikelihood.from_workspace(random_workspace(seed))
    config = LearnWorkspaceConfig.preset("quick", len(truth.parameters))
    learned = learn_workspace(truth, tmp_path / "run", config=config, progress=False)
    assert learned.passed, learned.summary["targets"]
    assert read_json(tmp_path / "run" / "summary.json") == learned.summary
