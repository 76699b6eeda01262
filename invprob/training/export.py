"""The files that ship: weights as safetensors, and a card that says what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from invprob.io.atomic import write_whole
from invprob.training.trainer import Trainer

__all__ = ["export"]

_OPTIONS = ("data", "steps", "seed")  # of the command line, all others go by --set
_FILES = ("data", "start")  # of which a card tells the name, not the place
_IMMATERIAL = ("validate_every", "device")  # which say how, not what is trained


def export(trainer: Trainer, folder: Path, name: str, *, quality: Mapping[str, Any]) -> Path:
    """Write the averaged weights as `name`.safetensors with the card `name`.json into `folder`; return the first.

    `quality` is what has been measured, `validate` of a denoiser. Weights are stored in float32.
    """
    from safetensors.torch import save

    weights = {key: t.detach().float().cpu().contiguous() for key, t in trainer.averaged.state_dict().items()}
    content = save(weights, metadata={"card": f"{name}.json"})  # several entries would have no fixed order
    path = folder / f"{name}.safetensors"
    write_whole(path, lambda partial: _write(partial, content))
    said = trainer.task.card(trainer.averaged, quality)
    card = {
        "name": name,
        "what": said["what"],
        "architecture": said["architecture"],
        "arguments": said["arguments"],
        "parameters": sum(t.numel() for t in weights.values()),
        "sigma_range": said["sigma_range"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "BSD-3-Clause, as the package",
        "data": said["data"],
        "command": command_of(trainer),
        **({"start": said["start"]} if said.get("start") else {}),
        "steps": trainer.step,
        "settings": {**trainer.settings.model_dump(mode="json"), **said.get("settings", {})},
        "versions": {package: version(package) for package in ("invprob", "torch", "numpy")},
        "quality": said["quality"],
    }
    text = json.dumps(card, indent=2) + "\n"
    write_whole(folder / f"{name}.json", lambda partial: _write(partial, text.encode()))
    return path


def command_of(trainer: Trainer) -> str:
    """Return the command that trains these weights: the settings that differ from the defaults."""
    words = ["invprob train", trainer.task.kind]
    defaults = type(trainer.settings).model_validate({}).model_dump(mode="json")
    for key, value in trainer.settings.model_dump(mode="json").items():
        if value == defaults[key] or key in _IMMATERIAL:
            continue
        told = "-".join(map(str, value)) if isinstance(value, list) else str(value)
        told = Path(told).name if key in _FILES else told
        words.append(f"--{key} {told}" if key in _OPTIONS else f"--set {key}={told}")
    return " ".join(words)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
