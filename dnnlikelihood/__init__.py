"""dnnlikelihood: learn, publish and question likelihood functions with neural networks.

    (Discriminant ->) Likelihood -> Sampler -> Data -> DnnLik -> Inference

Names are resolved on first use, so that importing the package is instant and loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .combination import combine
    from .comparison import agreement
    from .data import Data
    from .discriminant import Discriminant
    from .dnnlik import DnnLik
    from .errors import DnnLikelihoodError
    from .inference import Inference
    from .likelihood import Likelihood
    from .parameters import Parameter, ParameterSpace
    from .priors import Normal, Prior, Uniform
    from .profiled import ProfiledLikelihood
    from .published import PublishedLikelihood, open
    from .sampler import Sampler

_HOME = {
    "Data": "data",
    "Discriminant": "discriminant",
    "DnnLik": "dnnlik",
    "DnnLikelihoodError": "errors",
    "Inference": "inference",
    "Likelihood": "likelihood",
    "Normal": "priors",
    "Parameter": "parameters",
    "ParameterSpace": "parameters",
    "Prior": "priors",
    "ProfiledLikelihood": "profiled",
    "PublishedLikelihood": "published",
    "Sampler": "sampler",
    "Uniform": "priors",
    "agreement": "comparison",
    "combine": "combination",
    "open": "published",
}

__all__ = [  # noqa: RUF022 - the order of the chain
    "Discriminant",
    "Likelihood",
    "ProfiledLikelihood",
    "Sampler",
    "Data",
    "DnnLik",
    "Inference",
    "PublishedLikelihood",
    "open",
    "combine",
    "agreement",
    "Parameter",
    "ParameterSpace",
    "Prior",
    "Normal",
    "Uniform",
    "DnnLikelihoodError",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dnnlikelihood' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
