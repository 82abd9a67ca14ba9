"""The profiled likelihood of a counting experiment in effective-theory coefficients: nuisances maximised away."""

from __future__ import annotations

from typing import Any

import numpy as np

from .eft import eft_model
from .eft_counts import EftCounts
from .eft_json import counts_to_json
from .profiled import ProfiledSource

__all__ = ["profiled_eft"]


def profiled_eft(document: dict[str, Any] | str | None = None, seed: int = 0) -> ProfiledSource:
    """The profiled likelihood; arguments as of the source `eft`, whose maximum over the nuisances it is.

    The inputs are the coefficients, inside the box in which they are scanned.
    """
    model = eft_model(document, seed)
    counts = EftCounts(model)
    k = len(model.nuisances)
    return ProfiledSource(
        name="eft",
        arguments={"seed": seed} if document is None else {"document": counts_to_json(model)},
        parameters=model.pois,
        nuisances=model.nuisances,
        model=counts,
        data={"logpdf": counts.observation},
        starts={"logpdf": np.zeros((1, k))},
        constant=-0.5 * k * float(np.log(2 * np.pi)),
        reference=model.reference,
    )
