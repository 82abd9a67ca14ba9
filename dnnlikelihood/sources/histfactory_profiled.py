r"""The profiled likelihood of a HistFactory workspace as a function of the signal yields in its bins.

    logpdf_h(s) = max over theta of log L(s, theta | n_h, a_h)

with s_b added to the expected counts of bin b, times the luminosity if the workspace has a lumi modifier (the
convention of SModelS). The data sets h, theta^(h) the conditional maximum at s = 0 and a_0 the nominal auxiliary data:

    observed          n = n_obs,                       a = a_0
    expected          n = b_0, the sum of the nominal yields of all backgrounds (before any fit), a = a_0
    asimov_observed   n = lambda(0, theta^(observed)), a = the auxiliary data that theta^(observed) predicts
    asimov_signal     only for discovery: of every signal its own, compared with no signal (`asimov_signal`)

The Asimov set of `expected` is that of nominal parameters, which is b_0 and a_0 again: where lambda(0, nominal) = b_0,
its likelihood is the one of `expected` by construction, and is not computed twice.

Where several valleys of the nuisances compete, fits begin from several points (`starts`). Systematic variations are
straight lines beyond one standard deviation, and pyhf lets them take a background below zero: there are many maxima
where a bin has fewer than no background events, and a strong signal hides behind them. They count where the fit that
begins at the maximum without signal leads there, and are not looked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LikelihoodError
from ..jsonfiles import canonical
from ..parameters import Parameter, ParameterSpace
from ..statistics.counting import Observation
from .asimov_signal import AsimovOfSignal, asimov
from .histfactory_model import Model, compile_model
from .histfactory_patches import patched
from .histfactory_workspace import background_only, measurement_of, regions, within_regions
from .histfactory_yields import Yields
from .profiled import ProfiledSource, Starts, profile_from
from .starts import find_starts

__all__ = ["profiled_histfactory"]

SIGNALS, STRONGEST, SEED = 128, (5.0, 25.0), 1
"""Trial signals, on which starts of fits are found, the strongest of either half of them, and their seed."""
NEGATIVE, TAKEN = 32, (0.3, 0.9)
"""Negative ones besides, half of any shape and half alike in some of the bins, and the part of the background that each
takes away in the bin where that is largest."""
SMALL, FLAT = 0.25, 1e-6
"""A signal of such a part of what is expected and seen in a bin has to change log L by so many nats in some bin."""

logger = logging.getLogger(__name__)


def profiled_histfactory(
    workspace: Mapping[str, Any] | str | Path,
    *,
    patch: Mapping[str, Any] | Sequence[Any] | str | Path | None = None,
    patch_name: str | None = None,
    measurement: str | None = None,
    signal_regions: Sequence[str] | None = None,
    include_control_regions: bool = True,
    discovery: bool = False,
) -> ProfiledSource:
    """The profiled likelihood of a workspace.

    Args:
        workspace: path (`.json`, `.json.gz`), JSON text or dict in pyhf's schema; samples that the parameter of
            interest scales are signal and are left out.
        patch: a JSON patch or a patch set to apply first.
        patch_name: which patch of a patch set.
        measurement: its name; the first one if None.
        signal_regions: names of channels; those that begin with "SR" if None.
        include_control_regions: whether the other channels, "VR..." apart, are fitted too and have signal yields.
        discovery: whether there is the head asimov_signal.

    Raises:
        SchemaError: what is no workspace, or a patch that does not fit it.
        ParameterError: signal regions that the workspace does not have.
        LikelihoodError: events where no background is expected, or a likelihood that does not depend on the signal.
        MissingDependency: pyhf is not installed.
    """
    document = patched(workspace, patch, patch_name)
    chosen = measurement_of(document, measurement)
    signal, control = regions(document, signal_regions)
    cut = within_regions(document, [*signal, *control] if include_control_regions else signal)
    model = compile_model(background_only(cut, chosen["config"]["poi"]), chosen["name"])
    _check_backgrounds(model)
    yields = Yields(model)
    data, starts = _data(model, yields)
    _check_slope(model, yields, data["observed"], starts["observed"])
    heads: dict[str, Observation | AsimovOfSignal] = {**data}
    if discovery:
        own = AsimovOfSignal(data["observed"], starts["observed"])
        heads["asimov_signal"], starts["asimov_signal"] = own, own.find_starts(yields, _trial_signals(model))
    inputs, width = _inputs(model), -float(np.log(model.sigma[np.isfinite(model.sigma)] * np.sqrt(2 * np.pi)).sum())
    return ProfiledSource(
        name="histfactory",
        arguments={
            "workspace": canonical(document).decode(),
            "measurement": chosen["name"],
            "signal_regions": signal,
            "include_control_regions": include_control_regions,
            **({"discovery": True} if discovery else {}),
        },
        parameters=inputs,
        nuisances=model.names,
        bins=inputs.names,
        model=yields,
        data=heads,
        starts=starts,
        constants={
            "observed": width + model.constant,
            "expected": width + model.constant,
            "asimov_observed": width + model.asimov_constant,
        },
        reference="CERN-OPEN-2012-016; JOSS 6 (2021) 2823",
    )


def _check_backgrounds(model: Model) -> None:
    """Raise LikelihoodError if there is a bin in which log L without signal is -inf: events, and nothing expected."""
    bad = np.flatnonzero((model.background <= 0) & (model.observed > 0))
    if len(bad):
        (channel, i), more = model.bins[bad[0]], f" (and {len(bad) - 1} more bins alike)" if len(bad) > 1 else ""
        raise LikelihoodError(
            f"channel {channel!r} bin {i}{more}: {model.observed[bad[0]]:g} events observed where the nominal "
            f"background is {model.background[bad[0]]:g}, so that the likelihood without signal is 0. Leave the bin "
            "out of the workspace, or give it the background that it has"
        )


def _inputs(model: Model) -> ParameterSpace:
    """One input a bin, `<channel>-<i>`; it may take away the nominal background and no more."""
    return ParameterSpace(
        tuple(
            Parameter(name=f"{channel}-{i}", role="input", bounds=(-float(b) or -1e-9, np.inf), start=0.0)
            for (channel, i), b in zip(model.bins, model.background, strict=True)
        )
    )


def _data(model: Model, yields: Yields) -> tuple[dict[str, Observation], dict[str, Starts]]:
    """The data set of each head and where its fits begin."""
    observed = yields.observation
    expected = Observation(model.background, observed.means, observed.auxiliary)
    at_nominal = yields.expected(np.zeros((1, len(model.bins))), model.start[None])[0]
    if not np.allclose(at_nominal, expected.counts, rtol=1e-9, atol=1e-12):
        logger.warning(
            "nominal parameters do not give the nominal yields (a factor that starts at another value than 1): the "
            "Asimov set of `expected` is not `expected` itself"
        )
    signals = _trial_signals(model)
    data = {"observed": observed, "expected": expected}
    starts = find_starts(yields, signals, data)
    null = profile_from(yields, signals[:1], observed, starts["observed"], gradient=False)
    if not null.converged.all():
        raise LikelihoodError(f"the fit of the background to the observed counts failed ({null.status[0]})")
    background = {"asimov_observed": asimov(yields, signals[:1], null.nu).rows(0)}
    return data | background, starts | find_starts(yields, signals, background, list(starts.values()))


def _trial_signals(model: Model) -> np.ndarray:
    """(1 + SIGNALS + NEGATIVE, B) none, signals of so many standard deviations in one bin or several, negative ones."""
    rng = np.random.default_rng(SEED)
    shapes = rng.gamma(0.3, size=(SIGNALS, len(model.bins))) + 1e-9
    strength = rng.uniform(size=(SIGNALS, 1)) * np.resize(STRONGEST, (SIGNALS, 1))
    shapes *= strength / np.sqrt((shapes**2).sum(axis=1, keepdims=True))
    background = model.background
    size = NEGATIVE // 2, len(background)
    parts = np.concatenate([rng.gamma(0.3, size=size), rng.integers(0, 2, size=size)]) * (background > 0)
    parts *= rng.uniform(*TAKEN, size=(NEGATIVE, 1)) / np.maximum(parts.max(axis=1, keepdims=True), 1e-300)
    positive = shapes * np.sqrt(model.observed + 1.0)
    return np.concatenate([np.zeros((1, len(background))), positive, -parts * background])


def _check_slope(model: Model, yields: Yields, seen: Observation, starts: Starts) -> None:
    """Raise LikelihoodError if no small signal makes a difference, in no bin."""
    bins = len(model.bins)
    signals = np.concatenate([np.zeros((1, bins)), SMALL * np.diag(np.minimum(model.background, seen.counts) + 1e-3)])
    value = profile_from(yields, signals, seen, starts, gradient=False).value
    if np.ptp(value[np.isfinite(value)]) < FLAT:
        channels = sorted({channel for channel, _ in model.bins})
        raise LikelihoodError(
            f"the profiled likelihood of {channels} does not depend on the signal: free normalisations of the "
            "background absorb it. Include the control regions that fix them (include_control_regions=True)"
        )
