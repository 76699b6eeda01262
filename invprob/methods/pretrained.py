"""Which denoiser knows the images of a problem: a pretrained one, or a function that is given."""

from __future__ import annotations

from typing import cast

from invprob.priors import load_pretrained
from invprob.priors.denoiser_functions import DenoiserFunction
from invprob.priors.networks import PretrainedDenoiser
from invprob.problem import Problem


def given_function(setting: str, chosen: object) -> DenoiserFunction:
    """Return the function D(x, sigma) that a setting holds in place of a name; ValueError if it is none."""
    if not callable(chosen):
        raise ValueError(f"{setting} must be the name of weights or a function D(x, sigma), got {chosen!r}")
    return cast("DenoiserFunction", chosen)


def pretrained_denoiser(name: str, problem: Problem) -> PretrainedDenoiser:
    """Return the denoiser of a name; "auto" is denoiser, and denoiser-colour for images in colour.

    ValueError for weights that are no denoiser, or one of other images.
    """
    if name == "auto":
        name = "denoiser-colour" if problem.colours > 1 else "denoiser"
    found = load_pretrained(name)
    if not isinstance(found, PretrainedDenoiser):
        raise ValueError(
            f"{name!r} is no denoiser of images: use the method lpn, or denoiser, or a function D(x, sigma)"
        )
    if found.colours not in (1, problem.colours):
        raise ValueError(
            f"{name!r} denoises images with {found.colours} channels, under A.lift(({found.colours},)), "
            f"not those of {problem.A.domain_shape}"
        )
    return found
