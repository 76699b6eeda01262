"""CT with a learned proximal network
==================================

Sparse-view CT with a learned proximal network: the objective is followed, and the certificate says what holds."""

import math

import torch

from invprob import metrics, phantoms, solve
from invprob.fidelities import L2
from invprob.operators import ParallelBeam
from invprob.priors import LearnedProximal, load_pretrained
from invprob.solvers import ADMM

# simulated on a grid twice as fine: the projector that inverts the data has not made them
fine = phantoms.organ((192, 192), 3)
truth = fine.unflatten(1, (96, 2)).unflatten(0, (96, 2)).mean((1, 3))
angles = torch.arange(30) * math.pi / 30
clean = ParallelBeam((192, 192), angles, 274, pixel_size=0.5, detector_size=0.5)(fine).unflatten(-1, (137, 2)).mean(-1)
data, sigma = phantoms.add_gaussian_noise(clean, 0.02, 1)

A = ParallelBeam((96, 96), angles, 137)
square = float(A.norm() ** 2)
pretrained = load_pretrained("lpn-natural-like")
prior = LearnedProximal(pretrained.network, lam=0.02 * square, sigma=0.05, card=pretrained.card)
start = A.direct(data)
result = solve(ADMM(rho=0.1 * square, max_iter=60, tol=1e-3), L2(A, data), prior, x0=start, noise=sigma)

before = float(metrics.psnr(start, truth, data_range=1.0))
after = float(metrics.psnr(result.x, truth, data_range=1.0))
print(f"filtered back-projection {before:.1f} dB, learned proximal network {after:.1f} dB; {result.message}")
print("objective:", ", ".join(f"{float(value):.5g}" for value in result.history["objective"]))
for assumption in result.certificate.assumptions:
    answer = {True: "holds", False: "fails", None: "unknown"}[assumption.holds]
    print(f" - {assumption.statement}: {answer} ({assumption.reason})")
images = {"truth": truth, "filtered back-projection": start, "learned proximal network": result.x}
assert after > before + 4
assert float(result.history["objective"][-1]) <= float(result.history["objective"][0])
