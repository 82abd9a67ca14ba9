"""Published files: how fast they answer outside Python's frameworks, and whether all runtimes give the same numbers.

    python benchmarks/export.py [--model saved_models/toy_lhc] [--smoke] [--output FOLDER]

Speed is measured on the published ensemble and on one network of 2 x 500 for the same 95 parameters, the size that the
issue of arXiv:1911.03305 is about; its weights are random, which costs the same. One thread; the C++ programs are those
of examples/cpp, built here with what is installed (ORT_ROOT: another ONNX Runtime than the wheel's). Last, `dnnlik
serve` under ten minutes of load, as `serve.py` describes it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from report import HERE, Claim, one_thread, sgemm_gflops, table, write
from serve import server_claims

from dnnlikelihood import PublishedLikelihood
from dnnlikelihood import open as open_published
from dnnlikelihood.ensemble import Baseline, Ensemble, Output
from dnnlikelihood.export.header import header
from dnnlikelihood.export.onnx_graph import write_onnx
from dnnlikelihood.export.publish import tolerated
from dnnlikelihood.export.runtimes import KerasModel, OnnxModel, SavedModel
from dnnlikelihood.guard import Calibration
from dnnlikelihood.members import Member
from dnnlikelihood.npzfiles import write_npz

EXAMPLES = HERE.parent / "examples" / "cpp"
WIDTHS = (500, 500)
READ_ONNX = ("onnxruntime", "openvino")
SEED = 60_601
"""Used nowhere else."""


def best(call: Callable[[], Any], repeats: int, bursts: int = 7) -> float:
    """CPU seconds of a call: the best of several bursts, after one that does not count."""
    times = []
    for _ in range(bursts + 1):
        start = time.process_time()
        for _ in range(repeats):
            call()
        times.append((time.process_time() - start) / repeats)
    return min(times[1:])


# The models ----------------------------------------------------------------------------------------------------------


def one_member(like: Ensemble) -> Ensemble:
    """One random network of 2 x 500 on plain parameters, with baseline and domain of the published one's size."""
    rng, d = np.random.default_rng(SEED), len(like.features.shift)
    shape = (d, *WIDTHS, 1)
    kernels = [(rng.normal(size=(i, o)) / np.sqrt(i)).astype(np.float32) for i, o in pairwise(shape)]
    member = Member.dense(kernels, [np.zeros(o, np.float32) for o in shape[1:]], "silu")
    features = type(like.features)(like.features.shift, like.features.scale, np.zeros(0, int), np.zeros(0))
    calibration = Calibration(np.zeros(0), np.ones(1), 0.01, np.full(1, np.inf))
    output = Output(Baseline(-300.0, np.zeros(d), -np.eye(d)), 1.0, calibration)
    return Ensemble(features, (output,), (member,), like.domain)


def write_member(ensemble: Ensemble, theta: np.ndarray, folder: Path) -> Path:
    """What the C++ programs read, without the papers of a published model."""
    folder.mkdir()
    write_onnx(ensemble, folder / "model.onnx", gradient=False, metadata={})
    write_onnx(ensemble, folder / "model_gradient.onnx", gradient=True, metadata={})
    answers = OnnxModel(folder / "model_gradient.onnx", threads=1)(theta)
    pairs = {"theta": theta, **{k: v for k, v in answers.items() if k != "spread"}}
    write_npz(folder / "reference.npz", {**pairs, "tolerance": tolerated(ensemble, theta, answers["logpdf"])})
    return folder


# C++ -----------------------------------------------------------------------------------------------------------------


def built(build: Path, text: str, *, others: bool) -> list[Path]:
    """The programs: that of a header, and if `others` those of the libraries that are here and read every output."""
    build.mkdir()
    (build / "model.hpp").write_text(text, "utf-8")
    roots = {"MODEL_HPP": str(build / "model.hpp")}
    if others:
        for name, package in (("OpenVINO_ROOT", "openvino"), ("TENSORFLOW_ROOT", "tensorflow")):
            found = importlib.util.find_spec(package)
            roots[name] = str(Path(found.origin).parent) if found and found.origin else ""
        roots["ORT_ROOT"] = os.environ.get("ORT_ROOT", str(build / "ort"))
        if "ORT_ROOT" not in os.environ:
            command = [sys.executable, str(EXAMPLES / "for_onnxruntime.py"), roots["ORT_ROOT"]]
            subprocess.run(command, check=True, capture_output=True)
    flags = ("-DCMAKE_CXX_FLAGS_RELEASE=-O3 -march=native", *(f"-D{k}={v}" for k, v in roots.items()))
    for command in (["cmake", "-S", str(EXAMPLES), "-B", str(build), *flags], ["cmake", "--build", str(build)]):
        subprocess.run(command, check=True, capture_output=True)
    return sorted(p for p in build.glob("with_*") if p.is_file() and p.name != "with_opencv")


