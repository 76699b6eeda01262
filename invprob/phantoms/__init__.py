"""Phantoms with known truth, and noise models for their measurements."""

from invprob.phantoms.camera_shake import shaken_kernel
from invprob.phantoms.detector import detected
from invprob.phantoms.ellipses import Ellipses, random_ellipses, shepp_logan
from invprob.phantoms.ellipsoids import random_ellipsoids
from invprob.phantoms.mixtures import training_images
from invprob.phantoms.noise import add_gaussian_noise, poisson_transmission
from invprob.phantoms.organs import organ
from invprob.phantoms.random import as_generator
from invprob.phantoms.targets import radar_target, radar_targets, target_hash, target_magnitude

__all__ = [
    "Ellipses",
    "add_gaussian_noise",
    "as_generator",
    "detected",
    "organ",
    "poisson_transmission",
    "radar_target",
    "radar_targets",
    "random_ellipses",
    "random_ellipsoids",
    "shaken_kernel",
    "shepp_logan",
    "target_hash",
    "target_magnitude",
    "training_images",
]
