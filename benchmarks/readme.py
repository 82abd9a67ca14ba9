"""Write the benchmark tables of README.md and docs/benchmarks.md from `results/`, or say that they are stale.

python benchmarks/readme.py           writes them
python benchmarks/readme.py --check   exits 1 if they are not what `results/` says
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGES = (HERE.parent / "README.md", HERE.parent / "docs" / "benchmarks.md")
MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{4 if 10 <= abs(value) < 100 else 3}g}"


def _row(claim: dict[str, Any]) -> str:
    unit = claim.get("unit") or ""
    bound = "≤" if claim["better"] == "lower" else "≥"
    peer = " ".join(part for part in (_number(claim.get("peer_value")), claim.get("peer") or "") if part)
    met = "" if claim["met"] else " (not reached)"
    value, target = f"**{_number(claim['value'])}** {unit}{met}", f"{bound} {_number(claim['target'])}"
    what = claim["claim"] + (f" (left out: {claim['left_out']})" if claim.get("left_out") else "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (what, peer, value, target)) + " |"


def table(area: str) -> str:
    """The Markdown table of one area."""
    path = HERE / "results" / f"{area}.json"
    result = json.loads(path.read_text("utf-8"))
    machine = result["machine"]
    lines = ["| | beside it | measured | target |", "|---|---|---|---|", *(_row(c) for c in result["claims"])]
    cores, speed = machine["cores"], machine["sgemm_gflops"]
    note = f"Measured on {cores} cores ({speed:.0f} Gflop/s in single precision), {result['when'][:10]}."
    return "\n".join([*lines, "", note, ""])


def rendered(text: str) -> str:
    """A page with every table made anew."""
    return MARK.sub(lambda m: m[1] + table(m[2]) + m[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the tables are stale")
    check = parser.parse_args().check
    for page in PAGES:
        old = page.read_text("utf-8")
        new = rendered(old)
        if check and new != old:
            sys.exit(f"{page.name} does not say what benchmarks/results says: python benchmarks/readme.py")
        if not check:
            page.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