def answered(programs: list[Path], folder: Path) -> dict[str, dict[str, Any]]:
    """The report of each program on a folder."""
    reports = {}
    for program in programs:
        if program.name == "with_tensorflow" and not (folder / "saved_model").exists():
            continue
        done = subprocess.run([str(program), str(folder)], capture_output=True, text=True, check=False)
        line = next((line for line in done.stdout.splitlines() if line.startswith("{")), "")
        if not line:
            raise RuntimeError(f"{program.name} failed on {folder}: {done.stderr[-500:]}")
        found = json.loads(line)
        reports[found["runtime"]] = found
    return reports


# Claims --------------------------------------------------------------------------------------------------------------


def latency_claims(
    name: str, members: int, onnx: OnnxModel, point: np.ndarray, cpp: Mapping[str, Any], keras_us: float, repeats: int
) -> list[Claim]:
    python = 1e6 * best(lambda: onnx(point), repeats)
    times = {runtime: found["values"]["microseconds"] for runtime, found in cpp.items()}
    fastest = min((r for r in times if r in READ_ONNX), key=lambda runtime: times[runtime])
    each = ", ".join(f"{runtime} {value:.0f}" for runtime, value in sorted(times.items()))
    keras = {"peer": "keras.predict of the same network, one point", "peer_value": keras_us}
    return [
        Claim(
            claim=f"One point of model.onnx from Python, {name}",
            value=python,
            unit="us",
            target=100.0 * members,
            how="OnnxModel (logpdf, error, in_domain, spread), one thread, CPU time, best of seven bursts",
            **keras,  # type: ignore[arg-type]
        ),
        Claim(
            claim=f"One point of model.onnx in C++, {name}",
            value=times[fastest],
            unit="us",
            target=50.0 * members,
            how=f"the faster of those that read model.onnx: {fastest}; in us: {each}; one thread, CPU time, best of 7 "
            "bursts",
            **keras,  # type: ignore[arg-type]
        ),
    ]


