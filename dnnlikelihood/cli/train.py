"""`dnnlik train`: an ensemble from labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from . import tables
from .command import Command, Report, new_folder_option, progress_option

if TYPE_CHECKING:
    from ..dnnlik import DnnLikConfig

__all__ = ["recipe", "train"]

NETWORK = {"members": "n_members", "activation": "activation", "widths": "widths"}
TRAINING = {"epochs": "n_epochs", "batch_size": "batch_size", "learning_rate": "learning_rate", "seed": "seed"}


class _Widths(click.ParamType):
    """256,256: a width for each hidden layer."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return tuple(int(width) for width in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of widths; write 256,256", param, ctx)


@click.command(
    cls=Command,
    resumes=True,
    short_help="Train an ensemble of networks on labelled rows.",
    example="dnnlik train runs/data --epochs 20 --members 3 --output runs/dnnlik",
)
@click.argument("data", type=click.Path(path_type=Path))
@new_folder_option
@click.option("--preset", metavar="NAME", help="The recipe: default, paper (arXiv:1911.03305), cms (EPJ Web Conf. 295 "
              "(2024) 09041), slides, counting (profiled counting likelihoods), or quartic (Gaussian ones of "
              "quadratic predictions).")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path), metavar="JSON",
              help="The recipe from a file, as `dnnlik tune` writes it; not with --preset.")  # fmt: skip
@click.option("--epochs", type=int, help="Passes over the training rows.")
@click.option("--members", type=int, help="Networks in the ensemble.")
@click.option("--activation", help="Of the hidden layers: silu, selu, ...")
@click.option("--widths", type=_Widths(), metavar="N,N,...", help="Units of each hidden layer.")
@click.option("--batch-size", type=int, help="Rows a step.")
@click.option("--learning-rate", type=float, help="Of Adam, at its highest.")
@click.option("--seed", type=int, help="Of weights and batches.")
@progress_option
def train(
    data: Path, output: Path, preset: str | None, config: Path | None, *, progress: bool, **options: Any
) -> Report:
    """Train an ensemble of networks on labelled rows and save it as a DnnLik.

    DATA is a folder that `dnnlik label` wrote. Checkpoints are kept beside the result, in DIR.training: a training
    that was killed continues when the command is given again. Errors are given on the validation rows, which chose
    the calibration, and on the test rows, which nothing has seen.
    """
    from ..accuracy import accuracy_row
    from ..data import Data
    from ..dnnlik import DnnLik

    rows = Data.load(data)
    chosen = _changed(recipe(preset, config, rows.counts["train"]), options)
    model = DnnLik.fit(rows, chosen, folder=output.with_name(f"{output.name}.training"), progress=progress)
    found = [
        accuracy_row(model, split, rows.theta(split), rows.logpdf(split))
        for split in ("validation", "test")
        if rows.counts[split]
    ]
    model.save(output)
    trained = next(event for event in model.log if event["event"] == "trained")["numbers"]
    about = {
        "networks": f"{len(model.ensemble.members)} of {trained['weights_per_member']:,} weights",
        "CPU seconds": f"{trained['cpu_seconds']:,.1f}",
        "saved in": output,
    }
    numbers = {"folder": str(output), "fingerprint": model.fingerprint, "accuracy": found, **trained}
    return Report(numbers, (tables.accuracy(found), tables.facts(about)))


def recipe(preset: str | None, config: Path | None, n_train: int) -> DnnLikConfig:
    """A recipe by name or from a file; the default one if neither is given."""
    from ..dnnlik import DnnLikConfig
    from ..jsonfiles import read_json

    if config is None:
        return DnnLikConfig.preset(preset or "default", n_train)
    if preset is not None:
        raise ConfigError("--preset and --config both name a recipe: give one")
    return DnnLikConfig.from_json(read_json(config))


def _changed(config: DnnLikConfig, options: dict[str, Any]) -> DnnLikConfig:
    network = {field: options[k] for k, field in NETWORK.items() if options[k] is not None}
    training = {field: options[k] for k, field in TRAINING.items() if options[k] is not None}
    return config.replace(network=config.network.replace(**network), training=config.training.replace(**training))
