"""A score model of your own
=========================

A score network of your own as a prior, whatever it predicts and in whichever variables it was trained.

Here it predicts the noise of variance-preserving images on [-1, 1] at one of a thousand steps, as many published
networks do. So that the example needs no weights, the "network" is a formula: it knows that images are smooth.
"""

import torch

from invprob import metrics
from invprob.operators import Mask
from invprob.priors import DiffusionPrior, StationaryField
from invprob.priors.diffusion import linear_levels
from invprob.sampling import sample

field = StationaryField.power_law((32, 32), 3.5, spread=0.2, mean=0.5)
levels = linear_levels()


class Network(torch.nn.Module):
    """e(x, t) for x = sqrt(a) u + sqrt(1 - a) n of images u in [-1, 1], (B, 1, H, W), and t in 0 .. 999, (B,)."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return an estimate of n."""
        sigma = levels[t.round().long()].to(x).reshape(-1, 1, 1, 1)
        seen = x * (1 + sigma**2) ** 0.5
        image = 2 * field.denoise((seen[:, 0] + 1) / 2, sigma[:, 0, 0, 0] / 2)[:, None] - 1
        return (seen - image) / sigma


prior = DiffusionPrior(Network(), "noise", "vp", data_range=(-1.0, 1.0), spread=0.2)

truth = field.sample(1, 3)[0].float()
A = Mask(torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) < 0.3)
noise = 0.1
y = A(truth + noise * torch.randn(32, 32, generator=torch.Generator().manual_seed(1)))

result = sample(prior, A, y, noise, "pigdm", chains=8, steps=50)
direct = metrics.psnr(A.direct(y), truth, data_range=1.0)
found = metrics.psnr(result.x, truth, data_range=1.0)
share = metrics.coverage(result.x, result.spread, truth, level=0.9)
print(f"holes filled smoothly {float(direct):.2f} dB, posterior mean {float(found):.2f} dB")
left = float(result.history["residual_to_noise"].mean())
print(f"intervals of 90 % cover {float(share):.0%}; draws leave {left:.2f} of the noise")
assert found > direct + 1
assert 0.7 < share < 0.97
