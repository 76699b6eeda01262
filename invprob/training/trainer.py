"""One run of training: weights, their average, the optimiser, and the number of steps done."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invprob.errors import InputError
from invprob.priors.networks import DenoisingUNet
from invprob.priors.networks.precision import autocast
from invprob.training import checkpoint
from invprob.training.batches import WEIGHTS, Batches, generator_of
from invprob.training.parallel import Team
from invprob.training.settings import DenoiserSettings

__all__ = ["Trainer"]

_CHARBONNIER = 1e-3  # rounds the corner of |x|, in grey values


class Trainer:
    """Trains a `DenoisingUNet` by Adam on generated patches; what a step does depends on (settings, step) alone.

    After `advance` has been called `settings.steps` times it is `done`; `averaged` is the network to keep. `save` and
    `resume` lose nothing: a resumed run gives the weights of an uninterrupted one bit for bit, on the same machine
    and with the same number of threads. In a `team` every process holds one and does its share.
    """

    def __init__(self, settings: DenoiserSettings, team: Team | None = None) -> None:
        self.settings, self.team = settings, team or Team()
        slots = self.team.share(settings.batch)
        self.device = self.team.device(settings.device)
        self.batches = Batches(settings, slots.start, slots.stop)
        self.step = 0
        dtype = torch.float64 if settings.precision == "float64" else torch.float32
        self.network = build(settings).to(self.device, dtype)
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self._bf16 = {"auto": None, "bfloat16": True}.get(settings.precision, False)
        self._wrapped = self.team.wrapped(self.network)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)

    @property
    def done(self) -> bool:
        """Whether all steps have been done."""
        return self.step >= self.settings.steps

    def advance(self) -> Tensor:
        """Do one step and return the loss of this process's share before it, 0-d.

        Raises `ArithmeticError`, and leaves the weights as they were, where a gradient is not finite.
        """
        settings, weight = self.settings, self.network.head.weight
        batch = self.batches(self.step)
        clean, noisy, sigma = (t.to(weight) for t in (batch.clean, batch.noisy, batch.sigma))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(settings, self.step)
        self._optimizer.zero_grad()
        with autocast(self.device, weight.dtype, bf16=self._bf16):
            error = self._wrapped(noisy, sigma) - clean
        each = error.abs() if settings.loss == "l1" else (error.square() + _CHARBONNIER**2).sqrt()
        loss: Tensor = each.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        if not bool(norm.isfinite()):
            raise ArithmeticError(f"the gradient of step {self.step} is not finite: choose a smaller learning_rate")
        self._optimizer.step()
        self.step += 1
        self._average()
        return loss.detach()

    def _average(self) -> None:
        """Move the average towards the weights, faster in the first steps."""
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)

    def save(self, path: Path) -> None:
        """Write all of the state; a crash at any moment leaves the previous file or this one, whole."""
        checkpoint.save(path, self._state())

    @classmethod
    def resume(cls, path: Path, team: Team | None = None) -> Trainer:
        """Return the trainer that was saved; InputError for a file that is none."""
        state = checkpoint.load(path)
        trainer = cls(DenoiserSettings.checked(state["settings"]), team)
        try:
            trainer.network.load_state_dict(state["network"])
            trainer.averaged.load_state_dict(state["averaged"])
            trainer._optimizer.load_state_dict(state["optimizer"])
            trainer.step = int(state["step"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"the checkpoint {path} does not fit its own settings: start again elsewhere") from error
        return trainer

    def _state(self) -> dict[str, Any]:
        return {
            "settings": self.settings.model_dump(mode="json"),
            "step": self.step,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }


def build(settings: DenoiserSettings) -> DenoisingUNet:
    """Return the untrained network of the settings, its first weights drawn from their seed."""
    generator = generator_of(WEIGHTS, settings.seed)
    return DenoisingUNet(
        settings.channels, settings.blocks, unshuffle=settings.unshuffle, bias=settings.bias, generator=generator
    )


def learning_rate(settings: DenoiserSettings, step: int) -> float:
    """Return the rate of a step: a linear rise over the warm-up, then a cosine down to `last_rate`."""
    rise = min(settings.warmup, settings.steps // 10)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    progress = (step - rise) / max(1, settings.steps - rise)
    fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))
    return settings.last_rate + max(0.0, settings.learning_rate - settings.last_rate) * fall
