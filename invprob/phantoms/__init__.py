"""Phantoms with known truth, and noise models for their measurements."""

from invprob.phantoms.body_images import as_mr, bodies
from invprob.phantoms.camera_shake import shaken_kernel
from invprob.phantoms.detector import detected
from invprob.phantoms.ellipses import Ellipses, random_ellipses, shepp_logan
from invprob.phantoms.ellipsoids import random_ellipsoids
from invprob.phantoms.mixtures import training_images
from invprob.phantoms.noise import add_gaussian_noise, poisson_transmission
from invprob.phantoms.organs import organ
from invprob.phantoms.random import as_generator

__all__ = [
    "Ellipses",
    "add_gaussian_noise",
    "as_generator",
    "as_mr",
    "bodies",
    "detected",
    "organ",
    "poisson_transmission",
    "random_ellipses",
    "random_ellipsoids",
    "shaken_kernel",
    "shepp_logan",
    "training_images",
]
