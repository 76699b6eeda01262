"""Cone beam beside RTK and LEAP, and how much memory a large scan takes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch
from report import Absent, Fact, Finding, Ratio
from timing import race

import invprob.operators

GIB = 2**30


def cone(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare 128^3 voxels, 120 views of 192 x 192 bins with RTK's Joseph pair and LEAP."""
    ConeBeam = getattr(invprob.operators, "ConeBeam", None)
    if ConeBeam is None:
        yield Absent("cone", "invprob.operators.ConeBeam", "does not exist yet")
        return
    n, views, bins = (16, 8, 24) if quick else (128, 120, 192)
    angles = np.arange(views) * (2 * math.pi / views)
    distances = {"source_distance": 4.0 * n, "detector_distance": 4.0 * n}
    A = ConeBeam((n, n, n), angles, (bins, bins), detector_size=2.0, **distances)
    x = _ball(n)
    y = A(x)
    random = torch.Generator().manual_seed(0)
    u, v = torch.rand(A.domain_shape, generator=random), torch.rand(A.range_shape, generator=random)
    apart = torch.vdot(A(u).double().flatten(), v.double().flatten()) - torch.vdot(
        u.double().flatten(), A.adjoint(v).double().flatten()
    )
    yield Fact("cone", "adjoint mismatch of invprob", float(abs(apart) / (A(u).norm() * v.norm())), limit=1e-6)
    exact = _ball_integrals(A)
    yield Fact("cone", "relative error of invprob on a ball", float((y - exact).norm() / exact.norm()))
    found: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    for name, make in (("RTK Joseph", rtk_pair), ("LEAP", leap_pair)):
        try:
            found[name] = make(A, x, y)
            theirs = found[name][0]()
            yield Fact("cone", f"relative error of {name} on a ball", float((theirs - exact).norm() / exact.norm()))
        except Exception as error:  # absent or broken, a peer never stops the others
            found.pop(name, None)
            yield Absent("cone", name, str(error) or type(error).__name__)
    for k, (direction, ours) in enumerate((("forward", partial(A, x)), ("adjoint", partial(A.adjoint, y)))):
        ms = race({"invprob": ours} | {name: pair[k] for name, pair in found.items()}, blocks=3, patience=3 * patience)
        for name in found or ["nobody"]:
            target = 2.0 if name == "RTK Joseph" and not quick else None
            yield Ratio("cone", f"{direction} {n}^3, {views} views", ms["invprob"], name, ms.get(name), target)


def _ball(n: int) -> torch.Tensor:
    """Return a ball of 0.4 n radius, its surface a voxel wide."""
    axis = torch.arange(n) - (n - 1) / 2
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    return (0.4 * n - distance + 0.5).clamp(0, 1)


def _ball_integrals(A: Any) -> torch.Tensor:
    """Return the chords of the rays in the ball."""
    theta = torch.from_numpy(A.angles)[:, None, None]
    source = A.source_distance * torch.stack([theta.sin(), -theta.cos(), 0 * theta], -1)
    rows, columns = ((torch.arange(k).double() - (k - 1) / 2) * 2.0 for k in A.range_shape[1:])
    u, v = columns.expand(len(A.angles), len(rows), -1), rows[:, None].expand(len(A.angles), -1, len(columns))
    far = A.detector_distance
    place = torch.stack([-far * theta.sin() + u * theta.cos(), far * theta.cos() + u * theta.sin(), v], -1)
    along = torch.nn.functional.normalize(place - source, dim=-1)
    closest = source.square().sum(-1) - (source * along).sum(-1).square()
    chords: torch.Tensor = 2 * ((0.4 * A.domain_shape[0]) ** 2 - closest).clamp(min=0).sqrt().float()
    return chords


