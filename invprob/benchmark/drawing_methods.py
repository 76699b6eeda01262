"""Every preset of `invprob.sampling` as a method, those without a recipe of their own, too."""

from __future__ import annotations

from invprob import registry
from invprob.benchmark.plan import Method
from invprob.methods import Recipe
from invprob.methods.diffusion_sampling import recipe_of
from invprob.sampling import PRESETS

__all__ = ["samplers"]


def samplers() -> tuple[Method, ...]:
    """Return a method for every preset but "prior", which knows no data; they take their time, and run when named."""
    own = {name for name, method in registry.METHODS.items() if method.kind == "sampler"}
    return tuple(
        Method(name, name if name in own else f"{__name__}:{name}", "learned") for name in PRESETS if name != "prior"
    )


def __getattr__(name: str) -> Recipe:
    """Return the recipe of a preset, so that "module:name" finds it in other processes."""
    if name not in PRESETS:
        raise AttributeError(f"there is no preset {name!r}")
    return recipe_of(name)
