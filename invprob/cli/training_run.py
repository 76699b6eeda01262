"""The work behind `invprob train`: steps, checkpoints, words about them, and the files at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from invprob.cli import console
from invprob.cli.errors import ExitCode, UsageError, of_usage
from invprob.cli.signals import Signals
from invprob.cli.training_progress import TrainingProgress
from invprob.errors import InputError, OutputError, printable
from invprob.io.atomic import check_output
from invprob.report import show
from invprob.training import Team, Trainer, export, read_settings
from invprob.training.trainer import KINDS

__all__ = ["Run", "run"]

_MOST_BYTES = 2**28  # room on the disk for a checkpoint that is being replaced
_PATIENCE = 60.0  # seconds for a step and its checkpoint after a signal


@dataclass(frozen=True)
class Run:
    """What was asked for on the command line."""

    out: Path
    name: str
    config: Path | None
    given: Mapping[str, Any]
    resume: bool
    save_every: float
    threads: int | None
    kind: str

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    @property
    def samples(self) -> Path:
        """Where the picture of what the network does is written, if the task draws one."""
        return self.out / "samples.png"

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, in the file or on the command line, not yet checked."""
        return {**(read_settings(self.config) if self.config else {}), **self.given}


def run(job: Run) -> int:
    """Train to the end, or to an interruption, and return the exit code."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    if not job.name or Path(job.name).name != job.name:
        raise UsageError(f"--name {printable(job.name)!r} must be a plain name, such as denoiser")
    _check_folder(job)
    with Signals(_PATIENCE) as signals, Team.from_environment() as team:
        with of_usage():
            trainer = _trainer(job, team)
        if team.leads:
            _introduce(job, trainer)
        try:
            _steps(job, trainer, signals)
        except ArithmeticError as error:
            console.fail(f"{error}; the last checkpoint is kept")
            return ExitCode.NUMERICAL
        if not team.leads:
            return ExitCode.OK if trainer.done else signals.exit_code
        with signals.held():
            trainer.save(job.checkpoint)
        if not trainer.done:
            console.fail(f"interrupted after step {trainer.step}: go on with --resume")
            return signals.exit_code
        _finish(job, trainer)
    return ExitCode.OK


def _check_folder(job: Run) -> None:
    """Refuse a folder that cannot be written to, or that holds what would be lost, before anything is computed."""
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out {printable(job.out)} cannot be a directory ({printable(error)})") from error
    weights = job.out / f"{job.name}.safetensors"
    if not job.resume and job.checkpoint.exists():
        raise OutputError(f"{printable(job.checkpoint)} exists: add --resume, or choose another --out")
    if not job.resume and weights.exists():
        raise OutputError(f"{printable(weights)} exists: choose another --out or --name")
    for path in (job.checkpoint, weights, weights.with_suffix(".json")):
        check_output(path, _MOST_BYTES, overwrite=True)


def _trainer(job: Run, team: Team) -> Trainer:
    wanted, known = job.settings(), KINDS[job.kind][0]
    if not job.resume:
        return Trainer(known.checked(wanted), team)
    trainer = Trainer.resume(job.checkpoint, team, steps=wanted.get("steps"))
    if trainer.kind != job.kind:
        raise InputError(
            f"{printable(job.checkpoint)} is of a training of {trainer.kind!r}: go on with "
            f"`invprob train {trainer.kind} --resume`"
        )
    before = trainer.settings.model_dump()
    now = known.checked({**before, **wanted}).model_dump()
    changed = [f"{key} was {before[key]}, now {now[key]}" for key in now if now[key] != before[key]]
    if changed:
        raise InputError(f"a resumed run keeps its settings, but {'; '.join(changed)}: start anew in another --out")
    return trainer


def _introduce(job: Run, trainer: Trainer) -> None:
    settings, network = trainer.settings, trainer.network
    size = sum(weight.numel() for weight in network.parameters())
    built = ", ".join(f"{key} {value}" for key, value in network.arguments.items())
    console.fact("network", f"{type(network).__name__}, {built}: {size} parameters")
    console.fact("steps", f"{trainer.step} of {settings.steps} done, {settings.batch} items each, seed {settings.seed}")
    where = f"{trainer.device}, {torch.get_num_threads()} threads, {trainer.team.size} processes"
    console.fact("computes", f"on {where}, {settings.precision}")
    console.fact("folder", str(job.out))


def _steps(job: Run, trainer: Trainer, signals: Signals) -> None:
    """Advance until all is done or a signal comes; every process leaves after the same step."""
    team, saved = trainer.team, time.monotonic()
    with TrainingProgress(trainer.step, trainer.settings.steps, visible=team.leads) as progress, signals.held():
        while not trainer.done:
            loss = trainer.advance()
            stop = team.any(signals.received is not None, trainer.device)
            if team.leads:
                progress.show(trainer.step, loss, trainer.notes)
                if trainer.step % trainer.settings.validate_every == 0 and not trainer.done and not stop:
                    progress.say(f"step {trainer.step}", trainer.task.words(trainer.task.quality(trainer.averaged)))
                    _draw(job, trainer)
                if time.monotonic() - saved > job.save_every:
                    trainer.save(job.checkpoint)
                    saved = time.monotonic()
            if stop:
                return


def _draw(job: Run, trainer: Trainer) -> bool:
    """Write a picture of what the averaged network does, if its task makes one, and return whether it does."""
    picture = trainer.task.samples(trainer.averaged)
    if picture is not None:
        show(picture, picture.ndim, channels="colour" if picture.ndim == 3 else None, window=(0, 1)).save(
            job.samples, overwrite=True
        )
    return picture is not None


def _finish(job: Run, trainer: Trainer) -> None:
    task = trainer.task
    quality = task.quality(trainer.averaged)
    drawn = _draw(job, trainer)
    path = export(trainer, job.out, job.name, quality=quality)
    console.fact("quality", task.words(quality))
    if drawn:
        console.fact("samples", str(job.samples))
    console.fact("weights", str(path))
    console.fact("card", str(path.with_suffix(".json")))
