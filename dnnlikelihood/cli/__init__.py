"""The command line: `dnnlik COMMAND`, one module a group of commands.

    learn                       the whole chain in one command
    sample  label  train        its steps, each of which continues when it was killed
    tune                        the recipe that learns rows best
    infer  agree                questions to truth and surrogate, and their comparison
    scan                        one or two parameters, frozen or profiled, with intervals
    reparametrise               a surrogate in linear combinations of its parameters, without training
    limit                       upper limits and CLs of signals
    compare                     the tables of the original paper
    discriminant                classifiers trained on the uncertainty they lead to
    export  verify  card        publishing
    header                      a published model for C++ without a library
    serve                       published models over HTTP, with a page

Results go to stdout, as tables or with `--json`; progress, logs and errors go to stderr. A command ends with

    0   done, and every check passed
    1   a check failed: chains that did not converge, targets that were missed, files that were edited
    2   bad usage or bad input
"""

import click

from .. import __version__
from .compare import compare
from .discriminant import discriminant
from .header import header
from .infer import agree, infer
from .learn import learn
from .limits import limit
from .publish import card, export, verify
from .reparametrise import reparametrise
from .sample import label, sample
from .scan import scan
from .serve import serve
from .train import train
from .tune import tune

__all__ = ["main"]


class _Chain(click.Group):
    """Commands are listed in the order of the chain."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Chain, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "--version", prog_name="dnnlik")
def main() -> None:
    """Learn, publish and question likelihood functions with neural networks.

    Likelihood -> Sampler -> Data -> DnnLik -> Inference -> published model

    Begin with: dnnlik learn toy-lhc --output runs/toy
    """


for _command in (
    learn,
    sample,
    label,
    train,
    tune,
    infer,
    agree,
    scan,
    reparametrise,
    limit,
    export,
    verify,
    card,
    header,
    serve,
    compare,
    discriminant,
):
    main.add_command(_command)
