"""`dnnlik header`: a published model as one C++ header."""

from __future__ import annotations

from pathlib import Path

import click

from . import tables
from .command import Command, Report

__all__ = ["header"]


@click.command(
    cls=Command,
    short_help="Write a published model as one C++ header.",
    example="dnnlik header saved_models/toy_lhc --output toy_lhc.hpp",
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The header to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def header(folder: Path, output: Path, *, overwrite: bool) -> Report:
    """Write a published model as one C++17 header without dependencies, weights and all.

    Its namespace is dnnlik::NAME; the functions are logpdf, logpdf_and_gradient, evaluate, error and in_domain.
    Compile with -O3. Large networks are refused: read their ONNX files with a library, as examples/cpp does.
    """
    from ..export.header import write_header

    path = write_header(folder, output, overwrite=overwrite)
    size = path.stat().st_size
    about = {"written to": path, "size": f"{size / 1e6:.1f} MB", "compile with": "-std=c++17 -O3 -march=native"}
    return Report({"file": str(path), "bytes": size}, (tables.facts(about),))
