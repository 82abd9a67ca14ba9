"""The look of the package's figures, and how they are saved.

Colours are those of Okabe and Ito (2008), which remain distinct with every common colour blindness. The surrogate is
vermilion everywhere; the truth is blue, or black where others are compared with it too. The style holds inside this
package's functions only.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..errors import ConfigError, MissingDependency, SaveFailed, ShapeError
from ..parameters import Parameter, ParameterSpace
from ..store import write_text

try:
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.mathtext import MathTextParser
except ModuleNotFoundError as error:
    raise MissingDependency("figures need matplotlib: pip install 'dnnlikelihood[plot]'") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "DASHES",
    "GREY",
    "PALETTE",
    "SURROGATE",
    "TRUTH",
    "against_exact",
    "bracket",
    "colours",
    "label",
    "new",
    "on",
    "save",
    "select",
    "shades",
    "styled",
]

TRUTH = "#0072B2"
SURROGATE = "#D55E00"
GREY = "#6E6E6E"
PALETTE = (TRUTH, SURROGATE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("--", "-.", ":")
"""Of the 1, 2 and 3 sigma regions."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11,
    "figure.dpi": 110,
    "font.family": "STIXGeneral",
    "font.size": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.5,
    "mathtext.fontset": "stix",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "xtick.direction": "in",
    "xtick.labelsize": 10,
    "xtick.minor.visible": True,
    "xtick.top": True,
    "ytick.direction": "in",
    "ytick.labelsize": 10,
    "ytick.minor.visible": True,
    "ytick.right": True,
}
METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Dates and versions are left out: the same figure gives the same bytes."""

P = ParamSpec("P")
R = TypeVar("R")


class Picture(Figure):
    """A figure that a notebook shows although pyplot has never been imported, at the resolution of a screen."""

    def _repr_png_(self) -> bytes:
        return _rendered(self, "png", dpi="figure")


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run with the style of the package and with none of the user's settings."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.style.context(["default", STYLE]):
            return function(*args, **kwargs)

    return inside


def new(width: float, height: float, **layout: Any) -> Figure:
    """An empty figure (inches) that makes room for its labels."""
    return Picture(figsize=(width, height), **({"layout": "constrained"} | layout))


def on(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """A figure and its only axes, or the axes given and the figure they lie in."""
    if ax is not None:
        return ax.figure.canvas.figure, ax
    figure = new(width, height)
    return figure, figure.add_subplot()


def bracket(low: float, high: float, decimals: int | None = None) -> str:
    """An interval in print, with true minus signs; to a hundredth of its width at least if `decimals` is None."""
    if decimals is None:
        decimals = max(0, 2 - math.floor(math.log10(high - low)))
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]".replace("-", "\N{MINUS SIGN}")


def colours(n: int) -> list[Any]:
    """N colours: the palette while it lasts, then a map of even lightness."""
    if n <= len(PALETTE):
        return list(PALETTE[:n])
    return shades(n)


def against_exact(names: Iterable[str]) -> list[str]:
    """Colours of what is compared with an exact answer, which is black itself; "surrogate" keeps its own."""
    others = cycle((*PALETTE[2:-1], PALETTE[0]))
    return [SURROGATE if name == "surrogate" else next(others) for name in names]


def shades(n: int) -> list[Any]:
    """N colours of one map of rising lightness, for things without a name of their own."""
    return [matplotlib.colormaps["viridis"](0.9 * i / max(n - 1, 1)) for i in range(n)]


def label(parameter: Parameter, *, unit: bool = True) -> str:
    """How an axis names a parameter; its plain name where matplotlib cannot set its LaTeX."""
    text = parameter.label
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        text = parameter.name.replace("_", " ").replace("$", "")
    return f"{text} [{parameter.unit}]" if unit and parameter.unit else text


def select(parameters: ParameterSpace, names: Any) -> tuple[list[int], list[Parameter]]:
    """Columns and parameters of the names asked for; all of them if None.

    Raises:
        ParameterError: an unknown name.
        ShapeError: no name at all.
    """
    chosen = list(parameters.names if names is None else [names] if isinstance(names, str) else names)
    if not chosen:
        raise ShapeError("names is empty: name at least one parameter to plot")
    return [parameters.index(n) for n in chosen], [parameters[n] for n in chosen]


@styled
def _rendered(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=METADATA[kind], **options)
    return buffer.getvalue()


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write `folder/name.png` and `folder/name.pdf`; equal figures give equal bytes. Older files are replaced.

    Args:
        figure: what to write.
        folder: made if it is missing.
        name: of the files, without ending.

    Returns:
        The two paths.

    Raises:
        ConfigError: a name that is no plain file name.
        SaveFailed: the operating system refused; what stood there before is untouched.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ConfigError(f"name {name!r} must be a plain file name without a folder or an ending, such as 'corner'")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveFailed(f"could not make the folder {folder}: {error}") from error
    paths = []
    for kind in METADATA:
        path = folder / f"{name}.{kind}"
        write_text(path, _rendered(figure, kind))
        paths.append(path)
    return paths
