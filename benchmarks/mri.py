"""MRI in one run: transforms beside raw plans and other packages, normal operators, density weights, real scans.

`python benchmarks/mri.py [SECTION ...] [--peers PYTHON] [--data FOLDER]`. `--peers` is an interpreter that imports
sigpy and torchkbnufft; what is missing is left out and said so. `--data` holds spiral/spiral.mat and
sigpy/cartesian_ksp.npy.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finufft
import numpy as np
import scipy.io
import torch
from mri_bart import pics
from torch import Tensor

from invprob import Scan, iterate, linalg, metrics, phantoms
from invprob.methods.entry import progress
from invprob.operators import CartesianMRI, NonCartesianMRI, radians_per_pixel
from invprob.operators.mri.calibration import calibrate, maps_of_block
from invprob.operators.mri.calibration_block import block_of
from invprob.operators.mri.density import voronoi
from invprob.problem import Problem
from invprob.solvers import ConjugateGradient

SIZE, COILS = 256, 8
BART_STRENGTHS = "0.001", "0.003", "0.01"  # relative to the scale that it finds itself
STEPS = 30  # of conjugate gradients, the best of which is what a prior has to beat
FIELD, MIDDLE = (360, 288), (52, 16, 256)  # the grid that holds the object of the spiral scan, and its middle


def alternately(
    calls: dict[str, Callable[[], Any]], repeats: int = 7, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the seconds of the fastest of some calls each, taken in turn so that what else runs slows all alike."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            found[name].append(clock() - start)
    return {name: min(times) for name, times in found.items()}


def peer(python: str | None, what: str, **task: Any) -> dict[str, Any] | None:
    """Return what a peer makes of a task, None, said so, where it is not there."""
    if python is None:
        print(f"  {what}: left out, as no --peers are given")
        return None
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "task.npz"), Path(folder, "result.npz")
        np.savez(given, what=what, threads=torch.get_num_threads(), **task)
        command = [python, str(Path(__file__).with_name("mri_peers.py")), str(given), str(found)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"  {what}: left out, as it fails: {done.stderr.strip().splitlines()[-1:]}")
            return None
        with np.load(found) as results:
            return {key: results[key] for key in results.files}


def relative(a: Tensor, b: Tensor) -> float:
    """Return |a - b| / |b|."""
    return float((a - b).norm() / b.norm())


def white(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return complex noise."""
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def nufft(python: str | None) -> None:
    """Race the transform and its adjoint against raw plans at equal accuracy, and other packages as they come."""
    omega = phantoms.radial(SIZE, 2 * SIZE).reshape(-1, 2)
    A, x = NonCartesianMRI((SIZE, SIZE), omega, COILS), white((COILS, SIZE, SIZE))
    y = A(x)
    exact = NonCartesianMRI((SIZE, SIZE), omega, COILS, dtype=torch.float64)(x.to(torch.complex128))
    plan = finufft.Plan(
        2, (SIZE, SIZE), COILS, 1e-5, -1, "complex64", nthreads=torch.get_num_threads(), upsampfac=2.0, modeord=0
    )
    plan.setpts(*(np.ascontiguousarray(omega[:, axis], dtype=np.float32) for axis in range(2)))
    image, samples = np.ascontiguousarray(x.numpy()), np.ascontiguousarray(y.numpy())
    raw_y, raw_x = np.empty_like(samples), np.empty_like(image)
    t = alternately(
        {
            "A": lambda: A(x),
            "raw A": lambda: plan.execute(image, out=raw_y),
            "A^H": lambda: A.adjoint(y),
            "raw A^H": lambda: plan.execute_adjoint(samples, out=raw_x),
            "gram": lambda: A.gram(x),
        }
    )
    print(f"NUFFT, {COILS} x {SIZE}^2 pixels, {len(omega)} samples, error {relative(y, exact):.1e}")
    for name in ("A", "A^H"):
        print(f"  {name}: {1e3 * t[name]:.0f} ms, {t[name] / t['raw ' + name]:.2f} times raw plans")
    twice, double = t["A"] + t["A^H"], NonCartesianMRI((SIZE, SIZE), omega, COILS, dtype=torch.float64)
    wide = x.to(torch.complex128)
    error = relative(A.gram(x).to(wide), double.adjoint(double(wide)))
    print(f"  A^H A by convolution: {1e3 * t['gram']:.0f} ms, {twice / t['gram']:.1f} times faster than the pair, "
          f"error {error:.1e}")  # fmt: skip
    for package in ("sigpy", "torchkbnufft"):
        found = peer(python, f"nufft_of_{package}", x=image, omega=omega.numpy())
        if found is not None:
            t = alternately({"A": lambda: A(x), "A^H": lambda: A.adjoint(y)})
            theirs = torch.from_numpy(found["y"]).to(exact)
            scale = (theirs.conj() * exact).sum() / theirs.abs().square().sum()
            down, up = (float(found[key]) / t[own] for key, own in (("forward", "A"), ("adjoint", "A^H")))
            error = relative(scale * theirs, exact)
            print(f"  {package}: A {down:.1f} times slower, A^H {up:.1f} times, error {error:.1e}")


