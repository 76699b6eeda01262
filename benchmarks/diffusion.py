"""Every diffusion preset against a posterior that is known exactly.

    python benchmarks/diffusion.py            # the tables, in four minutes of one processor
    python benchmarks/diffusion.py --json     # the same as JSON
    python benchmarks/diffusion.py --write    # and into docs/diffusion.md

Columns: |mean error| / sqrt(tr C), relative error of the covariance in the Frobenius norm, trace of the covariance over
that of the posterior, and residual over noise. "exact" draws from the posterior itself: the floor that a finite number
of draws leaves. Priors are Gaussian, which favours steps that take the posterior of x0 for one.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from rewriting import rewrite
from torch import Tensor

from invprob.linop import LinearOperator
from invprob.operators import ParallelBeam
from invprob.priors import GaussianMixture, StationaryField
from invprob.sampling import PRESETS, sample
from invprob.sampling.particles import twisted

SINGULAR, NOISE = (1.0, 0.7, 0.4, 0.15), 0.2
Row = dict[str, float]


def small_problem(seed: int = 0) -> tuple[LinearOperator, torch.Generator]:
    """Return an operator from 8 numbers to 4 with the singular values above, in random directions."""
    draw = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=draw))[0]
    v = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=draw))[0][:, :4]
    matrix = u @ torch.diag(torch.tensor(SINGULAR, dtype=torch.float64)) @ v.mT
    return LinearOperator.from_scipy(matrix.numpy(), (8,), (4,)), draw


def white_prior() -> GaussianMixture:
    """Return N(0, I) in 8 dimensions."""
    return gaussian(torch.eye(8, dtype=torch.float64))


def slanted_prior(seed: int = 7) -> GaussianMixture:
    """Return a Gaussian with variances from 0.1 to 2 in random directions, of mean variance 1."""
    draw = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=draw))[0]
    v = torch.tensor(np.geomspace(0.1, 2.0, 8))
    return gaussian(q @ torch.diag(8 * v / v.sum()) @ q.mT)


def gaussian(covariance: Tensor) -> GaussianMixture:
    """Return a centred Gaussian."""
    size = len(covariance)
    return GaussianMixture.of_covariances(torch.ones(1), torch.zeros(1, size), covariance[None])


def compared(draws: Tensor, exact: GaussianMixture) -> Row:
    """Return the errors of draws `(n, N)` relative to a posterior of one component."""
    flat = draws.flatten(1).double()
    covariance = (exact.axes[0] * exact.variances[0]) @ exact.axes[0].mT
    trace, found = covariance.trace(), torch.cov(flat.mT)
    return {
        "mean": float((flat.mean(0) - exact.means[0].flatten()).norm() / trace.sqrt()),
        "covariance": float((found - covariance).norm() / covariance.norm()),
        "variance": float(found.trace() / trace),
    }


def table_small(prior: GaussianMixture, presets: list[str], chains: int = 1000, seeds: int = 3) -> dict[str, Row]:
    """Return the mean errors over `seeds` problems."""
    rows: dict[str, list[Row]] = {}
    for seed in range(seeds):
        A, draw = small_problem(seed)
        x = prior.sample(1, draw)[0]
        y = A(x) + NOISE * torch.randn(4, dtype=torch.float64, generator=draw)
        exact = prior.posterior(A, y, NOISE)
        rows.setdefault("exact", []).append(compared(exact.sample(chains, draw), exact))
        for name in presets:
            found = (
                twisted(prior, A, y, NOISE, particles=chains, seed=seed)
                if name == "twisted"
                else sample(prior, A, y, NOISE, name, chains=chains, seed=seed)
            )
            row = compared(found.samples, exact)
            row["residual"] = float((A(found.samples) - y).norm(dim=-1).mean() / (NOISE * 4**0.5))
            rows.setdefault(name, []).append(row)
    return {name: {key: sum(r[key] for r in found) / len(found) for key in found[0]} for name, found in rows.items()}


def field_problem(side: int = 16, views: int = 6, noise: float = 0.03):
    """Return a CT problem with a stationary Gaussian field for the prior: prior, operator, data, posterior."""
    prior = StationaryField.power_law((side, side), 3.0)
    angles = torch.arange(views, dtype=torch.float64) * torch.pi / views
    scanner = ParallelBeam(
        (side, side), angles, int(1.5 * side), pixel_size=1 / side, detector_size=1 / side, dtype=torch.float64
    )
    columns = scanner(torch.eye(side**2, dtype=torch.float64).reshape(-1, side, side)).flatten(1)
    A = LinearOperator.from_scipy(columns.mT.numpy(), scanner.domain_shape, scanner.range_shape)  # so small: faster
    draw = torch.Generator().manual_seed(5)
    x = prior.sample(1, draw)[0]
    y = A(x)
    y = y + noise * torch.randn(y.shape, dtype=torch.float64, generator=draw)
    return prior, A, y, noise, prior.as_mixture().posterior(A, y, noise)


def table_field(presets: list[str], chains: int = 128) -> dict[str, Row]:
    """Return the errors on the CT problem."""
    prior, A, y, noise, exact = field_problem()
    rows = {"exact": compared(exact.sample(chains), exact)}
    for name in presets:
        found = sample(prior, A, y, noise, name, chains=chains)
        rows[name] = compared(found.samples, exact)
        rows[name]["residual"] = float(found.history["residual_to_noise"].mean())
    return rows


def text(title: str, rows: dict[str, Row]) -> str:
    """Return a table in Markdown."""
    head = ("mean", "covariance", "variance", "residual")
    lines = [f"### {title}", "", f"| preset | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{row[key]:.2f}' if key in row else '' for key in head)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print all tables."""
    torch.set_num_threads(1)  # of small arrays, which more would only wait for
    presets = [name for name in PRESETS if name != "prior"]
    tables = {
        "N(0, I), 4 readings of 8 numbers": table_small(white_prior(), [*presets, "twisted"]),
        "slanted Gaussian, the same readings": table_small(slanted_prior(), [*presets, "twisted"]),
        "Gaussian field of 16 x 16, CT with 6 views": table_field(presets),
    }
    if "--json" in sys.argv:
        print(json.dumps(tables, indent=2))
        return
    words = "\n".join(text(title, rows) for title, rows in tables.items())
    print(words)
    if "--write" in sys.argv:
        rewrite(words, "benchmarks/diffusion.py")


if __name__ == "__main__":
    main()
