"""What the training of a learned proximal network can be told."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from invprob.training.settings import NoisyImages, numbers

__all__ = ["ProximalSettings"]


class ProximalSettings(NoisyImages):
    """All that a trained learned proximal network depends on."""

    data: str = Field("images", description="images, phantoms, laplace, or an .npz file of images")
    network: Literal["ridge-regulariser", "convex-ridge", "convex-conv", "convex-scalar"] = Field(
        "ridge-regulariser", description="its architecture"
    )
    width: int = Field(64, ge=1, description="features of a layer of convex-conv and convex-scalar")
    layers: int = Field(4, ge=1, description="layers of convex-conv and convex-scalar")
    filter: int = Field(5, ge=3, description="side of the filters of the ridge networks, odd")
    pairs: int = Field(4, ge=1, description="pairs of filters of the ridge networks")
    mu: float = Field(0.05, gt=0, lt=1, description="strong convexity of the potential")
    curvature: float = Field(200.0, gt=0, description="largest curvature of a ridge-regulariser")
    weak: float = Field(0.95, ge=0, lt=1, description="weak convexity of a ridge network")
    pretraining: Literal["l1", "l2", "psnr"] = Field("l1", description="what is minimised at first; psnr: its negative")
    matching: float = Field(0.5, ge=0, le=1, description="share of the steps, the last ones, with proximal matching")
    gammas: tuple[float, ...] = Field(
        (0.64, 0.32, 0.16, 0.08),
        min_length=1,
        description="widths of proximal matching, one after the other: RMS error per entry at sigma_max",
    )
    matched: int = Field(0, ge=0, description="side of the patches that are matched one by one; 0 for whole items")
    steps: int = Field(6000, ge=1, description="updates of the weights")
    batch: int = Field(8, ge=1, description="patches per step, over all processes")
    patch: int = Field(48, ge=16, description="side of a patch in pixels")
    sigma_max: float = Field(0.3, gt=0, description="noise level, the largest one where the network is told it")
    learning_rate: float = Field(5e-3, gt=0, description="of Adam, at its peak")
    warmup: int = Field(50, ge=0, description="steps over which the learning rate rises")
    precision: Literal["auto", "float32", "float64", "bfloat16"] = Field(
        "float32", description="float32, as convexity is a matter of signs, or one of the others"
    )
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")

    @field_validator("gammas", mode="before")
    @classmethod
    def _gammas(cls, value: Any) -> Any:
        """Take the widths of a command line, 0.64-0.32-0.16, apart."""
        return numbers(value, float)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if min(self.gammas) <= 0:
            raise ValueError(f"gammas must be positive, got {list(self.gammas)}")
        if self.data not in ("images", "phantoms", "laplace") and not self.data.endswith(".npz"):
            raise ValueError(f"data must be images, phantoms, laplace or an .npz file, got {self.data!r}")
        if (self.data == "laplace") != (self.network == "convex-scalar"):
            raise ValueError("the data laplace and the network convex-scalar go together")
        if self.data == "laplace" and self.pretraining == "psnr":
            raise ValueError("psnr is of images: the pretraining of the data laplace is l1 or l2")
        if self.filter % 2 == 0 or self.pairs > self.filter**2 // 2 + 1:
            raise ValueError(f"filter must be odd and make {self.pairs} pairs, got {self.filter}")
        if self.matched > self.patch:
            raise ValueError(f"matched ({self.matched}) must be at most patch ({self.patch})")
        return self

    def gamma(self, step: int) -> float | None:
        """Return the width of a step, None while it is pre-training: equal stages, one per width."""
        first = round(self.steps * (1 - self.matching))
        if step < first or self.matching == 0:
            return None
        stage = (step - first) * len(self.gammas) // max(1, self.steps - first)
        return self.gammas[min(stage, len(self.gammas) - 1)]
