"""One run of training: weights, their average, the optimiser, and the number of steps done."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invprob.errors import InputError, printable
from invprob.priors.networks.precision import autocast
from invprob.training import checkpoint
from invprob.training.batches import like
from invprob.training.denoiser_task import DenoiserTask
from invprob.training.diffusion_task import DiffusionTask
from invprob.training.parallel import Team
from invprob.training.proximal_settings import ProximalSettings
from invprob.training.proximal_task import ProximalTask
from invprob.training.radar_task import RadarSettings, RadarTask
from invprob.training.settings import DenoiserSettings, DiffusionSettings, TrainingSettings
from invprob.training.task import Task

__all__ = ["KINDS", "Trainer", "learning_rate"]

# what the command line trains, and checkpoints know by name: its settings, and the task that they become
KINDS: Mapping[str, tuple[type[TrainingSettings], Callable[[Any], Task[Any]]]] = {
    "denoiser": (DenoiserSettings, DenoiserTask),
    "diffusion": (DiffusionSettings, DiffusionTask),
    "lpn": (ProximalSettings, ProximalTask),
    "radar-denoiser": (RadarSettings, RadarTask),
}


class Trainer:
    """Trains the network of a task by Adam; what a step does depends on (settings, step) alone.

    `task` may be the settings of one of the `KINDS`, or any task of your own. After `advance` has been called
    `settings.steps` times it is `done`; `averaged` is the network to keep. `save` and `resume` lose nothing: a resumed
    run gives the weights of an uninterrupted one bit for bit, on the same machine and with the same number of threads.
    A run may be resumed with another number of steps: the learning rate goes on where that many would have it, and
    `plans` remembers up to which step a run of how many it was before.
    In a `team` every process holds one and does its share. Raises `InputError` for a batch that the team cannot share,
    `TypeError` for settings that belong to no kind and for complex weights.
    """

    def __init__(self, task: Task[Any] | TrainingSettings, team: Team | None = None) -> None:
        self.task = task if isinstance(task, Task) else _task(task)
        self.settings, self.team = self.task.settings, team or Team()
        settings = self.settings
        slots = self.team.share(settings.batch)
        self.device = self.team.device(settings.device)
        self.batches = self.task.batches(slots.start, slots.stop)
        self.step = 0
        self.plans: dict[int, int] = {}
        dtype = torch.float64 if settings.precision == "float64" else torch.float32
        network = self.task.build()
        if any(weight.is_complex() for weight in network.parameters()):
            raise TypeError(
                f"Trainer: {type(network).__name__} has complex weights; hold their parts, as torch.view_as_real gives"
            )
        self.network: Any = network.to(self.device, dtype)
        self.averaged: Any = copy.deepcopy(self.network).requires_grad_(False)
        self.notes = ""
        self._bf16 = {"auto": None, "bfloat16": True}.get(settings.precision, False)
        self._wrapped = self.team.wrapped(self.network)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)

    @property
    def kind(self) -> str:
        """Return by what name checkpoints know the task: that of the table, or of its class."""
        own = type(self.task)
        return next((name for name, (_, make) in KINDS.items() if make is own), own.__name__)

    @property
    def done(self) -> bool:
        """Whether all steps have been done."""
        return self.step >= self.settings.steps

    def advance(self) -> Tensor:
        """Do one step and return the loss of this process's share before it, 0-d.

        Raises `ArithmeticError`, and leaves the weights as they were, where a gradient is not finite.
        """
        settings, weight = self.settings, next(self.network.parameters())
        batch = _moved(self.batches(self.step), weight)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(settings, self.step)
        self._optimizer.zero_grad()
        with autocast(self.device, weight.dtype, bf16=self._bf16):
            answer = self.task.predict(self._wrapped, batch)
        loss = self.task.loss(answer, batch, self.step)
        (loss + self.task.penalty(self.network, batch)).backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        if not bool(norm.isfinite()):
            raise ArithmeticError(f"the gradient of step {self.step} is not finite: choose a smaller learning_rate")
        self._optimizer.step()
        self.task.project(self.network)
        self.notes = self.task.notes(answer.detach(), batch, self.step)
        self.step += 1
        self._average()
        return loss.detach()

    def _average(self) -> None:
        """Move the average towards the weights, faster in the first steps; what is no weight is taken as it is."""
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
            for mean, now in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
                mean.copy_(now)

    def save(self, path: Path) -> None:
        """Write all of the state; a crash at any moment leaves the previous file or this one, whole."""
        checkpoint.save(path, self._state())

    @classmethod
    def resume(
        cls, path: Path, team: Team | None = None, *, task: Task[Any] | None = None, steps: int | None = None
    ) -> Trainer:
        """Return the trainer that was saved; `task` is needed where it is none of the `KINDS`.

        The run becomes one of `steps` steps, or of as many as the task has. Raises `InputError` for a file that is no
        checkpoint, for a task of another name or with other settings, and where more steps than that have been done.
        """
        state = checkpoint.load(path)
        kind = state.get("kind", "denoiser")
        if task is None and kind not in KINDS:
            raise InputError(
                f"the checkpoint {printable(path)} is of a training of {printable(kind)!r}, which this version does "
                "not know: give a task of your own to Trainer.resume, too"
            )
        length = {} if steps is None else {"steps": steps}
        trainer = cls(KINDS[kind][0].checked({**state["settings"], **length}) if task is None else task, team)
        before = type(trainer.settings).checked(state["settings"]) if trainer.kind == kind else None
        if before is None or trainer.settings.model_copy(update={"steps": before.steps}) != before:
            raise InputError(
                f"the checkpoint {printable(path)} is of a training of {printable(kind)!r} with the settings "
                f"{printable(state['settings'])}, but the task is a {trainer.kind} with others"
            )
        try:
            trainer.network.load_state_dict(state["network"])
            trainer.averaged.load_state_dict(state["averaged"])
            trainer._optimizer.load_state_dict(state["optimizer"])
            trainer.step, trainer.plans = int(state["step"]), dict(state.get("plans", {}))
        except (AttributeError, LookupError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"the checkpoint {printable(path)} does not fit its own settings: start again elsewhere"
            ) from error
        trainer._replan(before.steps)
        return trainer

    def _replan(self, before: int) -> None:
        """Note that the run was one of `before` steps up to here, if it no longer is."""
        if self.settings.steps < self.step:
            raise InputError(f"steps={self.settings.steps} is less than the {self.step} steps that have been done")
        if self.settings.steps != before and self.step > 0:
            self.plans[self.step] = before

    def _state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "settings": self.settings.model_dump(mode="json"),
            "step": self.step,
            "plans": self.plans,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }


def _moved(batch: Any, weight: Tensor) -> Any:
    """Return a batch in the precision and on the device of a weight; of a plain tensor the kind stays what it is."""
    if not isinstance(batch, Tensor):
        return batch.to(weight)
    numbers = batch.is_floating_point() or batch.is_complex()
    return like(batch, weight) if numbers else batch.to(weight.device)  # indices and masks


def _task(settings: TrainingSettings) -> Task[Any]:
    """Return the task of the kind that the settings belong to."""
    for known, make in KINDS.values():
        if isinstance(settings, known):
            return make(settings)
    raise TypeError(f"Trainer: {type(settings).__name__} belongs to none of {', '.join(KINDS)}; give the task itself")


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Return the rate of a step: a linear rise over the warm-up, then a cosine down to `last_rate`."""
    rise = min(settings.warmup, settings.steps // 10)
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    progress = (step - rise) / max(1, settings.steps - rise)
    fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, progress))
    return settings.last_rate + max(0.0, settings.learning_rate - settings.last_rate) * fall
