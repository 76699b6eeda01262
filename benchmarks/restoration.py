"""Total-variation denoising and periodic deblurring beside other packages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import peers
import torch
from numpy.typing import NDArray
from report import Absent, Fact, Finding, Ratio
from timing import race
from torch import Tensor

import invprob.operators
from invprob.priors import TotalVariation

Array = NDArray[np.float32]
LAM, NOISE = 0.1, 0.1
GAPS = (1e-3, 1e-6)
GRID = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400, 10000)


@lru_cache(maxsize=2)
def _image(quick: bool) -> Array:
    """Return the camera man in [0, 1] with Gaussian noise of seed 0."""
    clean = peers.load("skimage.data").camera() / 255
    clean = clean[::16, ::16] if quick else clean
    noisy: Array = (clean + NOISE * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float32)
    return noisy


@lru_cache(maxsize=2)
def _least(quick: bool) -> float:
    """Return the minimum of the objective, to a relative duality gap of 1e-9."""
    y = torch.from_numpy(_image(quick)).double()
    x = TotalVariation(LAM, tol=1e-9, max_iter=100_000).prox(y, 1.0)
    return objective(x.numpy(), y.numpy(), LAM)


def objective(x: Array, y: Array, lam: float) -> float:
    """Return 1/2 |x - y|^2 + lam TV(x) in float64; forward differences, none across the border."""
    difference = np.subtract(x, y, dtype=np.float64)
    return float(0.5 * np.sum(difference**2) + lam * total_variation(x))


def total_variation(x: NDArray[Any]) -> float:
    """Return the sum of the lengths of the forward differences, in float64."""
    x = np.asarray(x, np.float64)
    down, right = np.zeros_like(x), np.zeros_like(x)
    down[:-1], right[:, :-1] = np.diff(x, axis=0), np.diff(x, axis=1)
    return float(np.sum(np.sqrt(down**2 + right**2)))


def tv_prox(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare the time to a relative objective gap: ours by tolerance, peers by the fewest iterations of a grid."""
    noisy, least = _image(quick), _least(quick)
    section, v = f"tv prox {noisy.shape[0]}^2", torch.from_numpy(noisy)

    def gap(x: Array) -> float:
        return objective(x, noisy, LAM) / least - 1

    for target in GAPS:
        ours = partial(TotalVariation(LAM, tol=target, max_iter=100_000).prox, v, 1.0)
        yield Fact(section, f"gap of ours with tol={target:g}", gap(ours().numpy()), limit=target)
        contenders: dict[str, Callable[[], object]] = {"invprob": ours}
        notes, slow = {}, []
        for name, make in PEERS.items():
            try:
                denoise = make(noisy)
                count = _fewest(denoise, gap, target, patience)
            except Exception as error:  # absent or broken, a peer never stops the others
                yield Absent(section, name, str(error) or type(error).__name__)
                continue
            if count is None:
                slow.append(name)
            else:
                contenders[name], notes[name] = partial(denoise, count), f"{count} iterations"
        ms = race(contenders, patience=patience)
        for name, note in notes.items():
            yield Ratio(section, f"gap {target:g}", ms["invprob"], name, ms[name], note=note)
        for name in slow:
            yield Ratio(section, f"gap {target:g}", ms["invprob"], name, None, note=f"not within {patience:g} s")


def _fewest(
    denoise: Callable[[int], Array], gap: Callable[[Array], float], target: float, patience: float
) -> int | None:
    """Return the smallest number of iterations on the grid that reaches the gap, None where it takes too long."""
    for count in GRID:
        start = time.perf_counter()
        x = denoise(count)
        spent = time.perf_counter() - start
        if gap(x) <= target:
            return count
        if spent > patience:
            return None
    return None


def _skimage(noisy: Array) -> Callable[[int], Array]:
    restoration = peers.load("skimage.restoration")
    return lambda n: np.asarray(restoration.denoise_tv_chambolle(noisy, weight=LAM, eps=0, max_num_iter=n))


def _odl(noisy: Array) -> Callable[[int], Array]:
    """Return the accelerated primal-dual method (Chambolle & Pock 2011, algorithm 2) with steps 1 / |D|."""
    odl = peers.load("odl")
    height, width = noisy.shape
    space = odl.uniform_discr([0, 0], [height, width], noisy.shape, dtype="float32")
    D = odl.Gradient(space, method="forward", pad_mode="symmetric")
    data = space.element(noisy)
    f = 0.5 * odl.functionals.L2NormSquared(space).translated(data)
    g = LAM * odl.functionals.GroupL1Norm(D.range)
    step = 0.99 / math.sqrt(8)

    def denoise(count: int) -> Array:
        x = data.copy()
        odl.solvers.pdhg(x, f, g, D, niter=count, tau=step, sigma=step, gamma_primal=1.0)
        return np.asarray(x.data)

    return denoise


def _deepinv(noisy: Array) -> Callable[[int], Array]:
    deepinv, y = peers.load_deepinv(), torch.from_numpy(noisy)[None, None]

    def denoise(count: int) -> Array:
        with torch.no_grad():
            model = deepinv.models.TVDenoiser(n_it_max=count, crit=0.0)
            return model(y, ths=LAM)[0, 0].numpy()  # type: ignore[no-any-return]

    return denoise


def _pyproximal(noisy: Array) -> Callable[[int], Array]:
    pyproximal = peers.load("pyproximal")

    def denoise(count: int) -> Array:
        prior = pyproximal.TV(noisy.shape, sigma=LAM, niter=count, rtol=0.0)
        return np.asarray(prior.prox(noisy.ravel(), 1.0)).reshape(noisy.shape)

    return denoise


PEERS = {"scikit-image": _skimage, "ODL pdhg": _odl, "deepinv TVDenoiser": _deepinv, "pyproximal TV": _pyproximal}


def deblur(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare blur, its inverse and Wiener's estimate with a bare pair of real FFTs and one product between."""
    Blur = getattr(invprob.operators, "Blur", None)
    if Blur is None:
        yield Absent("deblur", "invprob.operators.Blur", "does not exist yet")
        return
    n = 64 if quick else 512
    axis = torch.arange(25) - 12.0
    bell = torch.exp(-(axis[:, None] ** 2 + axis**2) / 18)
    A = Blur((n, n), bell / bell.sum(), "periodic")
    b = torch.rand(n, n, generator=torch.Generator().manual_seed(0))
    factor = 1 / (1 + torch.rand(n, n // 2 + 1, generator=torch.Generator().manual_seed(1)))

    def pair(t: Tensor) -> Tensor:
        back: Tensor = torch.fft.irfft2(torch.fft.rfft2(t) * factor, s=(n, n))
        return back

    calls = {
        "forward": partial(A, b),
        "adjoint": partial(A.adjoint, b),
        "gram": partial(A.gram, b),
        "solve (A^H A + shift I)": partial(A.solve, b, 0.1),
        "direct (Wiener)": partial(A.direct, b, noise=0.01),
    }
    ms = race(calls | {"pair": partial(pair, b)}, patience=patience)
    for what in calls:
        yield Ratio(f"deblur {n}^2", what, ms[what], "bare rfft2 and irfft2", ms["pair"])
