"""Samplers against a known posterior
==================================

Samplers against a posterior that is known exactly: a mixture of two Gaussians in the plane, one number measured.

The two modes lie apart in the direction that the data do not see. Nearly every diffusion sampler returns the weights of
the prior there; particles with weights return those of the posterior. Pictures: posterior_gmm.png.
"""

import sys

import torch

from invprob.linop import LinearOperator
from invprob.priors import GaussianMixture
from invprob.sampling import sample, twisted

prior = GaussianMixture.of_covariances(
    torch.tensor([0.5, 0.5]),
    torch.tensor([[0.0, -2.0], [0.0, 2.0]], dtype=torch.float64),
    torch.diag_embed(torch.tensor([[1.0, 0.05], [0.05, 0.05]], dtype=torch.float64)),
)
A = LinearOperator.from_scipy(torch.tensor([[1.0, 0.0]], dtype=torch.float64).numpy(), (2,), (1,))
y, noise = torch.tensor([0.1], dtype=torch.float64), 0.1

exact = prior.posterior(A, y, noise)
draws = {"exact": exact.sample(1000)}
for name in ("flower", "pigdm", "dps", "ddrm", "daps"):
    draws[name] = sample(prior, A, y, noise, name, chains=1000, steps=100).samples
draws["particles"] = twisted(prior, A, y, noise, particles=2000).samples

upper = {name: float((x[:, 1] > 0).double().mean()) for name, x in draws.items()}
for name, share in upper.items():
    print(
        f"{name:10} share of the upper mode {share:.2f}, x1 = {draws[name][:, 0].mean():.2f} +- "
        f"{draws[name][:, 0].std():.3f}"
    )

if "--draw" in sys.argv:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(draws), sharex=True, sharey=True, figsize=(2 * len(draws), 2.4))
    for axis, (name, x) in zip(axes, draws.items(), strict=True):
        axis.plot(x[:, 0], x[:, 1], ".", markersize=1)
        axis.set_title(name)
    figure.savefig("posterior_gmm.png", dpi=150)

assert abs(upper["particles"] - float(exact.weights[1])) < 0.06
assert abs(upper["flower"] - 0.5) < 0.15  # the prior's weights: the honest limit of guided chains
