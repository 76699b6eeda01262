"""Methods of other packages as recipes, where these are installed; thin, and nothing here needs them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invprob.benchmark.plan import Method
from invprob.methods import Progress
from invprob.methods.reporting import direct_result
from invprob.operators import Blur, FanBeam, Identity, Mask, ParallelBeam, to_astra
from invprob.problem import Problem

__all__ = ["PEERS", "installed"]

# name: the package, the recipe; further peers are further rows
PEERS = {
    "skimage-tv": ("skimage", "denoise_tv"),
    "skimage-wiener": ("skimage", "deblur"),
    "skimage-fill": ("skimage", "fill"),
    "astra-sirt": ("astra", "sirt"),
    "astra-cgls": ("astra", "cgls"),
    "bm3d": ("bm3d", "bm3d"),
    "deepinv-tv": ("deepinv", "deepinv_tv"),
}
_TV_STEPS = 200  # of deepinv's solver


def installed() -> tuple[Method, ...]:
    """Return the methods whose packages are there."""
    return tuple(
        Method(name, f"{__name__}:{recipe}", "peer") for name, (package, recipe) in PEERS.items() if find_spec(package)
    )


def denoise_tv(problem: Problem, *, strength: float = 0.1) -> Iterator[Progress]:
    """Total variation by Chambolle's algorithm, `skimage.restoration.denoise_tv_chambolle(weight=strength)`."""
    _only(problem, Identity)
    restoration = _load("skimage.restoration")
    return _direct(problem, strength, lambda y: restoration.denoise_tv_chambolle(y, weight=strength))


def deblur(problem: Problem, *, strength: float = 0.1) -> Iterator[Progress]:
    """Wiener-Hunt deconvolution, `skimage.restoration.wiener(balance=strength)`, the border mirrored."""
    A = problem.A
    _only(problem, Blur, axes=2)
    restoration, kernel = _load("skimage.restoration"), A.kernel.numpy()  # type: ignore[operator]
    margin = [(n - m) // 2 for n, m in zip(A.domain_shape, A.range_shape, strict=True)]
    pads = [(m, n - r - m) for m, n, r in zip(margin, A.domain_shape, A.range_shape, strict=True)]

    def restore(y: NDArray[Any]) -> Any:
        return restoration.wiener(np.pad(y, pads, mode="reflect"), kernel, strength, clip=False)

    return _direct(problem, strength, restore)


def fill(problem: Problem) -> Iterator[Progress]:
    """Biharmonic inpainting, `skimage.restoration.inpaint_biharmonic`."""
    _only(problem, Mask)
    missing = (problem.A.weights == 0).numpy()  # type: ignore[union-attr]
    restoration = _load("skimage.restoration")
    return _direct(problem, None, lambda y: restoration.inpaint_biharmonic(y, missing))


def sirt(problem: Problem, *, strength: float = 0.01) -> Iterator[Progress]:
    """Simultaneous iterative reconstruction of ASTRA, x >= 0, stopped after 1 / strength iterations."""
    return _astra(problem, "SIRT", strength, {"MinConstraint": 0.0})


def cgls(problem: Problem, *, strength: float = 0.1) -> Iterator[Progress]:
    """Conjugate gradients of ASTRA, stopped after 1 / strength iterations."""
    return _astra(problem, "CGLS", strength, {})


def bm3d(problem: Problem, *, strength: float | str = "auto") -> Iterator[Progress]:
    """Block matching and 3-D filtering with sigma = strength, or the noise level of the scan (Dabov et al. 2007)."""
    _only(problem, Identity, axes=2)
    if problem.noise is None and strength == "auto":
        raise ValueError("bm3d needs the noise level of the scan")
    denoise = _load("bm3d").bm3d
    sigmas = problem.noise if strength == "auto" else torch.full(problem.batch, float(strength))
    levels = iter([] if sigmas is None else sigmas.flatten().tolist())
    return _direct(problem, None if sigmas is None else sigmas.tolist(), lambda y: denoise(y, next(levels)))


def deepinv_tv(problem: Problem, *, strength: float = 0.01) -> Iterator[Progress]:
    """1/2 |A x - y|^2 + strength |A|^2 TV(x) by FISTA with deepinv's prox of total variation, 200 steps."""
    A = problem.linear
    norm = float(A.norm_bound())
    if len(A.domain_shape) != 2:
        raise ValueError(f"it is for pictures (H, W), not for images of shape {A.domain_shape}")
    prior = _load("deepinv.optim").TVPrior(n_it_max=20)

    def restore(y: NDArray[Any]) -> Any:
        data, step = torch.from_numpy(y).to(A.dtype), 1 / norm**2
        x = z = A.adjoint(data)[None, None] * step
        for k in range(_TV_STEPS):
            down = z - step * A.adjoint(A(z[0, 0]) - data)[None, None]
            new = prior.prox(down, gamma=strength)
            x, z = new, new + (k / (k + 3)) * (new - x)
        return x[0, 0].numpy()

    return _direct(problem, strength, restore)


def _astra(problem: Problem, algorithm: str, strength: float, options: dict[str, Any]) -> Iterator[Progress]:
    A = problem.A
    if not isinstance(A, (ParallelBeam, FanBeam)):
        raise ValueError(f"ASTRA's {algorithm} is for parallel and fan beams, not for {type(A).__name__}")
    astra, steps = _load("astra"), max(1, round(1 / strength))
    rays, grid = to_astra(A)
    projector = astra.create_projector("linear" if isinstance(A, ParallelBeam) else "line_fanflat", rays, grid)

    def restore(y: NDArray[Any]) -> Any:
        data, image = astra.data2d.create("-sino", rays, y), astra.data2d.create("-vol", grid)
        config = astra.astra_dict(algorithm)
        config |= {"ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": image, "option": options}
        run = astra.algorithm.create(config)
        try:
            astra.algorithm.run(run, steps)
            return astra.data2d.get(image)
        finally:
            astra.algorithm.delete(run)
            astra.data2d.delete([data, image])

    return _direct(problem, strength, restore)


def _direct(problem: Problem, strength: Any, restore: Callable[[NDArray[Any]], Any]) -> Iterator[Progress]:
    """Apply a function of one NumPy array to every item; ValueError for complex data, of which it knows nothing."""
    if problem.y.is_complex() or problem.A.domain_dtype.is_complex:
        raise ValueError("it is for real data, and these are complex")
    k = len(problem.A.range_shape)
    items = problem.y.reshape(-1, *problem.A.range_shape) if problem.y.ndim > k else problem.y[None]
    images = [torch.from_numpy(np.ascontiguousarray(restore(y.numpy()))) for y in items]
    x = torch.stack(images).to(problem.A.dtype).reshape(*problem.batch, *problem.A.domain_shape)
    settings = {} if strength is None else {"strength": strength}
    yield Progress("another package", 1, 1, math.nan, lambda: direct_result(problem, x, settings))


def _only(problem: Problem, kind: type, axes: int | None = None) -> None:
    if axes is not None and len(problem.A.domain_shape) != axes:
        raise ValueError(f"it is for images of {axes} axes, not for those of shape {problem.A.domain_shape}")
    if not isinstance(problem.A, kind):
        raise ValueError(f"it is for {kind.__name__}, not for {type(problem.A).__name__}")


def _load(name: str) -> Any:
    return importlib.import_module(name)
