"""The model card, and what archives want to know, from metadata.json alone and offline.

README.md        the card: what it is, parameters, output, accuracy in nats, domain, use, licence, limits
CITATION.cff     citation file format 1.2.0           .zenodo.json   metadata of a Zenodo upload
hepdata.json     an entry for `additional_resources` of a HEPData submission (JSON is YAML)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["card_files", "model_card"]

MAX_ROWS = 12
"""Parameters listed one by one; longer runs of alike parameters are folded into one row."""


def card_files(metadata: Mapping[str, Any], plots: Sequence[str] = ()) -> dict[str, str]:
    """{file name: text} of everything this module writes, from metadata.json and paths of plots."""
    return {
        "README.md": model_card(metadata, plots),
        "CITATION.cff": _citation(metadata),
        ".zenodo.json": _json(_zenodo(metadata)),
        "hepdata.json": _json({"additional_resources": [_hepdata(metadata)]}),
    }


def model_card(metadata: Mapping[str, Any], plots: Sequence[str] = ()) -> str:
    """The card in Markdown."""
    sections: tuple[Callable[[Mapping[str, Any]], list[str]], ...] = (
        _what, _output, _parameters, _accuracy, _coverage, _domain, _use, _made, _legal,
    )  # fmt: skip
    lines = [line for section in sections for line in section(metadata)]
    if plots:
        lines += ["## Plots", ""] + [f"![{_words(p)}]({p})\n" for p in plots]
    return "\n".join(lines).rstrip() + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _words(path: str) -> str:
    return path.rsplit("/", 1)[-1].rsplit(".", 1)[0].replace("_", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3g}"


def _what(m: Mapping[str, Any]) -> list[str]:
    n = m["network"]
    shape = " × ".join(str(w) for w in n["widths"])
    return [
        f"# {m['name']}",
        "",
        m["description"],
        "",
        f"A surrogate of a likelihood: an ensemble of {n['n_members']} networks ({shape}, "
        f"{', '.join(n['activations'])}; {n['n_weights']} weights in all) for the difference from a quadratic "
        "baseline.",
        "",
    ]


def _output(m: Mapping[str, Any]) -> list[str]:
    out = m["output"]
    names, many = out["profiled"], len(out["profiled"]) > MAX_ROWS
    profiled = f"{len(names)} nuisance parameters" if many else ", ".join(names) or "nothing"
    listed = f"<details><summary>The {len(names)} nuisance parameters</summary>\n\n{', '.join(names)}\n\n</details>"
    return [
        "## What the number is",
        "",
        f"`logpdf`, natural logarithm, sign +1, factor 1 (a {m['kind']}). {out['definition']}",
        "",
        f"Data: {out['data']}. Profiled over: {profiled}. Offset: {out['offset']}.",
        "",
        *([listed, ""] if many else []),
        *_heads(out),
        "`error` is the half-width in nats of a calibrated 90 % band, `spread` the standard deviation of the members, "
        "`in_domain` whether the point is where the networks were trained. All numbers are float64.",
        "",
    ]


def _heads(out: Mapping[str, Any]) -> list[str]:
    """One row a head; what all heads share has been said."""
    heads = out.get("heads", ())
    if not heads:
        return []
    told = {
        "profiled over": [", ".join(h["profiled"]) or "nothing" for h in heads],
        "offset": [h["offset"] for h in heads],
    }
    whole = {"profiled over": ", ".join(out["profiled"]) or "nothing", "offset": out["offset"]}
    own = [key for key in told if set(told[key]) != {whole[key]}]
    columns = zip(*(told[key] for key in own), strict=True) if own else [()] * len(heads)
    rows = [[f"`{h['name']}`", h["data"], h["definition"], *rest] for h, rest in zip(heads, columns, strict=True)]
    table = _table(["head", "data", "what it is", *own], rows)
    return [f"It has {len(heads)} heads, which are the columns of every answer, in this order:", "", *table]


def _prior_text(prior: Mapping[str, Any] | None) -> str:
    if prior is None:
        return "none"
    if prior["type"] == "normal":
        return f"Normal({prior['mean']:g}, {prior['sigma']:g})"
    return f"Uniform({prior['low']:g}, {prior['high']:g})"


def _parameters(m: Mapping[str, Any]) -> list[str]:
    """One row a parameter; neighbours that differ by name alone share one."""
    rows: list[list[str]] = []
    for i, p in enumerate(m["parameters"]):
        low, high = ("-∞" if p["bounds"][0] is None else f"{p['bounds'][0]:g}",
                     "∞" if p["bounds"][1] is None else f"{p['bounds'][1]:g}")  # fmt: skip
        kinks = ", ".join(f"{k:g}" for k in p.get("kinks", ()))
        rest = [p["role"], p.get("unit") or "1", f"[{low}, {high}]", kinks, _prior_text(m["prior"].get(p["name"]))]
        if len(m["parameters"]) > MAX_ROWS and rows and rows[-1][2:] == rest:
            first = rows[-1]
            rows[-1] = [first[0].split("–")[0] + f"–{i}", f"{first[1].split(' … ')[0]} … `{p['name']}`", *rest]
        else:
            rows.append([str(i), f"`{p['name']}`", *rest])
    head = ["column", "name", "role", "unit", "bounds", "kinks", "prior inside"]
    return [f"## Parameters ({len(m['parameters'])}, in this order)", "", *_table(head, rows)]


_ACCURACY = {
    "rmse": "RMSE",
    "baseline_rmse": "RMSE of the baseline alone",
    "bias": "bias",
    "mean": "mean error",
    "q999": "99.9 % below",
    "within": "within 0.05 or 1 %",
    "max": "largest error",
}


def _with_head(rows: Sequence[Mapping[str, Any]], head: Sequence[str], cells: list[list[Any]]) -> list[str]:
    """A table with a first column "head" if the rows have one."""
    if any("head" in row for row in rows):
        head, cells = ["head", *head], [[f"`{r['head']}`", *c] for r, c in zip(rows, cells, strict=True)]
    return _table(head, cells)


def _accuracy(m: Mapping[str, Any]) -> list[str]:
    rows = m["accuracy"]
    if not rows:
        return []
    keys = [key for key in _ACCURACY if any(key in row for row in rows)]
    cells = [[r["where"], r["n"], *(_accuracy_cell(key, r.get(key)) for key in keys)] for r in rows]
    table = _with_head(rows, ["where", "points", *(_ACCURACY[key] for key in keys)], cells)
    return ["## Accuracy, in nats", "", *table]


def _accuracy_cell(key: str, value: Any) -> str:
    return f"{100 * value:.2f} %" if key == "within" and value is not None else _number(value)


def _coverage(m: Mapping[str, Any]) -> list[str]:
    if not m["coverage"]:
        return []
    rows = [
        [_number(r["low"]) or "-∞", _number(r["high"]) or "∞", r["n"], _number(r["covered"])] for r in m["coverage"]
    ]
    head = ["logpdf from", "to", "points", "inside the 90 % band"]
    if any("kind" in r for r in m["coverage"]):
        head, rows = (
            ["of", *head],
            [[r.get("kind", "all"), *cells] for r, cells in zip(m["coverage"], rows, strict=True)],
        )
    return ["## Coverage of the error", "", *_with_head(m["coverage"], head, rows)]


def _domain(m: Mapping[str, Any]) -> list[str]:
    domain = m["domain"]
    asked = [
        [f"`{p['name']}`", _number(low), _number(high)]
        for p, low, high in zip(m["parameters"], domain["low"], domain["high"], strict=True)
        if p["role"] != "nuisance"
    ]
    return [
        "## Domain",
        "",
        f"{domain['description'].capitalize()}. The ellipsoid ends at a distance of {domain['radius']:.3g}"
        f"{_agreement(domain['spread'])}. "
        "Outside, the number means nothing; `in_domain` says so, and the Python reader refuses.",
        "",
        *(_table(["parameter", "from", "to"], asked) if asked else []),
    ]


def _agreement(limits: list[list[float | None]]) -> str:
    known = [limit for head in limits for limit in head if limit]
    if not known:
        return ""
    return f", agreement at a spread of {min(known):.3g} to {max(known):.3g} nats, by the answer"


def _use(m: Mapping[str, Any]) -> list[str]:
    d, name, heads = len(m["parameters"]), m["name"], m["output"].get("heads", ())
    return [
        "## Use",
        "",
        "Python (`pip install 'dnnlikelihood[onnx]'`, no TensorFlow):",
        "",
        "```python",
        "import dnnlikelihood",
        f'likelihood = dnnlikelihood.open("{name}")',
        "value, gradient = likelihood.logpdf_and_grad(theta)  # theta (n, " + str(d) + ")",
        "half_width = likelihood.error(theta)",
        *(["values = likelihood.heads_logpdf(theta)  # (n, " + str(len(heads)) + ")"] if heads else []),
        *([f'one = likelihood.select("{heads[-1]["name"]}")  # a likelihood of its own'] if heads else []),
        "```",
        "",
        "ONNX Runtime, in any of its languages:",
        "",
        "```python",
        "import onnxruntime",
        'session = onnxruntime.InferenceSession("model.onnx")  # or model_gradient.onnx',
        'logpdf, error, in_domain, spread = session.run(None, {"theta": theta})',
        "```",
        "",
        "TensorFlow Serving (signatures `logpdf`, `logpdf_and_gradient`, `error`, `info`):",
        "",
        "```sh",
        f"tensorflow_model_server --rest_api_port=8501 --model_name={name} --model_base_path=$PWD/saved_model &",
        f"curl localhost:8501/v1/models/{name}:predict \\",
        f"""  -d '{{"signature_name": "logpdf", "instances": [[...{d} numbers...]]}}'""",
        "```",
        "",
        "`dnnlik verify` on this folder checks every file and every runtime against `reference.npz`.",
        "",
    ]


def _made(m: Mapping[str, Any]) -> list[str]:
    seeds = ", ".join(f"{k} {v}" for k, v in m["seeds"].items()) or "none recorded"
    recipe = m["source"]["recipe"]
    source = f"source `{recipe['source']}` of dnnlikelihood" if recipe else "a likelihood that has no recipe"
    return [
        "## How it was made",
        "",
        f"From {source}. {m['source']['reference']}".rstrip(),
        "",
        f"Rebuild: `{m['command']}`. Seeds: {seeds}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in m["versions"].items())
        + ". The whole story is in `log.jsonl` and `history.json`.",
        "",
    ]


def _legal(m: Mapping[str, Any]) -> list[str]:
    lines = ["## Licence and citation", "", f"{m['licence']}. Cite it as in `CITATION.cff`"]
    lines[-1] += ", and: " + "; ".join(m["references"]) + "." if m["references"] else "."
    if m["limits"]:
        lines += ["", "## Limits", "", *(f"- {limit}" for limit in m["limits"])]
    return [*lines, ""]


# Archives -------------------------------------------------------------------------------------------------------------


_DOI = re.compile(r"10\.\d{4,9}(\.\d+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+")
"""As the citation file format has it."""


def _identifier(reference: str) -> tuple[str, str] | None:
    """(scheme, identifier) of "arXiv:...", "doi:..." and addresses.

    >>> _identifier("doi:10.1000/xyz"), _identifier("A. Person, 1905"), _identifier("doi:to be had soon")
    (('doi', '10.1000/xyz'), None, None)
    """
    scheme, _, rest = reference.partition(":")
    rest = rest.strip()
    if (scheme.lower() == "arxiv" and rest) or (scheme.lower() == "doi" and _DOI.fullmatch(rest)):
        return scheme.lower(), rest
    return ("url", reference) if scheme in ("http", "https") else None


def _citation(m: Mapping[str, Any]) -> str:
    """Every scalar is written as JSON, which YAML reads."""
    lines = [
        "cff-version: 1.2.0",
        "message: " + json.dumps("If you use this model, please cite it as below."),
        "type: dataset",
        "title: " + json.dumps(f"{m['name']}: a published likelihood", ensure_ascii=False),
        "license: " + json.dumps(m["licence"]),
        "authors:",
    ]
    for author in m["authors"]:
        lines.append("  - name: " + json.dumps(author["name"], ensure_ascii=False))
        if author.get("orcid"):
            lines.append("    orcid: " + json.dumps("https://orcid.org/" + author["orcid"]))
    found = [_identifier(reference) for reference in m["references"]]
    known = [pair for pair in found if pair]
    if known:
        lines.append("identifiers:")
    for scheme, identifier in known:
        kind, value = (scheme, identifier) if scheme in ("doi", "url") else ("other", f"arXiv:{identifier}")
        lines += [f"  - type: {kind}", "    value: " + json.dumps(value)]
    return "\n".join(lines) + "\n"


def _zenodo(m: Mapping[str, Any]) -> dict[str, Any]:
    creators = [
        {"name": a["name"], **{key: a[key] for key in ("affiliation", "orcid") if a.get(key)}} for a in m["authors"]
    ]
    related = [pair for pair in map(_identifier, m["references"]) if pair]
    return {
        "title": f"{m['name']}: a published likelihood",
        "description": m["description"],
        "upload_type": "dataset",
        "creators": creators,
        "license": m["licence"],
        "keywords": ["likelihood", "surrogate", "neural network", "ONNX"],
        "related_identifiers": [
            {"identifier": f"arXiv:{value}" if scheme == "arxiv" else value, "relation": "isSupplementTo"}
            for scheme, value in related
        ],
        "notes": f"fingerprint {m['fingerprint']}",
    }


def _hepdata(m: Mapping[str, Any]) -> dict[str, Any]:
    """HEPData's schema of submissions, 1.1.1: a licence is an object with a name and an address."""
    return {
        "location": f"{m['name']}.tar.gz",
        "description": (
            f"Likelihood surrogate {m['name']} ({m['kind']}, {len(m['parameters'])} parameters) as ONNX with its "
            f"gradient, error and domain; fingerprint {m['fingerprint'][:16]}. {m['description']}"
        ),
        "type": "ONNX",
        "license": {"name": m["licence"], "url": f"https://spdx.org/licenses/{m['licence']}.html"},
    }
