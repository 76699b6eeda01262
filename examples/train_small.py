"""Training a small denoiser
=========================

Train a toy denoiser on generated images in about a minute, and denoise a phantom it has never seen."""

import os

import torch

from invprob import metrics, phantoms
from invprob.training import DenoiserSettings, Trainer

steps = int(os.environ.get("TRAIN_STEPS", "800"))  # 60000 and wider channels for one that is worth keeping
settings = DenoiserSettings(
    steps=steps, batch=16, patch=48, image=64, channels=(24, 48), blocks=1, learning_rate=3e-3, warmup=30
)
trainer = Trainer(settings)
while not trainer.done:
    loss = trainer.advance()
    if trainer.step % 50 == 0:
        print(f"step {trainer.step} of {steps}, loss {float(loss):.4f}")

sigma = 0.1
truth = phantoms.organ((192, 192), 7)
noisy = truth + sigma * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    denoised = trainer.averaged(noisy, sigma)

before, after = (float(metrics.psnr(x, truth, data_range=1.0)) for x in (noisy, denoised))
print(f"noisy {before:.1f} dB, denoised {after:.1f} dB")
assert after > before + 3
