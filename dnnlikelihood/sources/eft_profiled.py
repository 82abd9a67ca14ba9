"""The profiled likelihood of a counting experiment in effective-theory coefficients: nuisances maximised away."""

from __future__ import annotations

import numpy as np

from .eft import Document, eft_model, recipe
from .eft_counts import EftCounts
from .profiled import ProfiledSource, Starts

__all__ = ["profiled_eft"]


def profiled_eft(document: Document = None, seed: int | None = None) -> ProfiledSource:
    """The profiled likelihood; arguments as of the source `eft`, whose maximum over the nuisances it is.

    The inputs are the coefficients, inside the box in which they are scanned.
    """
    model = eft_model(document, seed)
    counts = EftCounts(model)
    k = len(model.nuisances)
    return ProfiledSource(
        name="eft",
        arguments=recipe(model, document, seed),
        parameters=model.pois,
        nuisances=model.nuisances,
        bins=model.bins,
        model=counts,
        data={"logpdf": counts.observation},
        starts={"logpdf": Starts.always(np.zeros((1, k)))},
        constants={"logpdf": -0.5 * k * float(np.log(2 * np.pi))},
        reference=model.reference,
    )