def cartesian() -> None:
    """Race A^H A against a bare pair of Fourier transforms along the same axes, in processor time of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    maps = phantoms.birdcage(COILS).sampled((SIZE, SIZE)).to(torch.complex64)
    x, many = white((SIZE, SIZE)), white((COILS, SIZE, SIZE))
    masks = {"lines": phantoms.random_lines(SIZE, 4, 0), "points": phantoms.poisson_disc((SIZE, SIZE), 6, 0)}
    print("Cartesian normal operator")
    for name, mask in masks.items():
        A, axes = CartesianMRI(mask, maps), (-1,) if name == "lines" else (-2, -1)

        def bare(axes: tuple[int, ...] = axes) -> Tensor:
            back: Tensor = torch.fft.ifftn(torch.fft.fftn(many, dim=axes), dim=axes)
            return back

        t = alternately({"gram": lambda A=A: A.gram(x), "bare": bare}, 25, time.process_time)  # type: ignore[misc]
        ratio = t["gram"] / t["bare"]
        print(f"  {name}: {1e3 * t['gram']:.1f} ms, {ratio:.2f} times its bare pair of FFTs ({1e3 * t['bare']:.1f} ms)")
    torch.set_num_threads(threads)


def density() -> None:
    """Print the PSNR of gridded exact k-space of a phantom for several weights."""
    n = 128
    body = phantoms.shepp_logan(radius=0.95 * n / 2)
    truth = body.image((n, n))
    tau = torch.arange(8 * n, dtype=torch.float64) / (8 * n)
    turned = 2 * math.pi * (1.25 * n / 60 * tau + torch.arange(30, dtype=torch.float64)[:, None] / 30)
    trajectories = {
        "golden radial, 201 spokes": phantoms.radial(201, 2 * n),
        "golden radial, 50 spokes": phantoms.radial(50, 2 * n),
        # evenly in angle, so that the middle is dense, and a quarter more turns than the field of view needs
        "spiral, 30 interleaves": math.pi * tau[:, None] * torch.stack([turned.sin(), turned.cos()], -1),
    }
    print("Density weights, PSNR of gridding in dB: ones, Voronoi, Pipe-Menon (10 steps)")
    for name, omega in trajectories.items():
        A = NonCartesianMRI((n, n), omega)
        y = body.kspace(omega, (n, n)).to(torch.complex64)
        cells = voronoi(omega.reshape(1, -1, 2), (n, n)).reshape(omega.shape[:-1]).float()
        found = []
        for w in (torch.ones_like(cells), cells, A.density()):
            x = A.adjoint(w * y).real
            x = x * (x * truth).sum() / x.square().sum()
            found.append(float(metrics.psnr(x, truth.to(x), data_range=1.0)))
        print(f"  {name}: " + ", ".join(f"{q:.1f}" for q in found))


def timed(scan: Scan, method: str, **settings: Any) -> tuple[float, Tensor, Any]:
    """Return the processor seconds of a reconstruction without its second look, its image and the strength."""
    start = time.process_time()
    (last,) = deque(progress(scan, method, **settings), maxlen=1)
    result = last.result()
    return time.process_time() - start, result.x, result.settings.get("strength")


def brain(folder: Path, python: str | None) -> None:
    """Reconstruct the brain from nine tenths of its samples and predict the others."""
    y = torch.from_numpy(np.load(folder / "sigpy" / "cartesian_ksp.npy")).to(torch.complex64)
    y = y / y.abs().max()
    measured = (y != 0).any(0)
    found = calibrate(y, CartesianMRI(measured, len(y)), sets=1)
    A = CartesianMRI(measured, found.coils.to(torch.complex64))
    held = A.hold_out(0.1, torch.Generator().manual_seed(5))[0] & measured
    kept, unseen = CartesianMRI(measured & ~held, A.maps), CartesianMRI(held, A.maps)
    y_kept, y_held = y * kept.measured, y * unseen.measured
    sigma = found.noise or 0.0
    floor = sigma * math.sqrt(len(y) * int(held.sum())) / float(y_held.norm())

    def told(x: Tensor) -> str:
        error = relative(unseen(x), y_held)
        return f"error on held-out samples {error:.4f}, beyond the noise {math.sqrt(max(error**2 - floor**2, 0)):.3f}"

    print(f"Brain, {int(measured.sum())} samples, noise alone {floor:.3f}")
    for method in ("cg-sense", "l1-wavelet", "tv"):
        seconds, x, strength = timed(Scan(kept, y_kept, noise=sigma or None), method)
        print(f"  {method}, automatic: {told(x)}, strength {strength:.2g}, {seconds:.1f} s", flush=True)
    compared(Scan(kept, y_kept), 3e-3, told, python, weights=(measured & ~held).float().numpy())


def compared(scan: Scan, strength: float, told: Callable[[Tensor], str], python: str | None, **task: Any) -> None:
    """Race whole reconstructions of given strength against sigpy's apps and BART's, in processor seconds."""
    A = scan.operator
    if not isinstance(A, CartesianMRI | NonCartesianMRI) or A.maps is None:
        raise ValueError("whole reconstructions need an MRI scan with coil maps")
    w = torch.as_tensor(task.get("weights", 1.0))
    lam = strength * float(A.adjoint(w * scan.data).abs().max())
    sense = timed(scan, "cg-sense", max_iter=12, strength=0.0)
    sparse = timed(scan, "l1-wavelet", strength=strength)
    print(f"  cg-sense, 12 steps: {told(sense[1])}, {sense[0]:.2f} s")
    print(f"  l1-wavelet, strength {strength:g}: {told(sparse[1])}, {sparse[0]:.2f} s")
    found = peer(
        python, "apps_of_sigpy", y=scan.data.numpy(), maps=A.maps.numpy(), steps=12, lam=lam, iterations=100, **task
    )
    if found is not None:
        for name, own in (("sense", sense), ("wavelet", sparse)):
            x, seconds = torch.from_numpy(found[f"x_{name}"]).to(torch.complex64), float(found[name])
            print(f"  sigpy, {name}: {told(x)}, {seconds:.2f} s, {seconds / own[0]:.1f} times as long")
    for own, options in (
        (sense, ["-l2", "-r", "0", "-i", "12"]),
        *((sparse, ["-e", "-l1", "-r", r, "-i", "100"]) for r in BART_STRENGTHS),
    ):
        other = pics(scan, "-S", *options)
        if other is not None:
            seconds, x = other
            words = f"bart pics {' '.join(options)}: {told(x)}"
            print(f"  {words}, {seconds:.2f} s, {seconds / own[0]:.1f} times as long", flush=True)


def spiral(folder: Path, python: str | None) -> None:
    """Reconstruct the spiral phantom from a third and a fourth of its interleaves, with maps from all of them."""
    file = scipy.io.loadmat(folder / "spiral" / "spiral.mat")
    k = file["k"]
    omega = radians_per_pixel(np.stack([k.imag, k.real], -1).transpose(1, 0, 2), "cycles/pixel")
    y = torch.from_numpy(file["data"].transpose(2, 1, 0).copy()).to(torch.complex64)
    y = y / y.abs().max()
    each = NonCartesianMRI(FIELD, omega, COILS)
    w = each.density()
    x = linalg.conjugate_gradient(lambda v: each.gram(v, w), each.adjoint(w * y), ndim=3, tol=0, max_iter=6).x
    spectra = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=(-2, -1)), dim=(-2, -1)), dim=(-2, -1))
    maps = maps_of_block(block_of(spectra, (34, 27)), FIELD).coils.to(torch.complex64)
    reference = NonCartesianMRI(FIELD, omega, maps).direct(y)

    def middle(x: Tensor) -> Tensor:
        return x[MIDDLE[0] : MIDDLE[0] + MIDDLE[2], MIDDLE[1] : MIDDLE[1] + MIDDLE[2]].abs().double()

    def quality(x: Tensor) -> float:
        a, b = middle(x), middle(reference)
        a = a * (a * b).sum() / a.square().sum()
        return float(10 * torch.log10(b.max() ** 2 / (a - b).square().mean()))

    def told(x: Tensor) -> str:
        return f"{quality(x):.1f} dB"

    for fold in (3, 4):
        print(f"Spiral, every {fold}. interleaf")
        A = NonCartesianMRI(FIELD, omega[::fold], maps)
        scan = Scan(A, y[:, ::fold].contiguous())
        steps = iterate(ConjugateGradient(max_iter=STEPS, tol=0.0, normal=True), Problem(A, scan.data, None).fidelity())
        qualities = [quality(step.state.x) for step in steps]
        best = max(qualities)
        print(f"  conjugate gradients, best of {STEPS} steps: {best:.1f} dB after {1 + qualities.index(best)}")
        for method in ("cg-sense", "l1-wavelet", "tv"):
            seconds, x, strength = timed(scan, method)
            print(f"  {method}, automatic: {told(x)}, strength {strength:.2g}, {seconds:.1f} s", flush=True)
        coord = (omega[::fold] * torch.tensor(FIELD) / (2 * math.pi)).float().numpy()
        compared(scan, 1e-2, told, python, coord=coord, weights=A.density()[0].numpy())


def main() -> None:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    sections = ("nufft", "cartesian", "density", "brain", "spiral")
    parser.add_argument("sections", nargs="*", default=[], help=f"of {', '.join(sections)}; by default all")
    parser.add_argument("--peers", help="an interpreter that imports sigpy and torchkbnufft")
    parser.add_argument("--data", type=Path, help="a folder with the real scans")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for section in asked.sections or sections:
        if section in ("brain", "spiral"):
            if asked.data is None:
                print(f"{section}: left out, as no --data are given")
            else:
                {"brain": brain, "spiral": spiral}[section](asked.data, asked.peers)
        elif section == "nufft":
            nufft(asked.peers)
        else:
            {"cartesian": cartesian, "density": density}[section]()


if __name__ == "__main__":
    main()
