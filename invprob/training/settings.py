"""What a training run can be told, checked before anything is computed."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from invprob.errors import InputError, printable

__all__ = ["DenoiserSettings", "DiffusionSettings", "NoisyImages", "TrainingSettings", "numbers", "read_settings"]


class _Amount(BaseModel):
    """How much is seen, and which of all that could be."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(60_000, ge=1, description="updates of the weights")
    seed: int = Field(0, ge=0, lt=2**63, description="of the images, the noise and the first weights")
    batch: int = Field(32, ge=1, description="items per step, over all processes")


class _Patches(_Amount):
    """What is cut from which images."""

    patch: int = Field(64, ge=16, description="side of a patch in pixels")
    image: int = Field(128, ge=16, description="side of the generated images that patches are cut from")
    reuse: int = Field(32, ge=1, description="steps that cut from the same images before new ones are made")

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        if self.patch > self.image:
            raise ValueError(f"patch ({self.patch}) must be at most image ({self.image}), which it is cut from")
        return self


class TrainingSettings(_Amount):
    """What every training run is told: the same settings give the same weights on the same machine."""

    learning_rate: float = Field(1e-3, gt=0, description="of Adam, at its peak")
    last_rate: float = Field(1e-6, ge=0, description="learning rate at the end of the cosine")
    warmup: int = Field(500, ge=0, description="steps over which the learning rate rises")
    clip: float = Field(0.5, gt=0, description="largest norm of a gradient")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")
    precision: Literal["auto", "float32", "float64", "bfloat16"] = Field(
        "auto", description="bfloat16 products where the hardware has them, or one of the others"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU if there is one")
    validate_every: int = Field(2000, ge=1, description="steps between two looks at the validation images")

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings, or raise InputError with one sentence on all that is wrong with them."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise InputError("; ".join(_sentence(dict(e), cls) for e in error.errors())) from error


class NoisyImages(TrainingSettings, _Patches):
    """Settings of what learns from patches of images with noise."""

    sigma_max: float = Field(0.3, gt=0, description="noise levels go up to it, half of them to a third of it")


class DenoiserSettings(NoisyImages):
    """All that a trained denoiser depends on."""

    colours: int = Field(1, ge=1, le=4, description="channels of an image: 1 for grey, 3 for colour")
    channels: tuple[int, ...] = Field((32, 64, 128), min_length=1, description="features per scale, as 32-64-128")
    blocks: int = Field(2, ge=1, description="residual blocks per scale and direction")
    unshuffle: int = Field(2, ge=1, description="blocks of pixels that become channels at the input")
    bias: bool = Field(False, description="additive constants in the convolutions")
    start: str = Field(
        "", description="weights to begin with, shipped or a .safetensors file, of no more blocks; none if empty"
    )
    contraction: float = Field(0.0, ge=0, description="weight of a penalty on what I - D expands; costs time")

    @field_validator("channels", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Take the channels of a command line, 32-64-128, apart."""
        return numbers(value, int)

    @model_validator(mode="after")
    def _wide_enough(self) -> Self:
        if min(self.channels) < 1:
            raise ValueError(f"channels must be at least 1 each, got {list(self.channels)}")
        return self


class DiffusionSettings(TrainingSettings):
    """All that a trained diffusion prior depends on."""

    steps: int = Field(32_000, ge=1, description="updates of the weights")
    learning_rate: float = Field(6e-4, gt=0, description="of Adam, at its peak")
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    ema: float = Field(0.9995, ge=0, lt=1, description="decay of the averaged weights")
    size: int = Field(64, ge=16, description="side of an image in pixels")
    images: int = Field(8192, ge=1, description="bodies that are drawn, moved and recoloured at every use")
    mr_share: float = Field(0.25, ge=0, le=1, description="how many of them are seen as MR shows them")
    channels: tuple[int, ...] = Field((32, 64, 128), min_length=1, description="features per scale, as 32-64-128")
    blocks: int = Field(2, ge=1, description="residual blocks per scale and direction")
    unshuffle: int = Field(2, ge=1, description="blocks of pixels that become channels at the input")
    spread: float = Field(0.25, gt=0, description="standard deviation of the images")
    mean: float = Field(0.2, description="mean of the images")
    log_sigma: float = Field(-1.4, description="mean of the logarithm of the noise levels")
    log_sigma_spread: float = Field(1.6, ge=0, description="standard deviation of that logarithm")
    target: Literal["edm", "image", "noise"] = Field("edm", description="what the network answers")
    weighting: Literal["edm", "min-snr"] = Field("edm", description="what an error counts at a noise level")
    perturbation: float = Field(0.0, ge=0, description="gamma: the input has noise of sigma (1 + gamma^2)^1/2")

    @field_validator("channels", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Take the channels of a command line, 32-64-128, apart."""
        return numbers(value, int)


def numbers(value: Any, kind: type) -> Any:
    """Return the numbers of a text such as 32-64-128, or the only one; what is no text, or no number, as it is."""
    if type(value) in (int, float):  # and no bool
        return (value,)
    if not isinstance(value, str):
        return value
    parts = []
    for part in value.split("-"):
        try:
            parts.append(kind(part))
        except ValueError:
            parts.append(part)
    return tuple(parts)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML, JSON or YAML file, not yet checked; YAML needs PyYAML to be installed."""
    name, kind = printable(path), path.suffix.lower()
    if kind not in (".toml", ".json", ".yaml", ".yml"):
        raise InputError(f"{name}: settings are read from .toml, .json and .yaml files")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the settings {name} cannot be read ({printable(error)})") from error
    try:
        if kind == ".toml":
            values = tomllib.loads(text)
        elif kind == ".json":
            values = json.loads(text)
        else:
            values = importlib.import_module("yaml").safe_load(text)
    except ModuleNotFoundError as error:
        raise InputError(f"{name}: YAML needs PyYAML: `pip install pyyaml`, or write the settings as TOML") from error
    except Exception as error:  # three parsers, each with errors of its own
        raise InputError(f"{name} is no valid {kind[1:].upper()} ({printable(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{name} must hold names with values, such as steps = 1000")
    return values


def _sentence(error: Mapping[str, Any], settings: type[BaseModel]) -> str:
    """Return one complaint of pydantic in the words of this project."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no setting {printable(where)!r}; known: {', '.join(settings.model_fields)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not where:
        return message
    return f"{printable(where)}: {message[:1].lower()}{message[1:]}, got {printable(repr(error.get('input')))}"
