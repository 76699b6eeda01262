"""Training a denoiser of magnitudes in three dimensions: radar targets under complex noise, of which |.| is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from invprob import metrics
from invprob.linalg import per_item
from invprob.phantoms.targets import radar_targets, target_magnitude
from invprob.priors.networks.volume_unet import VolumeUNet
from invprob.training.batches import WEIGHTS, Batch, generator_of, like, white_noise
from invprob.training.matching import mean_square
from invprob.training.settings import TrainingSettings, numbers
from invprob.training.task import Task

__all__ = ["LEVELS", "RadarSettings", "RadarTask"]

LEVELS = (0.05, 0.1, 0.2)  # at which the denoiser is judged
_TARGETS, _STEP, _NOISE = 41, 42, 43  # streams of random numbers that no other training draws from
_EARLY = 1.5  # noise levels are sigma_max u^this, u uniform
_LEAST, _ROUND = 0.02, 1e-4  # of sigma_max, what weaker noise counts as; an error of nothing has a slope, too
_HELD_OUT, _SHOWN = 24, 4  # validation targets, and those in the picture


class RadarSettings(TrainingSettings):
    """All that a trained denoiser of radar targets depends on."""

    steps: int = Field(6000, ge=1, description="updates of the weights")
    batch: int = Field(8, ge=1, description="volumes per step, over all processes")
    reuse: int = Field(8, ge=1, description="steps that turn and spoil the same targets before new ones are made")
    channels: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="features per scale, as 16-32-64")
    blocks: int = Field(1, ge=1, description="residual blocks per scale and direction")
    bias: bool = Field(False, description="additive constants in the convolutions")
    sigma_max: float = Field(0.3, gt=0, description="noise levels go up to it, half of them to a third of it")
    learning_rate: float = Field(2e-3, gt=0, description="of Adam, at its peak")
    warmup: int = Field(200, ge=0, description="steps over which the learning rate rises")
    validate_every: int = Field(1000, ge=1, description="steps between two looks at the validation targets")

    @field_validator("channels", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Take the channels of a command line, 16-32-64, apart."""
        return numbers(value, int)


