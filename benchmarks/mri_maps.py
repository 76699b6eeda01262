"""Coil maps beside sigpy's, and maps of T2 beside fits after reconstruction, on phantoms whose k-space is exact.

python benchmarks/mri_maps.py              # all of it; sigpy is left out where it is not installed
python benchmarks/mri_maps.py espirit      # ESPIRiT: agreement and time beside sigpy's; two sets of maps
python benchmarks/mri_maps.py noise        # the noise level that k-space shows, and maps, for few coils and much noise
python benchmarks/mri_maps.py t2           # median relative error of T2, 4-fold, at two noise levels
python benchmarks/mri_maps.py spiral       # maps from the interleaves of an accelerated spiral alone
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invprob import Scan, linalg, metrics, phantoms, reconstruct
from invprob.operators import CartesianMRI, NonCartesianMRI
from invprob.operators.mri.calibration import calibrate
from invprob.operators.mri.coil_maps import Maps
from invprob.operators.mri.signal_models import MultiEcho

SIZE, COILS, ECHOES, SPACING = 96, 6, 8, 12.0  # of the T2 phantom: pixels, coils, echoes, ms between them
BRAIN, LINES = 192, 24  # of the ESPIRiT phantom: pixels, lines measured in the middle
SURE = 0.95  # eigenvalue above which both packages say that there is signal


def k_space(size: int, coils: int, radius: float, sigma: float) -> tuple[Tensor, Tensor]:
    """Return k-space of the head phantom with noise relative to its largest value, and the maps at the pixels."""
    maps, shape = phantoms.birdcage(coils), (size, size)
    clean = phantoms.shepp_logan(radius).kspace(phantoms.cartesian_positions(shape), shape, coils=maps)
    noise = torch.randn(clean.shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    return (clean + sigma * clean.abs().max() * noise).to(torch.complex64), maps.sampled(shape)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and the processor seconds that it takes."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def espirit() -> None:
    """Race ESPIRiT against sigpy's, and compare both with the maps that made the data."""
    y, true = k_space(BRAIN, 8, 0.8 * BRAIN / 2, 1e-3)
    mask = phantoms.equispaced_lines(BRAIN, 4, calibration=LINES)
    A = CartesianMRI(mask, 8, image_shape=(BRAIN, BRAIN))
    measured = y * A.measured
    calibrate(measured, A)
    inside = phantoms.shepp_logan(0.8 * BRAIN / 2).image((BRAIN, BRAIN)) > 0.05
    ours, own = min((timed(lambda: calibrate(measured, A)) for _ in range(3)), key=lambda found: found[1])
    print(f"ESPIRiT, {BRAIN} x {BRAIN}, 8 coils, {LINES} lines: |<S, S_true>| >= 0.999 at "
          f"{share(agreement(ours.coils, true)[inside] >= 0.999)} of the object, {own:.2f} s of processor")  # fmt: skip
    theirs, other = of_sigpy(measured.numpy())
    if theirs is not None:
        both = (ours.eigenvalues[0] > SURE) & (torch.from_numpy(np.abs(theirs)).sum(0) > 0)
        alike = agreement(ours.coils, torch.from_numpy(theirs).to(torch.complex128))[both]
        print(f"beside sigpy, where both say signal: agreement {float(alike.median()):.7f} in the median, "
              f"{float(alike.quantile(0.01)):.6f} at 1 %, {other / own:.1f} times as fast")  # fmt: skip
    two_sets()


def noise() -> None:
    """Compare the noise level of a calibration with the true one, and its maps with those that made the data."""
    inside = phantoms.shepp_logan(0.8 * BRAIN / 2).image((BRAIN, BRAIN)) > 0.05
    mask = phantoms.equispaced_lines(BRAIN, 4, calibration=LINES)
    for coils in (2, 4, 8):
        A = CartesianMRI(mask, coils, image_shape=(BRAIN, BRAIN))
        largest = float(k_space(BRAIN, coils, 0.8 * BRAIN / 2, 0.0)[0].abs().max())
        for level in (1e-4, 1e-3, 1e-2, 3e-2):
            y, true = k_space(BRAIN, coils, 0.8 * BRAIN / 2, level)
            maps, sigma = calibrate(y * A.measured, A), level * largest
            alike = float(agreement(maps.coils, true)[..., inside].median())
            print(f"{coils} coils, noise {level:g} of the largest sample: found {(maps.noise or 0) / sigma:.2f} of it; "
                  f"|<S, S_true>| {alike:.4f}, sets {maps.sets}")  # fmt: skip


