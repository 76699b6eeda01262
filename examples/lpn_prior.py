"""What a learned prior thinks of images
=====================================

What a learned prior thinks of noise, blur and mixtures: its regulariser, evaluated on images it has never seen.

After the study of handwritten digits in Fang, Buchanan & Sulam 2024, on generated images.
"""

import torch

from invprob import phantoms
from invprob.operators import Blur
from invprob.priors import LearnedProximal, load_pretrained

pretrained = load_pretrained("lpn-natural-like")
prior = LearnedProximal(pretrained.network, sigma=0.05)
clean = phantoms.training_images(16, 64, 11, kinds={"ct": 1.0, "mr": 1.0})
generator = torch.Generator().manual_seed(2)
noise = torch.randn(clean.shape, generator=generator)


def shown(name: str, images: list[torch.Tensor], labels: list[float]) -> torch.Tensor:
    values = torch.stack([prior.value(x) for x in images])
    print(
        f"{name}: " + ", ".join(f"{label:g}: {float(v.median()):.3f}" for label, v in zip(labels, values, strict=True))
    )
    return values


levels = [0.0, 0.05, 0.1, 0.2, 0.3]
noisy = shown("median R over noise", [(clean + s * noise).clamp(0, 1) for s in levels], levels)
rising = (noisy.diff(dim=0) > 0).all(0).double().mean()
print(f"rising for {float(rising):.0%} of the images")

taps = torch.arange(-8, 9).float()
widths = [0.5, 1.0, 2.0, 4.0]
kernels = [torch.exp(-0.5 * (taps / w) ** 2) for w in widths]
blurred = [Blur((64, 64), torch.outer(k, k) / k.sum() ** 2, "reflect")(clean) for k in kernels]
softer = shown("median R over blur", [clean, *blurred], [0.0, *widths])

weights = [0.0, 0.25, 0.5, 0.75, 1.0]
other = clean.roll(1, 0)
mixed = shown("median R over mixtures", [(1 - w) * clean + w * other for w in weights], weights)
bump = (mixed[2] > (mixed[0] + mixed[4]) / 2).double().mean()
print(f"the middle of two images costs more than their mean for {float(bump):.0%} of the pairs")
assert float(rising) >= 0.95
assert bool((softer.median(1).values.diff() < 0).all())  # it prefers smooth images, as any such prior
