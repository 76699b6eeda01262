"""Maps of T2 by an operator of your own
=====================================

Maps of T2 from echoes: fitting M exp(-t / T) in every pixel at once, to the bound that no unbiased estimate beats.

The model is an operator like any other, only not linear: `GaussNewton` needs nothing but its formula. A pixel is an
item, the image a batch of them, so that each has its own damping and its own end. Times in seconds.
"""

import torch
from torch import Tensor

from invprob import solve
from invprob.fidelities import HalfSquaredDistance, Misfit
from invprob.functional import Zero
from invprob.linop import Operator
from invprob.solvers import GaussNewton

TIMES = torch.linspace(0.01, 0.32, 32, dtype=torch.float64)  # of the echoes


class Echoes(Operator):
    """Echoes `(times,)` of a pixel of magnetisation M and relaxation time T; x is (M, T)."""

    def __init__(self) -> None:
        super().__init__((2,), TIMES.shape, dtype=torch.float64)

    def _forward(self, x: Tensor) -> Tensor:
        return x[..., :1] * torch.exp(-TIMES / x[..., 1:])


def cramer_rao(x: Tensor, sigma: float) -> Tensor:
    """The least standard deviation of unbiased estimates of M and T, `(..., 2)`: the root of diag (J^T J)^-1."""
    m, t = x[..., :1], x[..., 1:]
    decay = torch.exp(-TIMES / t)
    slopes = torch.stack([decay, m * TIMES / t**2 * decay], -1)
    return sigma * torch.linalg.inv(slopes.mT @ slopes).diagonal(dim1=-2, dim2=-1).sqrt()


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    row, column = torch.meshgrid(*[torch.linspace(0, 1, 64, dtype=torch.float64)] * 2, indexing="ij")
    truth = torch.stack([0.7 + 0.3 * row, 0.06 + 0.06 * ((row - 0.5) ** 2 + (column - 0.5) ** 2 < 0.1)], -1)
    A = Echoes()
    clean = A(truth)
    sigma = 0.01 * float(clean.max())
    y = clean + sigma * torch.randn(clean.shape, dtype=clean.dtype, generator=generator)

    f = Misfit(A, HalfSquaredDistance(y, None, ndim=1))
    start = torch.tensor([1.0, 0.1])
    result = solve(GaussNewton(), f, Zero(ndim=1), x0=start, noise=sigma)
    error = ((result.x - truth) / cramer_rao(truth, sigma)).square().mean((0, 1)).sqrt()
    print(f"{int(result.n_iter.max())} steps at most; errors over the Cramer-Rao bound: {error[0]:.3f}, {error[1]:.3f}")
    facts = result.certificate
    assert facts.residual_to_noise is not None
    misfit = float(facts.residual_to_noise.square().mean().sqrt())
    print(f"misfit {misfit:.3f} of the noise; derivative off by {facts.derivative_error:.0e}")
    assert result.status == "converged"
    assert bool(((error > 0.95) & (error < 1.05)).all())

    for factor in (10.0, 0.1):
        far = solve(GaussNewton(), f, Zero(ndim=1), x0=factor * start)
        print(f"from {factor:g} times the start: {int(far.n_iter.max())} steps at most")
        assert float((far.x - result.x).abs().max()) < 1e-4


if __name__ == "__main__":
    main()
