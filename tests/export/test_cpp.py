"""Published folders read by C++ programs: built, run, and held against the reference points; and spoiled ones refused.

What a machine lacks is skipped by name. ORT_ROOT names a release of ONNX Runtime; without it the wheel serves.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from surrogates import FORMS, headed_ensemble, points, publish_gaussian, random_ensemble

from dnnlikelihood.errors import ArtifactExists, ConfigError, IntegrityError, MissingArtifact
from dnnlikelihood.export.header import MAX_WEIGHTS, header, write_header
from dnnlikelihood.export.publish import read_reference
from dnnlikelihood.npzfiles import write_npz

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "cpp"
MODEL = ROOT / "saved_models" / "toy_lhc"
ABOUT = {"fingerprint": "0" * 64, "licence": "CC0-1.0", "output": {"definition": "a test"}}
PROGRAMS = {
    "with_openvino": "the wheel openvino (pip install openvino)",
    "with_tensorflow": "the wheel tensorflow",
    "with_onnxruntime": "the wheel onnxruntime, or ORT_ROOT, the folder of an unpacked release",
    "with_header": "nothing",
}


def run(*command, **options):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)


def needs_compilers():
    missing = [tool for tool in ("cmake", "g++") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: apt-get install cmake g++")


def package_folder(name):
    found = importlib.util.find_spec(name)
    return "" if found is None else Path(found.origin).parent


def ort_root(folder):
    """ORT_ROOT, or one made of the wheel."""
    if "ORT_ROOT" in os.environ or not package_folder("onnxruntime"):
        return os.environ.get("ORT_ROOT", "")
    made = run(sys.executable, EXAMPLES / "for_onnxruntime.py", folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The folder with the programs that could be built here."""
    needs_compilers()
    build = tmp_path_factory.mktemp("cpp")
    made = write_header(MODEL, build / "toy_lhc.hpp")
    roots = {
        "OpenVINO_ROOT": package_folder("openvino"),
        "TENSORFLOW_ROOT": package_folder("tensorflow"),
        "ORT_ROOT": ort_root(build / "ort"),
        "MODEL_HPP": made,
    }
    configured = run("cmake", "-S", EXAMPLES, "-B", build, *(f"-D{name}={path}" for name, path in roots.items()))
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", build)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning" not in built.stdout + built.stderr
    return build


@pytest.fixture(params=PROGRAMS)
def program(request, programs):
    path = programs / request.param
    if not path.exists():
        pytest.skip(f"{request.param} needs {PROGRAMS[request.param]}")
    return path


def report(done):
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


def test_the_reference_comes_back(program):
    """In double precision within 1e-5 nats; OpenVINO has seven digits of logpdf."""
    done = run(program, MODEL)
    assert done.returncode == 0, done.stdout + done.stderr
    found = report(done)
    assert found["agrees"] is True
    assert found["points"] == len(read_reference(MODEL)["theta"])
    every = found["gradient"]
    assert every["logpdf"] < (1e-4 if program.name == "with_openvino" else 5e-6)
    assert every["gradient"] < 1e-4
    assert every["error"] < 1e-5
    assert every["in_domain"] == 0
    assert found["values"]["logpdf"] == pytest.approx(every["logpdf"], abs=1e-5)