def ratio_claim(name: str, folder: Path, theta: np.ndarray, repeats: int) -> Claim:
    """Cost of the gradient graph over the value graph; the worse of one point and of a chunk."""
    models = [OnnxModel(folder / file, threads=1) for file in ("model_gradient.onnx", "model.onnx")]
    ratios = []
    for rows, calls in ((1, repeats), (256, max(repeats // 20, 3))):
        points = np.resize(theta, (rows, theta.shape[1]))
        gradient, value = (best(lambda m=model, p=points: m(p), calls) for model in models)
        ratios.append(gradient / value)
    return Claim(
        claim=f"model_gradient.onnx over model.onnx, {name}",
        value=max(ratios),
        unit="ratio",
        target=3.0,
        how=f"CPU time, one thread: {ratios[0]:.2f} for one point, {ratios[1]:.2f} a point in chunks of 256",
    )


def share_claim(folder: Path, theta: np.ndarray, rows: int, sgemm: float, keras_seconds: float) -> Claim:
    """Part of the machine's matrix products that a large batch reaches."""
    model = OnnxModel(folder / "model.onnx", threads=1)
    batch = np.resize(theta, (rows, theta.shape[1]))
    seconds = best(lambda: model(batch), 1, bursts=3) / rows
    flops = 2.0 * model.ensemble.n_weights
    return Claim(
        claim="Large batches on one core, network of 2 x 500: share of the measured sgemm rate",
        value=flops / seconds / (sgemm * 1e9),
        unit="ratio",
        target=0.7,
        better="higher",
        peer="keras.predict of the same network, same batch",
        peer_value=flops / keras_seconds / (sgemm * 1e9),
        how=f"batch of {rows} points in chunks of 256, {1e6 * seconds:.2f} CPU-us a point, {flops:.3g} flop a point, "
        f"{sgemm:.0f} Gflop/s",
    )


def agreement_claims(model: PublishedLikelihood, cpp: Mapping[str, Any]) -> list[Claim]:
    """Largest differences from the reference over all runtimes."""
    known, folder = model.reference(), model.folder
    theta, onnx = known["theta"], OnnxModel(folder / "model_gradient.onnx", threads=1)
    residual = np.abs(known["logpdf"] - onnx.ensemble.baseline_logpdf(theta)[:, 0])
    slope = np.maximum(1.0, np.abs(known["gradient"]).max(axis=1))[:, None]
    runtimes = {
        "ONNX Runtime": onnx(theta),
        "NumPy": {"logpdf": onnx.ensemble.members_logpdf(theta).mean(axis=1)},
        "SavedModel": SavedModel(folder / "saved_model" / "1")(theta),
        "Keras": KerasModel(folder / "model.keras")(theta),
    }
    values, slopes = {}, {}
    for name, answers in runtimes.items():
        values[name] = float((np.abs(answers["logpdf"] - known["logpdf"]) / np.maximum(1.0, residual)).max())
        if "gradient" in answers:
            slopes[name] = float((np.abs(answers["gradient"] - known["gradient"]) / slope).max())
    single = cpp.get("openvino", {}).get("gradient", {}).get("logpdf")
    for name, found in cpp.items():
        if name != "openvino":  # single precision, and said so
            values[f"C++ {name}"] = found["gradient"]["logpdf"]
            slopes[f"C++ {name}"] = found["gradient"]["gradient"]

    def claim(what: str, found: Mapping[str, float], target: float, unit: str, more: str = "") -> Claim:
        each = ", ".join(f"{name} {value:.1g}" for name, value in found.items())
        return Claim(
            claim=f"Largest disagreement of {what} between runtimes and reference",
            value=max(found.values()),
            unit=unit,
            target=target,
            how=f"{len(theta)} reference points: {each}{more}",
        )

    beside = "" if single is None else f"; beside it OpenVINO, which has single precision only: {single:.1g} nats"
    return [
        claim("logpdf", values, 1e-5, "nats per max(1, |residual|)", beside),
        claim("the gradient", slopes, 1e-4, "per max(1, largest slope)"),
    ]


def reader_claim(folder: Path, runs: int) -> Claim:
    """A fresh process: import, open with all checks, one point."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def seconds(code: str) -> tuple[float, float]:
        start = time.perf_counter()
        code = f"{code}\nimport time\nprint(time.process_time())"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=quiet)
        return float(done.stdout), time.perf_counter() - start

    d = len(json.loads((folder / "metadata.json").read_text("utf-8"))["parameters"])
    ours = f"import numpy as np, dnnlikelihood as dl\ndl.open({str(folder)!r}).logpdf(np.zeros((1, {d})))"
    peer = (
        "import numpy as np\nfrom pathlib import Path\nfrom dnnlikelihood.export.runtimes import KerasModel\n"
        f"KerasModel(Path({str(folder / 'model.keras')!r}))(np.zeros((1, {d})))"
    )
    cpu, wall = zip(*(seconds(ours) for _ in range(runs)), strict=True)
    return Claim(
        claim="Reader's import and first evaluation",
        value=min(cpu),
        unit="CPU-s",
        target=1.0,
        peer="the same with Keras and model.keras",
        peer_value=min(seconds(peer)[0] for _ in range(2)),
        spread=(min(cpu), max(cpu)),
        how=f"CPU time of a fresh interpreter, best of {runs}: import, hashes, checks of both graphs, one point; "
        f"wall time {min(wall):.2f} to {max(wall):.2f} s on the machine as it was",
    )


def keras_times(ensemble: Ensemble, theta: np.ndarray, rows: int) -> tuple[float, float]:
    """Of keras.predict: microseconds of one point, CPU seconds a point of a large batch."""
    from dnnlikelihood.networks.build import ensemble_model

    model = ensemble_model(ensemble)
    batch = np.resize(theta, (rows, theta.shape[1]))
    one = best(lambda: model.predict(theta[:1], verbose=0), 3, bursts=3)
    return 1e6 * one, best(lambda: model.predict(batch, verbose=0, batch_size=1024), 1, bursts=1) / rows


def measure(folder: Path, work: Path, sgemm: float, *, smoke: bool) -> list[Claim]:
    model = open_published(folder)
    published = OnnxModel(folder / "model.onnx", threads=1)
    theta, repeats, rows = model.reference()["theta"], 20 if smoke else 500, 2000 if smoke else 100_000
    inside = theta[model.in_domain(theta)]
    alone = one_member(published.ensemble)
    single = write_member(alone, inside[:64], work / "one")
    about = {**model.metadata, "name": "one"}
    programs = built(work / "published", header(published.ensemble, model.metadata), others=True)
    own = [p for p in programs if p.name != "with_header"] + built(work / "alone", header(alone, about), others=False)
    cpp, cpp_one = answered(programs, folder), answered(own, single)
    keras_one, keras_batch = keras_times(alone, inside, rows)
    keras_published, _ = keras_times(published.ensemble, inside, 64)
    n = len(published.ensemble.members)
    named = f"published ensemble of {n} networks"
    point = inside[:1]
    onnx = OnnxModel(single / "model.onnx", threads=1)
    return [
        *latency_claims("network of 2 x 500", 1, onnx, point, cpp_one, keras_one, repeats),
        *latency_claims(named, n, published, point, cpp, keras_published, repeats),
        ratio_claim("network of 2 x 500", single, inside, repeats),
        ratio_claim(named, folder, inside, repeats),
        share_claim(single, inside, rows, sgemm, keras_batch),
        *agreement_claims(model, cpp),
        reader_claim(folder, 2 if smoke else 7),
        *server_claims(folder, 5.0 if smoke else 600.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE.parent / "saved_models" / "toy_lhc")
    parser.add_argument("--smoke", action="store_true", help="little of everything")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    one_thread()
    started, sgemm = time.perf_counter(), sgemm_gflops()
    with tempfile.TemporaryDirectory() as work:
        claims = measure(arguments.model.resolve(), Path(work), sgemm, smoke=arguments.smoke)
    table(claims)
    print(write("export", claims, started, sgemm, arguments.output))


if __name__ == "__main__":
    main()