@dataclass
class RadarBatches:
    """Makes the slots `first` .. `last` of every batch: magnitudes m of targets and |m + n| for complex noise n.

    sigma^2 = E|n|^2, whatever the phases of the target, as the noise has none of its own.
    """

    settings: RadarSettings
    first: int
    last: int
    _pool: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step, float32 on the CPU."""
        s, own = self.settings, slice(self.first, self.last)
        generator = generator_of(_STEP, s.seed, step)
        mirrors = torch.randint(8, (s.batch,), generator=generator).tolist()
        turned = torch.randint(2, (s.batch,), generator=generator).tolist()
        sigma = (s.sigma_max * torch.rand(s.batch, generator=generator).pow(_EARLY))[own]
        pool = step // s.reuse
        self._pool = {key: kept for key, kept in self._pool.items() if key[0] == pool}
        slots = range(s.batch)[own]
        clean = torch.stack([_seen(self._target(pool, k), mirrors[k], turned[k]) for k in slots])
        noise = white_noise((s.batch, *clean.shape[1:]), generator, of_complex=True)[own]
        return Batch(clean, (clean + per_item(sigma, clean, 3) * noise).abs(), sigma)

    def _target(self, pool: int, slot: int) -> Tensor:
        if (pool, slot) not in self._pool:
            self._pool[pool, slot] = target_magnitude(generator_of(_TARGETS, self.settings.seed, pool, slot))
        return self._pool[pool, slot]


def _seen(target: Tensor, mirrored: int, turned: int) -> Tensor:
    """Return a target mirrored along the axes that bits mark, with x and y exchanged or not."""
    target = target.flip([axis for axis in range(3) if mirrored >> axis & 1])
    return target.transpose(0, 1) if turned else target


class RadarTask(Task[Batch]):
    """A `VolumeUNet` that takes complex noise off the magnitudes of generated radar targets."""

    stored = torch.float16  # whose rounding is far below what the network gets wrong

    def __init__(self, settings: RadarSettings) -> None:
        self.settings: RadarSettings = settings

    def build(self) -> VolumeUNet:
        """Return the untrained network."""
        s = self.settings
        return VolumeUNet(s.channels, s.blocks, bias=s.bias, generator=generator_of(WEIGHTS, s.seed))

    def batches(self, first: int, last: int) -> RadarBatches:
        """Return targets and what noise makes of them."""
        return RadarBatches(self.settings, first, last)

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the denoised magnitudes."""
        answer: Tensor = network(batch.noisy, batch.sigma)
        return answer

    def loss(self, answer: Tensor, batch: Batch, step: int) -> Tensor:
        """Return the root mean square error of an item, relative to the root of sigma, averaged over the batch."""
        del step
        highest = self.settings.sigma_max
        level = batch.sigma.clamp(min=_LEAST * highest) / highest
        error = (answer - batch.clean) / per_item(level.sqrt(), answer, 3)
        return (mean_square(error) + _ROUND**2).sqrt().mean()

    @cached_property
    def _held_out(self) -> Tensor:
        """The first targets of the validation set, which nobody trains on."""
        return radar_targets("validation", _HELD_OUT).abs()

    @torch.no_grad()
    def quality(self, network: Any) -> dict[str, Tensor]:
        """Return the mean PSNR in dB of noisy and of denoised validation targets, one entry per level."""
        pairs = [[self._denoised(network, k, level) for k in range(_HELD_OUT)] for level in LEVELS]
        clean = self._held_out
        columns = [torch.stack([torch.stack(kind) for kind in zip(*row, strict=True)]) for row in pairs]
        before, after = (
            torch.stack([metrics.psnr(row[i], clean, data_range=1.0, ndim=3).mean() for row in columns]) for i in (0, 1)
        )
        return {"noisy": before, "denoised": after}

    def _denoised(self, network: Any, number: int, level: float) -> tuple[Tensor, Tensor]:
        """Return a validation target with noise, the same at every call, and without it again."""
        clean = self._held_out[number]
        noisy = (clean + level * white_noise(clean.shape, generator_of(_NOISE, number), of_complex=True)).abs()
        weight = next(network.parameters())
        return noisy, network(like(noisy, weight), level).to(noisy)

    def words(self, quality: Mapping[str, Any]) -> str:
        """Return the PSNR before and after."""
        pairs = zip(quality["noisy"], quality["denoised"], strict=True)
        gains = ", ".join(f"{float(before):.2f} to {float(after):.2f}" for before, after in pairs)
        return f"PSNR of magnitudes on generated targets at sigma {', '.join(map(str, LEVELS))}: {gains} dB"

    @torch.no_grad()
    def samples(self, network: Any) -> Tensor:
        """Return maximum projections of some validation targets clean, noisy and denoised."""
        columns = []
        for k in range(_SHOWN):
            volumes = (self._held_out[k], *self._denoised(network, k, LEVELS[-1]))
            columns.append(torch.cat([volume.amax(1) for volume in volumes]))
        return torch.cat(columns, -1).clamp(0, 1)

    def card(self, network: Any, quality: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the card of a denoiser says."""
        rows = {
            f"sigma {level}": {key: round(float(column[k]), 3) for key, column in quality.items()}
            for k, level in enumerate(LEVELS)
        }
        return {
            "what": "denoiser D(|x|, sigma) for magnitudes of volumes, largest 1, with complex white noise, "
            "sigma^2 = E|n|^2",
            "architecture": "volume-unet",
            "arguments": network.arguments,
            "sigma_range": [0.0, self.settings.sigma_max],
            "data": "generated by invprob.phantoms.target_magnitude (smooth bodies of Gaussian blobs); no measurement",
            "quality": {"measure": f"mean PSNR in dB on {_HELD_OUT} generated validation targets", **rows},
        }
