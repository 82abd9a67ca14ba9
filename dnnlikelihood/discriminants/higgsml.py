r"""Real simulated events: H -> tau tau in ATLAS, the open data of the HiggsML challenge (CERN Open Data 328, CC0).

The nuisance is the tau energy scale: the tau's momentum is scaled, the missing momentum balances it, a selection
p_T(tau) > 22 GeV follows, and every feature is computed again (definitions: C. Adam-Bourdarios et al., "Learning to
discover: the Higgs boson machine learning challenge", 2014, appendix B). The published files hold up to 818,238
events; fewer are scaled to the same yields, 692 signal and 411,000 background events in 20.3 / fb. The first 22,889
events hold 10^4 effective background events for 4 10^5 expected: finite simulation dominates every result.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import MissingArtifact, ShapeError
from .events import EventModel, Events, Normalisation, Process, ShiftedSamples
from .readers import read_columns

__all__ = ["FEATURES", "higgsml", "higgsml_features"]

FILE = "discriminants/atlas-higgs-challenge-2014-v2.first22889.csv.gz"
EXPECTED = {"s": 691.99, "b": 410_999.8}
TAU_PT_CUT = 22.0
MISSING = -999.0
TAU, LEPTON, JETS = (
    ("PRI_tau_pt", "PRI_tau_eta", "PRI_tau_phi"),
    ("PRI_lep_pt", "PRI_lep_eta", "PRI_lep_phi"),
    ("DER_deltaeta_jet_jet", "DER_mass_jet_jet", "PRI_jet_num", "PRI_jet_all_pt"),
)
COLUMNS = (*TAU, *LEPTON, *JETS, "PRI_met", "PRI_met_phi", "Weight", "Label")
FEATURES = (
    *("tau_pt", "lep_pt", "met", "mass_vis", "mass_transverse_met_lep", "pt_h", "deltar_tau_lep"),
    *("pt_ratio_lep_tau", "sum_pt", "met_phi_centrality", "jet_num", "mass_jet_jet", "deltaeta_jet_jet"),
)


def higgsml(
    path: str | Path | None = None, *, tau_energy_scale: float = 0.03, background_norm: float = 0.01
) -> EventModel:
    """The events as a model with a tau energy scale and a normalisation of the background.

    Args:
        path: the .csv or .csv.gz file; None for the file in the folder of the environment variable
            DNNLIKELIHOOD_DATA.
        tau_energy_scale: one standard deviation of it, relative.
        background_norm: one standard deviation of the background's yield, relative.

    Raises:
        MissingArtifact: no file.
        ShapeError: a file with other columns or labels.
    """
    table = read_columns(_file(path), COLUMNS)
    shifts = (0.0, tau_energy_scale, -tau_energy_scale)
    features = [higgsml_features(table, 1.0 + shift) for shift in shifts]
    passes = [table["PRI_tau_pt"] * (1.0 + shift) > TAU_PT_CUT for shift in shifts]
    used = np.any(passes, axis=0)

    def events(label: str) -> list[Events]:
        mine = table["Label"] == label
        if not mine.any():
            raise ShapeError(f"no event has the label {label!r}")
        scale = EXPECTED[label] / table["Weight"][mine].sum()
        rows = mine & used
        return [
            Events.of(x[rows], FEATURES, weights=np.where(p, table["Weight"], 0.0)[rows] * scale)
            for x, p in zip(features, passes, strict=True)
        ]

    samples = {"signal": events("s"), "background": events("b")}
    processes = tuple(Process(name, e[0], poi="r" if name == "signal" else None) for name, e in samples.items())
    shift = ShiftedSamples("tau_energy_scale", {name: (e[1], e[2]) for name, e in samples.items()}, same_events=True)
    norm = Normalisation("background_norm", {"background": (1 + background_norm, 1 - background_norm)})
    return EventModel(processes, (shift, norm))


def higgsml_features(table: dict[str, np.ndarray], scale: float) -> np.ndarray:
    """The 13 features (n, 13) with the tau's momentum scaled; GeV and radians."""
    tau_pt, tau_eta, tau_phi = (table[name] for name in TAU)
    lep_pt, lep_eta, lep_phi = (table[name] for name in LEPTON)
    met_x = table["PRI_met"] * np.cos(table["PRI_met_phi"]) - (scale - 1) * tau_pt * np.cos(tau_phi)
    met_y = table["PRI_met"] * np.sin(table["PRI_met_phi"]) - (scale - 1) * tau_pt * np.sin(tau_phi)
    tau_pt = scale * tau_pt
    met, met_phi = np.hypot(met_x, met_y), np.arctan2(met_y, met_x)
    delta_phi = np.angle(np.exp(1j * (tau_phi - lep_phi)))
    higgs_x = tau_pt * np.cos(tau_phi) + lep_pt * np.cos(lep_phi) + met_x
    higgs_y = tau_pt * np.sin(tau_phi) + lep_pt * np.sin(lep_phi) + met_y
    between = np.sign(np.sin(tau_phi - lep_phi))
    a, b = np.sin(met_phi - lep_phi) * between, np.sin(tau_phi - met_phi) * between
    jets = [np.where(table[name] == MISSING, 0.0, table[name]) for name in ("DER_mass_jet_jet", "DER_deltaeta_jet_jet")]
    return np.stack(
        [
            tau_pt,
            lep_pt,
            met,
            np.sqrt(2 * tau_pt * lep_pt * (np.cosh(tau_eta - lep_eta) - np.cos(delta_phi))),
            np.sqrt(2 * lep_pt * met * (1 - np.cos(lep_phi - met_phi))),
            np.hypot(higgs_x, higgs_y),
            np.hypot(tau_eta - lep_eta, delta_phi),
            lep_pt / tau_pt,
            tau_pt + lep_pt + table["PRI_jet_all_pt"],
            (a + b) / np.maximum(np.hypot(a, b), 1e-12),
            table["PRI_jet_num"].astype(float),
            *jets,
        ],
        axis=1,
    )


def _file(path: str | Path | None) -> Path:
    if path is not None:
        return Path(path)
    folder = os.environ.get("DNNLIKELIHOOD_DATA")
    if not folder:
        raise MissingArtifact(
            f"set DNNLIKELIHOOD_DATA to the folder that holds {FILE}, or give the path of a HiggsML file (CERN Open "
            "Data 328)"
        )
    return Path(folder) / FILE
