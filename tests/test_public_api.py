"""What the package promises to its users, by name, and what importing it costs."""

import importlib
import importlib.util
import json
import subprocess
import sys

import pytest

import dnnlikelihood

PUBLIC = [
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


def test_the_public_names():
    assert dir(dnnlikelihood) == sorted([*PUBLIC, "__version__"])
    assert dnnlikelihood.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    thing = getattr(dnnlikelihood, name)
    assert thing.__doc__
    assert thing.__module__.startswith("dnnlikelihood.")


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Lik'"):
        dnnlikelihood.Lik  # noqa: B018


def loaded_by(statement):
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout))


HEAVY = {"tensorflow", "tensorflow_probability", "keras", "tf_keras", "scipy", "matplotlib", "pyhf", "emcee"}
HEAVY |= {"onnx", "onnxruntime", "h5py", "jsonschema", "rich", "pandas"}


def test_importing_the_package_loads_nothing():
    assert not loaded_by("import dnnlikelihood") & (HEAVY | {"numpy"})


@pytest.mark.parametrize(
    "noun", ["likelihood", "profiled", "sampler", "data", "dnnlik", "inference", "published", "discriminant"]
)
def test_importing_a_noun_loads_nothing_heavy(noun):
    assert not loaded_by(f"import dnnlikelihood.{noun}") & HEAVY


def test_the_errors_have_one_parent():
    errors = importlib.import_module("dnnlikelihood.errors")
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), dnnlikelihood.DnnLikelihoodError)
        assert getattr(errors, name).__doc__
