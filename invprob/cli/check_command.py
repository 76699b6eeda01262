"""`invprob check`: everything that can be verified of a scan and its operator without an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invprob.cli.console import fact, fail, say, warn
from invprob.cli.errors import ExitCode
from invprob.cli.options import (
    Angles,
    AnglesUnit,
    Axis,
    Blur,
    Darks,
    Factor,
    Flats,
    ImageShape,
    Mask,
    MaxMemory,
    Noise,
    Phase,
    PixelSize,
    Read,
    Rings,
    Rows,
    Views,
)
from invprob.cli.reading import reading_options
from invprob.files import check_source

if TYPE_CHECKING:
    from torch import Tensor

    from invprob.io import Stack
    from invprob.io.stored import ValueSummary
    from invprob.linop import LinearOperator
    from invprob.scan import Scan

__all__ = ["check"]

_TRUE_ADJOINT = {"torch.float32": 1e-4, "torch.float64": 1e-10}  # what rounding leaves of one


def check(
    file: Annotated[
        Path, typer.Argument(help="A scan, a picture, or a folder of projections; `invprob list` has the layouts.")
    ],
    read: Read = None,
    views: Views = None,
    rows: Rows = None,
    angles: Angles = None,
    angles_unit: AnglesUnit = None,
    pixel_size: PixelSize = None,
    axis: Axis = None,
    image_shape: ImageShape = None,
    flats: Flats = None,
    darks: Darks = None,
    phase_retrieval: Phase = None,
    blur: Blur = None,
    mask: Mask = None,
    factor: Factor = None,
    noise: Noise = None,
    rings: Rings = False,
    max_memory: MaxMemory = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """Verify a scan and its operator without reconstructing: values, geometry, adjoint, norm, time and memory.

    What is doubtful about the geometry is a warning, and the exit code is 0; what makes a reconstruction impossible is
    an error.
    """
    del debug
    check_source(file)  # before torch is loaded

    flags = {"views": views, "rows": rows, "angles": angles, "angles_unit": angles_unit, "pixel_size": pixel_size}
    flags |= {"axis": axis, "image_shape": image_shape, "rings": "true" if rings else None}
    flags |= {"flats": flats, "darks": darks, "blur": blur, "mask": mask, "factor": factor, "noise": noise}
    flags |= {"phase_retrieval": phase_retrieval}
    options = reading_options(read, **flags)

    from invprob.io import open_stack
    from invprob.io.summary import stored_values
    from invprob.stack.memory import budget, bytes_of_a_row, rows_at_once

    stack = open_stack(file, **options)
    stack.check()
    row, values = stack.sample, stored_values(stack)
    at_once = rows_at_once(stack, budget(max_memory))  # before anything large is made
    fact("scan", f"{stack.path} ({stack.layout}), {_count(stack)}")
    _describe(row)
    for what, words in stack.found.items():
        fact(what, words)
    _tell(values)
    _measure(row)
    need, one = sum(bytes_of_a_row(row)) / 2**30, "the image" if stack.rows is None else "one row"
    fitting = "" if stack.rows is None else f"; {at_once} of {len(stack)} fit at a time"
    fact("memory", f"about {need:.2g} GiB for {one} with tv{fitting}")
    doubts = [*stack.doubts(), *_doubts_of_readings(row)]
    for doubt in doubts:
        warn(doubt)
    if values.not_finite and not _readable(stack, at_once):
        left_out = "repair them, or leave them out with --rows or --views"
        fail(f"{file}: {values.not_finite} values are NaN or infinite: {left_out}")
        return ExitCode.INPUT
    if not doubts:
        say("Nothing in it looks doubtful.")
    return ExitCode.OK


def _doubts_of_readings(scan: Scan) -> list[str]:
    """Return what the verdict on an image would say of the readings themselves."""
    import torch

    from invprob.methods.examination import data_doubts, noise_in_data
    from invprob.problem import Problem

    noise = None if scan.noise is None else torch.as_tensor(scan.noise, dtype=torch.float64).expand(scan.batch_shape)
    problem = Problem(scan.operator, scan.data, noise, scan.weights, likelihood=scan.likelihood)
    return list(data_doubts(problem, noise_in_data(problem), {}))


def _readable(stack: Stack, at_once: int) -> bool:
    """Return whether all of a file can be read, as it can where what is not finite is of dead pixels."""
    from invprob.errors import InputError

    try:
        for rows in stack.chunks(at_once):
            stack.load(rows)
    except InputError:
        return False
    return True


def _count(stack: Stack) -> str:
    """Return how many items there are, in words; a volume is one."""
    if stack.rows is not None:
        return f"{len(stack)} row{'s' * (len(stack) > 1)}"
    A = stack.sample.operator
    return "a single volume" if len(A.domain_shape) == 3 and A.channels is None else "a single image"


def _describe(scan: Scan) -> None:
    from invprob.cli.messages import count_weights
    from invprob.io.summary import noise_in_words

    A = scan.operator
    fact("geometry", repr(A))
    fact("shapes", f"image {_sizes(A.domain_shape)}, data {_sizes(A.range_shape)}")
    fact("units", f"lengths in {scan.units.length}, image in {scan.units.image}, data in {scan.units.data}")
    fact("noise", noise_in_words(scan))
    if scan.weights is not None:
        fact("weights", count_weights(scan.weights))
    seen = A.field_of_view()
    if seen is not None:
        inscribed = 0.5 * min(n * h for n, h in zip(A.domain_shape[-2:], A.grid.spacing[-2:], strict=True))
        where = f"the detector sees the radius {seen:.4g} {scan.units.length}"
        fact("view", f"{where}; the image's inscribed circle has {inscribed:.4g}")


def _tell(values: ValueSummary) -> None:
    found = f"{values.not_finite} NaN or infinite" if values.not_finite else "all finite"
    looked = "" if values.checked == values.total else f" of the {values.checked} looked at"
    grade = "bad" if values.not_finite else "known"
    fact("values", f"{found}{looked}, {values.smallest:.6g} to {values.largest:.6g}", grade)


def _measure(scan: Scan) -> None:
    """Say whether the adjoint is one, what the norm is, and how long one application takes."""
    from invprob.certificate import adjoint_mismatch
    from invprob.linop import LinearOperator

    A = scan.operator
    if not isinstance(A, LinearOperator):
        fact("operator", "not linear: it has no adjoint and no norm")
        return
    mismatch = adjoint_mismatch(A)
    true = mismatch <= _TRUE_ADJOINT[str(A.dtype)]
    verdict = "a true pair" if true and A.matched else "an approximate pair: solvers that need a true one refuse it"
    fact("adjoint", f"mismatch {mismatch:.0e}, {verdict}", "good" if true else "bad")
    fact("norm", f"{float(A.norm().max()):.6g}, at most {float(A.norm_bound().max()):.6g} ({A.norm_bound_kind})")
    y = scan.data.reshape(-1, *A.range_shape)[0].to(A.device)
    forward, backward = _seconds(A, y)
    fact("time", f"{_brief(forward)} for one application of A, {_brief(backward)} for its adjoint, measured once")


def _seconds(A: LinearOperator, y: Tensor) -> tuple[float, float]:
    """Return the times of an application and of the adjoint; tables and compiled code are there from before."""
    import time

    start = time.perf_counter()
    x = A.adjoint(y)
    middle = time.perf_counter()
    A(x)
    return time.perf_counter() - middle, middle - start


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _brief(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