def of_sigpy(y: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any] | None, float]:
    """Return sigpy's maps and its processor seconds; None where it is not installed."""
    try:
        from sigpy.mri.app import EspiritCalib
    except ImportError:
        print("sigpy is not installed: nothing to compare with")
        return None, 0.0

    def call() -> np.ndarray[Any, Any]:
        maps: np.ndarray[Any, Any] = EspiritCalib(y, calib_width=LINES, show_pbar=False).run()
        return maps

    return min((timed(call) for _ in range(3)), key=lambda found: found[1])


def agreement(found: Tensor, true: Tensor) -> Tensor:
    """Return |<S, S_true>| / (|S| |S_true|) per pixel."""
    found = found.to(torch.complex128)
    product = (found.conj() * true).sum(-3).abs()
    return linalg.ratio(product, found.norm(dim=-3) * true.norm(dim=-3))


def share(where: Tensor) -> str:
    """Return a share in words."""
    return f"{float(where.double().mean()):.1%}"


def two_sets() -> None:
    """Predict k-space between the lines of an object that is 25 % wider than the field of view."""
    size = 96
    y, _ = wide(size, 8)
    mask = phantoms.equispaced_lines(size, 2, calibration=LINES)
    A = CartesianMRI(mask, 8, image_shape=(size, size))
    errors = [predicted(y, A, calibrate(y * A.measured, A, sets=sets)) for sets in (1, None)]
    print(f"an object that wraps around, every second line: error between the lines {errors[0][1]:.3f} with one set, "
          f"{errors[1][1]:.3f} with {errors[1][0]} sets")  # fmt: skip


