"""The models behind the servers of these tests."""

from pathlib import Path

import pytest
from serving import running
from surrogates import publish_gaussian

from dnnlikelihood.priors import Normal, Prior, Uniform
from dnnlikelihood.server import Limits
from dnnlikelihood.server.listening import load

TOY = Path(__file__).parents[2] / "saved_models" / "toy_lhc"


@pytest.fixture(scope="session")
def gaussian(tmp_path_factory):
    """A published model of three parameters, one of them with a range that ends inside the domain.

    Without its SavedModel, which a server never opens and which takes TensorFlow to write.
    """
    prior = Prior({"x0": Uniform(-2, 3), "x1": Normal(-1, 5)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dnnlikelihood.export.publish.write_saved_model", lambda *_, **__: None)
        return publish_gaussian(tmp_path_factory.mktemp("served") / "gaussian-3", prior=prior)


@pytest.fixture(scope="session")
def models(gaussian):
    return load([gaussian, TOY], Limits())


@pytest.fixture(scope="module")
def client(models):
    with running(models) as client:
        yield client
