"""Phantoms with known truth, and noise models for their measurements."""

from invprob.phantoms.body_images import as_mr, bodies
from invprob.phantoms.camera_shake import shaken_kernel
from invprob.phantoms.coil_maps import TrigonometricMaps, birdcage, smooth_phase
from invprob.phantoms.detector import detected
from invprob.phantoms.ellipses import Ellipses, random_ellipses, shepp_logan
from invprob.phantoms.ellipsoids import random_ellipsoids
from invprob.phantoms.mixtures import training_images
from invprob.phantoms.noise import add_gaussian_noise, poisson_transmission
from invprob.phantoms.organs import organ
from invprob.phantoms.random import as_generator
from invprob.phantoms.sampling import (
    equispaced_lines,
    poisson_disc,
    radial,
    radial_volume,
    random_lines,
    spiral,
)
from invprob.phantoms.spectra import cartesian_positions
from invprob.phantoms.targets import radar_target, radar_targets, target_hash, target_magnitude
from invprob.phantoms.tissues import Tissues, vials

__all__ = [
    "Ellipses",
    "Tissues",
    "TrigonometricMaps",
    "add_gaussian_noise",
    "as_generator",
    "as_mr",
    "birdcage",
    "bodies",
    "cartesian_positions",
    "detected",
    "equispaced_lines",
    "organ",
    "poisson_disc",
    "poisson_transmission",
    "radar_target",
    "radar_targets",
    "radial",
    "radial_volume",
    "random_ellipses",
    "random_ellipsoids",
    "random_lines",
    "shaken_kernel",
    "shepp_logan",
    "smooth_phase",
    "spiral",
    "target_hash",
    "target_magnitude",
    "training_images",
    "vials",
]