def wide(size: int, coils: int) -> tuple[Tensor, Tensor]:
    """Return k-space of a head 25 % wider than the field of view, whose maps repeat with twice the field of view."""
    shape = (size, size)
    head = phantoms.shepp_logan(size / 2)
    factors = torch.tensor([1.25 / 0.69, 0.9], dtype=torch.float64)  # its half width is 0.69 of the radius
    turned = (head.tilt.abs() > 0)[:, None]
    axes = torch.where(turned, head.semi_axes, head.semi_axes * factors)
    body = phantoms.Ellipses(head.values, head.centres * factors, axes, head.tilt)
    maps = phantoms.birdcage(coils)
    clean = body.kspace(phantoms.cartesian_positions(shape), shape, coils=maps)
    noise = torch.randn(clean.shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    return (clean + 1e-4 * clean.abs().max() * noise).to(torch.complex64), maps.sampled(shape)


def predicted(y: Tensor, A: CartesianMRI, maps: Maps) -> tuple[int, float]:
    """Return how many sets there are, and how far k-space between the lines is from what least squares predicts."""
    known = A.with_coils(maps.coils, sets=maps.sets)
    everything = CartesianMRI(
        torch.ones(A.image_shape, dtype=torch.bool), maps.coils, sets=maps.sets, image_shape=A.image_shape
    )
    x = linalg.conjugate_gradient(
        known.gram, known.adjoint(y * A.measured), ndim=len(known.domain_shape), max_iter=20
    ).x
    missing = ~A.measured
    return maps.sets, float((missing * (everything(x) - y)).norm() / (missing * y).norm())


def t2() -> None:
    """Compare maps of T2 by the model with fits after total variation and after conjugate gradients."""
    tissues = phantoms.vials(SIZE / 2)
    due = tissues.map(tissues.t2, (SIZE, SIZE))
    model = MultiEcho([1e-3 * t for t in echo_times()], (SIZE, SIZE))
    y, A = echoes(0.0, 1)
    print(f"T2, {ECHOES} echoes, {COILS} coils, {SIZE} x {SIZE}: median relative error of the fit fully sampled "
          f"without noise {error(model.milliseconds(model.fit(A.direct(y))), due):.4f}")  # fmt: skip
    for sigma in (0.02, 0.06):
        y, A = echoes(sigma, 4)
        scan = Scan(A, y, sigma)
        by_cg = model.milliseconds(model.fit(reconstruct(scan, "cg-sense").x))
        result, seconds = timed(partial(reconstruct, scan, "t2-map", echo_times=echo_times()))
        maps = {"model": result.maps["T2"].values, "joint TV": result.maps["T2 by pixel"].values, "cg-sense": by_cg}
        told = ", ".join(f"{name} {error(found, due):.4f}" for name, found in maps.items())
        strength = result.settings["strength"]
        print(f"sigma {sigma}, 4-fold: {told}; strength {strength:.3g}, {seconds:.0f} s of processor")


def echo_times() -> list[float]:
    """Return the echo times in ms."""
    return [SPACING * (i + 1) for i in range(ECHOES)]


def echoes(sigma: float, acceleration: int, seed: int = 0) -> tuple[Tensor, CartesianMRI]:
    """Return k-space of the vials at the echo times with noise of sigma, a mask per echo, and the operator."""
    tissues, maps, shape = phantoms.vials(SIZE / 2), phantoms.birdcage(COILS), (SIZE, SIZE)
    times = torch.tensor(echo_times(), dtype=torch.float64)
    signals = tissues.magnetisation * torch.exp(-times[:, None] / tissues.t2)
    clean = tissues.kspace(signals, phantoms.cartesian_positions(shape), shape, coils=maps)
    if acceleration == 1:
        mask = torch.ones(ECHOES, SIZE, dtype=torch.bool)
    else:
        mask = torch.stack(
            [phantoms.random_lines(SIZE, acceleration, 100 * seed + i, calibration=8) for i in range(ECHOES)]
        )
    A = CartesianMRI(mask[:, None], maps.sampled(shape).to(torch.complex64), image_shape=shape, frames=ECHOES)
    noise = torch.randn(clean.shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    return ((clean + sigma * noise) * A.measured).to(torch.complex64), A


def error(found: Tensor, due: Tensor) -> float:
    """Return the median of |T2 - T2_true| / T2_true over the object; what is not known counts as wrong."""
    inside = due > 0
    relative = ((found.double() - due).abs() / due)[inside]
    return float(relative.nan_to_num(1.0).median())


def spiral() -> None:
    """Compare images of a third of the interleaves: with true maps, with those of all of them, with their own."""
    size, shots = 96, 18
    shape, omega = (size, size), phantoms.spiral(shots, 600, turns=size / (2 * shots))
    phantom, coils = phantoms.shepp_logan(0.8 * size / 2), phantoms.birdcage(8)
    clean = phantom.kspace(omega, shape, coils=coils)
    noise = torch.randn(clean.shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    y = (clean + 1e-3 * clean.abs().max() * noise).to(torch.complex64)
    image = phantom.image(shape)
    few = slice(0, shots, 3)
    A = NonCartesianMRI(shape, omega[few], 8)
    found = {
        "true maps": coils.sampled(shape).to(torch.complex64),
        "all interleaves": calibrate(y, NonCartesianMRI(shape, omega, 8)).coils,
        "a third of them": (own := calibrate(y[:, few], A)).coils,
    }
    told = []
    for name, maps in found.items():
        x = reconstruct(Scan(A.with_coils(maps), y[:, few]), "cg-sense").x.abs()
        scale = float((x * image).sum() / (x * x).sum())
        told.append(f"{name} {float(metrics.psnr(scale * x, image, data_range=1.0)):.1f} dB")
    print(f"spiral, every third of {shots} interleaves, cg-sense, maps from: {', '.join(told)} ({own.method})")


PARTS = {"espirit": espirit, "noise": noise, "t2": t2, "spiral": spiral}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; by default all of it")
    chosen = parser.parse_args().parts or list(PARTS)
    for part in chosen:
        PARTS[part]()