def rtk_pair(A: Any, x: torch.Tensor, y: torch.Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return RTK's Joseph projector on x and its back-projector on y; its y axis is our axis of rotation."""
    itk = peers.load("itk")
    rtk = itk.RTK
    kind = itk.Image[itk.F, 3]
    circle = rtk.ThreeDCircularProjectionGeometry.New()
    for degrees in np.rad2deg(A.angles):
        circle.AddProjection(A.source_distance, A.source_distance + A.detector_distance, float(degrees))

    def image(array: np.ndarray[Any, Any], spacing: float) -> Any:
        made = itk.image_from_array(np.ascontiguousarray(array))
        sizes = array.shape[::-1]
        made.SetSpacing([spacing, spacing, spacing if len(set(sizes)) == 1 else 1.0])
        made.SetOrigin([-spacing * (k - 1) / 2 for k in sizes])
        return made

    volume = image(x.numpy().transpose(1, 0, 2), 1.0)
    empty_volume = image(np.zeros_like(volume), 1.0)
    stack, empty_stack = image(y.numpy(), 2.0), image(np.zeros(y.shape, np.float32), 2.0)
    forward = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
    forward.SetInput(0, empty_stack)
    forward.SetInput(1, volume)
    backward = rtk.JosephBackProjectionImageFilter[kind, kind].New()
    backward.SetInput(0, empty_volume)
    backward.SetInput(1, stack)

    def run(made: Any) -> Callable[[], torch.Tensor]:
        made.SetGeometry(circle)
        made.InPlaceOff()  # else it takes its input's memory away, and cannot run again

        def call() -> torch.Tensor:
            made.Modified()
            made.Update()
            return torch.from_numpy(itk.array_view_from_image(made.GetOutput()))

        return call

    return run(forward), run(backward)


def leap_pair(A: Any, x: torch.Tensor, y: torch.Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return LEAP's projector on x and its back-projector on y, on the CPU."""
    model = peers.leap_model()
    model.set_gpu(-1)
    views, rows, columns = A.range_shape
    sizes = (A.detector_size[0], A.detector_size[1], (rows - 1) / 2, (columns - 1) / 2)
    distances = (A.source_distance, A.source_distance + A.detector_distance)
    model.set_conebeam(views, rows, columns, *sizes, np.rad2deg(A.angles).astype(np.float32), *distances)
    model.set_volume(*A.domain_shape[::-1], A.voxel_size, A.voxel_size)
    volume, data = x.numpy().copy(), y.numpy().copy()

    def forward() -> torch.Tensor:
        model.project(data, volume)
        return torch.from_numpy(data)

    def backward() -> torch.Tensor:
        model.backproject(data, volume)
        return torch.from_numpy(volume)

    return forward, backward


def memory(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Run 2048 x 2048 pixels, 1800 angles in processes of their own: peak memory and seconds."""
    del patience
    pixels, angles = (64, 30) if quick else (2048, 1800)
    for backend in ("auto", "rays"):
        for kind in ("parallel", "fan"):
            child = [sys.executable, str(Path(__file__).with_name("large.py")), kind, backend, str(pixels), str(angles)]
            run = subprocess.run([*child, str(torch.get_num_threads())], capture_output=True, text=True, check=False)
            section = f"memory {kind} {pixels}/{angles}, {backend}"
            if run.returncode:
                yield Absent(section, "invprob", (run.stderr.strip().splitlines() or ["ended without a word"])[-1])
                continue
            told = json.loads(run.stdout)
            yield Fact(section, "peak of the process", told["peak"] / GIB, "GiB", 2.0)
            yield Fact(section, "of which before the scan (imports, compiled kernels)", told["before"] / GIB, "GiB")
            limit = 3.0 if backend == "rays" and kind == "parallel" else None
            yield Fact(section, "whole scan, set-up included", told["whole"], "x image and sinogram", limit)
            yield Fact(section, "one pair of calls after set-up", told["pair"], "x image and sinogram")
            for what in ("set-up and first forward", "forward", "adjoint"):
                yield Fact(section, what, told[what], "s")