@pytest.mark.parametrize("name", ["eft_sixteen", "atlas_susy_2018_31_b"])
def test_other_published_models_come_back(program, name):
    """A positive form of counts; several heads with an anchor."""
    if program.name == "with_header":
        pytest.skip("a header is one model; every form of network has its own below")
    done = run(program, ROOT / "saved_models" / name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report(done)["values"]["logpdf"] < 1e-4


@pytest.mark.parametrize("name", ["toy_lhc", "eft_sixteen"])
def test_opencv_gives_the_values(programs, tmp_path, name):
    """By a rewritten graph, in single precision; and it can say no."""
    program, rewritten = programs / "with_opencv", tmp_path / "for_opencv.onnx"
    if not program.exists():
        pytest.skip("with_opencv needs OpenCV: apt-get install libopencv-dnn-dev")
    model = ROOT / "saved_models" / name
    made = run(sys.executable, EXAMPLES / "for_opencv.py", model, rewritten)
    assert made.returncode == 0, made.stderr
    done = run(program, model, rewritten)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report(done)["values"]["logpdf"] < 1e-4
    assert run(program, spoiled(tmp_path, "logpdf", model=model), rewritten).returncode == 1


def test_opencv_s_rewriter_refuses_heads(tmp_path):
    done = run(sys.executable, EXAMPLES / "for_opencv.py", ROOT / "saved_models/atlas_susy_2018_31_b", tmp_path / "a")
    assert done.returncode == 1
    assert "without heads" in done.stderr


SPOILED = {
    "logpdf": lambda a: a.__setitem__(17, a[17] + 2e-3),
    "gradient": lambda a: a.__setitem__((5, 3), a[5, 3] + 1e-2),
    "error": lambda a: a.__setitem__(0, 2 * a[0] + 1e-3),
    "in_domain": lambda a: a.__setitem__(9, not a[9]),
    "guard_in_domain": lambda a: a.__setitem__(100, not a[100]),
    "theta": lambda a: a.__setitem__((2, 0), np.nan),
}


def spoiled(folder, *names, model=MODEL):
    """The published model with one other number in each of these arrays."""
    arrays = read_reference(model)
    for name in names:
        SPOILED[name](arrays[name])
    write_npz(folder / "reference.npz", arrays)
    for part in ("model.onnx", "model_gradient.onnx", "saved_model"):
        (folder / part).symlink_to(model / part)
    return folder


@pytest.mark.parametrize("name", SPOILED)
def test_one_wrong_number_is_found(programs, name, tmp_path):
    """The negative control of the comparison that all programs share: 1 when a single number is another one."""
    done = run(programs / "with_header", spoiled(tmp_path, name))
    assert done.returncode == 1, done.stdout + done.stderr
    assert report(done)["agrees"] is False


@pytest.mark.parametrize(("tolerance", "code"), [(0.2, 0), (0.05, 1), (np.nan, 1)])
def test_the_tolerance_is_that_of_the_reference(programs, tolerance, code, tmp_path):
    """A logpdf off by 0.1 nats is within 0.2, and not within 0.05, and nothing is within NaN."""
    arrays = read_reference(MODEL)
    arrays["tolerance"] = np.full_like(arrays["logpdf"], tolerance)
    arrays["logpdf"][17] += 0.1
    write_npz(tmp_path / "reference.npz", arrays)
    done = run(programs / "with_header", tmp_path)
    assert done.returncode == code, done.stdout + done.stderr


def test_every_program_can_say_no(program, tmp_path):
    done = run(program, spoiled(tmp_path, "gradient"))
    assert done.returncode == 1, done.stdout + done.stderr


def test_what_is_no_published_folder_is_refused(programs, tmp_path):
    program = programs / "with_header"
    assert run(program).returncode == 2
    assert run(program, tmp_path / "nothing").returncode == 2
    (tmp_path / "reference.npz").write_bytes(b"PK, but not a zip archive")
    assert "not a zip archive" in run(program, tmp_path).stderr
    np.savez_compressed(tmp_path / "reference.npz", **read_reference(MODEL))
    assert "compressed" in run(program, tmp_path).stderr


# The header for networks of every shape --------------------------------------------------------------------------

SHOW = """
#include <cstdio>

template <typename F, typename G>
void show(F evaluate, G slopes, std::size_t d, std::size_t heads, const double* theta, int rows) {
    double gradient[64];
    for (int row = 0; row < rows; ++row, theta += d)
        for (std::size_t head = 0; head < heads; ++head) {
            const auto answer = evaluate(theta, head);
            std::printf("%.17g %.17g %.17g %d", answer.logpdf, answer.error, answer.spread, int(answer.in_domain));
            std::printf(" %.17g", slopes(theta, gradient, head));
            for (std::size_t i = 0; i < d; ++i) std::printf(" %.17g", gradient[i]);
            std::printf("\\n");
        }
}
"""


def shapes():
    """Ensembles that differ in everything a header has to know: activations, kinks, heads, layers, anchors."""
    activations = ("selu", "silu", "gelu", "softplus", "tanh", "relu")
    for k, activation in enumerate(activations):
        widths = (9, 9 - k % 2)
        yield activation, random_ensemble(activation=activation, kinks=k % 3, members=1 + k % 3, widths=widths)
    for form in FORMS:
        yield form, headed_ensemble(form)
    yield "anchored", headed_ensemble("counting", n_heads=1, anchored=True)
    matrix = np.random.default_rng(2).normal(size=(5, 4)) / 2
    yield "reparametrised", headed_ensemble("dense", n_heads=2).reparametrise(matrix)


def asked(ensemble):
    """(9, d) points; the first outside the domain, the second where an anchored surrogate is exact."""
    theta = points(9, ensemble.n_parameters)
    theta[0, 0] = 30.0
    if ensemble.anchored:
        theta[1] = ensemble.anchor
    return theta


def test_every_shape_of_network_has_its_header(tmp_path):
    needs_compilers()
    ensembles = dict(shapes())
    source, calls = [], []
    for name, e in ensembles.items():
        theta, space = asked(e), f"dnnlik::{name}"
        parameters = [{"name": f"x{i}"} for i in range(theta.shape[1])]
        (tmp_path / f"{name}.hpp").write_text(header(e, {"name": name, "parameters": parameters, **ABOUT}), "utf-8")
        source.append(f'#include "{name}.hpp"')
        calls.append(f"const double {name}[] = {{{','.join(map(repr, theta.reshape(-1).tolist()))}}};")
        functions = f"{space}::evaluate, {space}::logpdf_and_gradient, {space}::n_parameters, {space}::n_heads"
        calls.append(f"show({functions}, {name}, {len(theta)});")
    (tmp_path / "main.cpp").write_text("\n".join([*source, SHOW, "int main() {", *calls, "}"]), "utf-8")
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror")
    built = run("g++", *flags, tmp_path / "main.cpp", "-o", tmp_path / "main")
    assert built.returncode == 0, built.stderr[:3000]
    lines = iter(run(tmp_path / "main").stdout.splitlines())
    for name, e in ensembles.items():
        for theta in asked(e):
            for h in range(len(e.outputs)):
                assert_same(name, e, theta[None], h, [float(x) for x in next(lines).split()])
    assert next(lines, None) is None


def assert_same(name, ensemble, theta, h, answer):
    """One line of the program against the arrays in NumPy."""
    logpdf, error, spread, inside, again, *slopes = answer
    members = ensemble.members_logpdf(theta, h)
    residual = np.abs(members - ensemble.baseline_logpdf(theta)[:, h]).max()
    limit = 1e-5 * max(1.0, residual)
    width = members.std(axis=1)
    calibration = ensemble.outputs[h].calibration
    assert logpdf == again == pytest.approx(members.mean(), abs=limit), name
    assert spread == pytest.approx(width[0], abs=limit), name
    assert error == pytest.approx(calibration.error(members.mean(axis=1), width)[0], abs=3 * limit), name
    assert inside == ensemble.in_domain(theta)[0], name
    gradient = ensemble.heads_logpdf_and_grad(theta)[1][0, h]
    assert np.allclose(slopes, gradient, rtol=0, atol=1e-4 * max(1.0, np.abs(gradient).max())), name
    if ensemble.anchored and (theta[0] == ensemble.anchor).all():
        assert logpdf == ensemble.outputs[h].baseline.constant


def test_the_header_says_whose_it_is(tmp_path):
    folder = publish_gaussian(tmp_path / "model")
    text = write_header(folder, tmp_path / "model.hpp").read_text("utf-8")
    assert "namespace dnnlik::gaussian_3 {" in text
    assert '"x0", "x1", "x2"' in text
    assert json.loads((folder / "metadata.json").read_text("utf-8"))["fingerprint"] in text
    assert "0 at its maximum" in text.splitlines()[0]


@pytest.mark.parametrize(
    "word", ["CC0\nint evil;", "CC0\rint evil;", "CC0\u2028int evil;", "CC0 \\", "CC0 \\\n", "CC0\ud800"]
)
def test_words_of_a_stranger_stay_in_their_comment(word):
    """Licence and definition come from metadata.json, and end in a file that somebody compiles."""
    e = random_ensemble(members=1, widths=(3, 3))
    about = {"name": "m", "parameters": [{"name": f"x{i}"} for i in range(6)], "fingerprint": "0" * 64}
    text = header(e, {**about, "licence": word, "output": {"definition": word}})
    first, second, third = text.encode("utf-8").decode().split("\n")[:3]
    assert first.startswith("// m: CC0")
    assert second.startswith("// Licence CC0")
    assert third == "#pragma once"
    assert not first.endswith("\\")
    assert len(first.splitlines()) == len(second.splitlines()) == 1


@pytest.mark.parametrize("name", ["class", "std", "linux", "4top", "x.y-z"])
def test_every_name_of_a_model_compiles(name, tmp_path):
    needs_compilers()
    about = {**ABOUT, "name": name, "parameters": [{"name": f"x{i}"} for i in range(6)]}
    (tmp_path / "model.cpp").write_text(header(random_ensemble(members=1, widths=(3,)), about), "utf-8")
    done = run("g++", "-std=gnu++17", "-fsyntax-only", tmp_path / "model.cpp")
    assert done.returncode == 0, done.stderr


def test_headers_that_are_not_written(tmp_path):
    folder = publish_gaussian(tmp_path / "model")
    write_header(folder, tmp_path / "model.hpp")
    with pytest.raises(ArtifactExists, match="not replaced"):
        write_header(folder, tmp_path / "model.hpp")
    write_header(folder, tmp_path / "model.hpp", overwrite=True)
    with pytest.raises(MissingArtifact, match="published model"):
        write_header(tmp_path / "nothing", tmp_path / "other.hpp")
    (folder / "metadata.json").write_text("{}", "utf-8")
    with pytest.raises(IntegrityError):
        write_header(folder, tmp_path / "other.hpp")
    big = random_ensemble(widths=(500, 500), members=2)
    assert big.n_weights > MAX_WEIGHTS
    with pytest.raises(ConfigError, match="too many for a header"):
        header(big, {"name": "big", "parameters": [], **ABOUT})
    assert not (tmp_path / "other.hpp").exists()
