"""A stack by filtered back-projection beside the bare sum of what cannot be left out: reading, computing, writing.

Section `stacks` of ct.py. Both take turns on the same file. Times are of the processor (all threads together), so that
they mean something on a busy machine, and by the clock, where waiting for the disk counts, too.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import torch
from plane import Size
from report import Fact, Finding, Ratio

from invprob import Scan, save_scan
from invprob.io import ResultWriter, Stack, open_stack
from invprob.methods import reporting
from invprob.operators import ParallelBeam
from invprob.phantoms import shepp_logan
from invprob.stack import StackReconstruction, reconstruct_stack

ROWS, AT_MOST, CERTIFIED = 20, 1.15, 0.05  # slices; what the issue asks of the whole, and of certificate and doubts
NOISE = 0.003  # of the largest reading
WATCHED = {
    "reading": (Stack, "load"),
    "doubts about the data, once": (Scan, "doubts"),
    "certificates": (reporting, "_certified"),
    "filtered back-projection": (ParallelBeam, "direct"),
    "writing": (ResultWriter, "write"),
}


@dataclass
class Watch:
    """Seconds by the processor and by the clock, by what took them."""

    processor: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    clock: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add what happens inside."""
        start = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.processor[what] += time.process_time() - start[0]
            self.clock[what] += time.perf_counter() - start[1]

    def wrapped(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is timed."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.on(what):
                return function(*args, **kwargs)

        return timed


def stacks(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare the whole with the sum of its parts."""
    del patience
    pixels, views, rows = (32, 128, 3) if quick else (1024, 900, ROWS)
    section = f"stacks {rows} x {pixels}/{views}"
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path, out = Path(folder) / "stack.h5", Path(folder) / "out.h5"
        _write(path, pixels, views, rows)
        reconstruct_stack(path, out, "fbp", options={"rows": slice(2)})  # compiles, loads what is compiled
        bare = Watch()
        _bare(path, Path(folder) / "bare.h5", bare, rows)
        whole = Watch()
        with ExitStack() as watched:
            for what, (owner, name) in WATCHED.items():
                watched.enter_context(patch.object(owner, name, whole.wrapped(what, getattr(owner, name))))
            with whole.on("in all"):
                reconstruct_stack(path, out, "fbp", overwrite=True)
    for clock, told in (("processor", "by the processor"), ("clock", "by the clock")):
        parts, found = getattr(bare, clock), getattr(whole, clock)
        due = sum(parts.values())
        yield Ratio(section, f"the stack, {told}", 1e3 * found["in all"], "bare sum", 1e3 * due, target=1 / AT_MOST)
        for what, seconds in parts.items():
            yield Fact(section, f"bare {what}, {told}", seconds, "s")
        for what in WATCHED:
            yield Fact(section, f"{what}, {told}", found[what], "s", note=f"{found[what] / due:.0%} of the bare sum")
        asked = found["certificates"] + found["doubts about the data, once"]
        yield Fact(section, f"certificates and doubts over the bare sum, {told}", asked / due, limit=CERTIFIED)


def _bare(path: Path, out: Path, watch: Watch, rows: int) -> None:
    """Read, reconstruct and write with nothing around it, as many rows at a time as the stack does."""
    stack = open_stack(path)
    A, at_once = stack.sample.operator, StackReconstruction(stack, out.with_name("never.h5"), "fbp").at_once
    images = np.lib.format.open_memmap(out, "w+", np.float32, (rows, *A.domain_shape))
    for first in range(0, rows, at_once):
        with watch.on("reading"), h5py.File(path) as file:
            y = torch.from_numpy(file["data"][first : first + at_once])
        with watch.on("computing"):
            x = A.direct(y)
        with watch.on("writing"):
            images[first : first + at_once] = x.numpy()
            images.flush()


def _write(path: Path, pixels: int, views: int, rows: int) -> None:
    """Write noisy views of discs and ellipses, each row a little brighter than the one before."""
    A = Size(pixels, views, {}).parallel()
    clean = shepp_logan(pixels / 2).line_integrals(*A.rays()).float()
    generator = torch.Generator().manual_seed(0)
    y = torch.stack([clean * (1 + 0.01 * row) for row in range(rows)])
    y += NOISE * float(clean.max()) * torch.randn(y.shape, generator=generator)
    save_scan(path, Scan(A, y))
