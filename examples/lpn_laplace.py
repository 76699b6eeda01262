"""A learned prox beside the soft threshold
========================================

A learned proximal network in one dimension: from samples of Laplace's distribution to the soft threshold.

The maximum of p(x | y) for x ~ `exp(-|x|)` and y = x + n is the soft threshold, the prox of `|x|`. A network that is a
prox by construction, trained with proximal matching, comes near it, and its regulariser, which nobody has told it, near
`|x|`.
"""

from pathlib import Path
from tempfile import mkdtemp

import matplotlib as mpl
import torch

from invprob.priors import LearnedProximal, load_pretrained

mpl.use("Agg")
import matplotlib.pyplot as plt

prior = load_pretrained("lpn-laplace")
y = torch.linspace(-3.4, 3.4, 681)
soft = y.sign() * (y.abs() - 1).clamp(min=0)
learned = prior.prox(y, 1.0)
error = (learned - soft).abs()
print(
    f"distance from the soft threshold: at most {float(error.max()):.3f}, RMS {float(error.square().mean().sqrt()):.3f}"
)

# every number is an item of its own here; the regulariser comes with bounds on both sides
x = torch.linspace(-2.4, 2.4, 193, dtype=torch.float64)[:, None]
exact = LearnedProximal(prior.network.double(), tol=1e-8, max_iter=500)
low, high, _ = exact.bounds(x)
value = low - low.min()
off = float((value - x[:, 0].abs()).abs().max())
print(f"R is known to {float((high - low).max()):.1e}; it differs from |x| by at most {off:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
left.plot(y, soft, "k--", label="soft threshold")
left.plot(y, learned, label="learned prox")
right.plot(x[:, 0], x[:, 0].abs(), "k--", label="|x|")
right.plot(x[:, 0], value, label="learned regulariser")
for axes in (left, right):
    axes.legend()
path = Path(mkdtemp()) / "lpn_laplace.png"
figure.savefig(path, dpi=100)
print(f"drawn in {path}")
assert float(error.max()) <= 0.09
assert off <= 0.06
