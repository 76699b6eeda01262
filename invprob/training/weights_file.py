"""The files that ship: weights as safetensors, and a card that says what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from invprob.io.atomic import write_bytes
from invprob.training.task import plain
from invprob.training.trainer import KINDS, Trainer

__all__ = ["export"]

_OPTIONS = ("data", "steps", "seed")  # of the command line, all others go by --set
_FILES = ("data", "start")  # of which a card tells the name, not the place
_ORDER = (
    *("name", "what", "architecture", "arguments", "parameters", "sigma_range", "sha256", "licence", "data"),
    *("command", "start", "steps", "resumed", "settings", "versions", "quality"),
)
_IMMATERIAL = ("validate_every", "device")  # which say how, not what is trained


def export(trainer: Trainer, folder: Path, name: str, *, quality: Mapping[str, Any]) -> Path:
    """Write the averaged weights as `name`.safetensors with the card `name`.json into `folder`; return the first.

    `quality` is what has been measured, as by `trainer.task.quality(trainer.averaged)`. Weights are stored in the
    precision that the task names, float32 by default.
    The card of a task of your own says what its `card` says, and no licence or command that it does not.
    """
    from safetensors.torch import save

    weights = {
        key: t.detach().to("cpu", trainer.task.stored).contiguous() for key, t in trainer.averaged.state_dict().items()
    }
    content = save(weights, metadata={"card": f"{name}.json"})  # several entries would have no fixed order
    path = folder / f"{name}.safetensors"
    write_bytes(path, content, overwrite=True)
    facts = trainer.task.card(trainer.averaged, quality)
    if trainer.kind in KINDS:
        facts |= {"licence": "BSD-3-Clause, as the package", "command": command_of(trainer)}
    facts |= {
        "name": name,
        "parameters": sum(t.numel() for t in weights.values()),
        "sha256": hashlib.sha256(content).hexdigest(),
        "steps": trainer.step,
        **({"resumed": _resumed(trainer)} if trainer.plans else {}),
        "settings": {**trainer.settings.model_dump(mode="json"), **facts.get("settings", {})},
        "versions": {package: version(package) for package in ("invprob", "torch", "numpy")},
    }
    card = {key: facts[key] for key in _ORDER if key in facts} | facts
    text = json.dumps(plain(card), indent=2) + "\n"
    write_bytes(folder / f"{name}.json", text.encode(), overwrite=True)
    return path


def command_of(trainer: Trainer) -> str:
    """Return the command that trains these weights: the settings that differ from the defaults."""
    words = ["invprob train", trainer.kind]
    defaults = type(trainer.settings).model_validate({}).model_dump(mode="json")
    for key, value in trainer.settings.model_dump(mode="json").items():
        if value == defaults[key] or key in _IMMATERIAL:
            continue
        told = "-".join(map(str, value)) if isinstance(value, list) else str(value)
        told = Path(told).name if key in _FILES else told
        words.append(f"--{key} {told}" if key in _OPTIONS else f"--set {key}={told}")
    return " ".join(words)


def _resumed(trainer: Trainer) -> str:
    """Return what the command leaves out of a run whose number of steps was changed on the way."""
    parts = [f"up to step {step} a run of steps={planned}" for step, planned in sorted(trainer.plans.items())]
    return f"{', then '.join(parts)}, then resumed as one of steps={trainer.settings.steps}"
