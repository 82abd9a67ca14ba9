"""`dnnlik reparametrise`: a surrogate in new coordinates, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import tables
from .command import Command, Report, new_folder_option
from .publish import N_REFERENCE

if TYPE_CHECKING:
    import numpy as np

    from ..dnnlik import DnnLik

__all__ = ["reparametrise"]

_PATH = click.Path(path_type=Path)


@click.command(
    cls=Command,
    short_help="A surrogate in new coordinates, without training.",
    example="dnnlik reparametrise runs/eft/dnnlik combination.json --data runs/eft/rows_test --output runs/combined\n"
    'combination.json:  {"ctW": {"x9": 1.7320508, "x10": 1}, "ctZ": {"x9": -2}}',
)
@click.argument("dnnlik", type=_PATH)
@click.argument("formulas", metavar="FORMULAS", type=_PATH)
@new_folder_option
@click.option("--data", type=_PATH, help="Test rows, in the old coordinates: the result is published too, with them.")
@click.option("--name", help="Of the published model.  [default: that of the folder]")
def reparametrise(dnnlik: Path, formulas: Path, output: Path, data: Path | None, name: str | None) -> Report:
    """Put a fixed linear layer in front of a DnnLik: new parameters, the same likelihood, nothing trained.

    DNNLIK is a folder that `dnnlik train` or `learn` wrote. FORMULAS is a JSON file: each old parameter that goes, as a
    linear combination of new ones or of those that stay. The result, DIR/dnnlik, is a DnnLik like any other: `scan`,
    `infer` and `sample` take it. With --data it is published as DIR/model, for every runtime, and verified.
    """
    from ..dnnlik import DnnLik
    from ..errors import NotSerializable
    from ..jsonfiles import read_json
    from ..reparametrisation import linear_map

    model = DnnLik.load(dnnlik)
    matrix, names = linear_map(model.parameters, read_json(formulas))
    turned = model.reparametrise(matrix, names)
    if not isinstance(turned, DnnLik):
        raise NotSerializable(
            "priors of the parameters that go cannot be told in new ones: no file can hold the result"
        )
    turned.save(output / "dnnlik")
    facts = {"parameters": f"{len(names)}: {', '.join(names[:20])}", "saved in": output / "dnnlik"}
    numbers = {"folder": str(output), "parameters": list(names), "matrix": matrix.tolist()}
    if data is None:
        return Report(numbers, (tables.facts(facts),))
    accuracy, failures = _publish(turned, matrix, data, output / "model", name or output.name)
    parts = (tables.accuracy(accuracy), tables.facts(facts | {"published in": output / "model"}))
    return Report(numbers | {"accuracy": accuracy}, parts, failures)


def _publish(
    turned: DnnLik, matrix: np.ndarray, rows: Path, folder: Path, name: str
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Publish with test rows of the old coordinates; accuracy there, and checks that failed."""
    from ..accuracy import accuracy_rows, coverage_rows
    from ..data import Data
    from ..export.verify import verify
    from ..reparametrisation import new_points

    data = Data.load(rows)
    phi, exact = new_points(matrix, data.theta("test")), data.logpdf("test")
    inside = turned.in_domain(phi)
    phi, exact = phi[inside], exact[inside]
    accuracy = accuracy_rows(turned, "test rows", phi, exact)
    turned.export(
        folder,
        name=name,
        description="A surrogate in linear combinations of its first parameters.",
        definition="That of the surrogate which was reparametrised",
        command="dnnlik reparametrise DNNLIK FORMULAS --data DATA --output DIR",
        points=(phi[:N_REFERENCE], exact[:N_REFERENCE]),
        accuracy=accuracy,
        coverage=coverage_rows(turned, phi, exact),
    )
    failed = [row for row in verify(folder).rows if row.status == "failed"]
    return accuracy, tuple(f"verify: {row.check}: {row.detail}" for row in failed)
