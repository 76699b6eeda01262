"""Plain tables from the short names of files and command lines to `"module:Class"`; the whole plug-in system."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

OPERATORS: Mapping[str, str] = {
    "identity": "invprob.transforms.identity:Identity",
    "gradient": "invprob.transforms.gradient:Gradient",
    "wavelet": "invprob.transforms.wavelet:Wavelet",
    "component": "invprob.transforms.components:Component",
    "total": "invprob.transforms.components:Total",
    "frequencies": "invprob.transforms.frequencies:Frequencies",
    "parallel-beam": "invprob.operators.ct.parallel_beam:ParallelBeam",
    "fan-beam": "invprob.operators.ct.fan_beam:FanBeam",
    "cone-beam": "invprob.operators.ct.cone_beam:ConeBeam",
    "blur": "invprob.operators.image.blur:Blur",
    "mask": "invprob.operators.image.mask:Mask",
    "downsample": "invprob.operators.image.downsample:Downsample",
    "greyscale": "invprob.operators.image.greyscale:Greyscale",
    "random-projection": "invprob.operators.image.random_projection:RandomProjection",
    "cartesian-mri": "invprob.operators.mri.cartesian:CartesianMRI",
    "non-cartesian-mri": "invprob.operators.mri.non_cartesian:NonCartesianMRI",
    "near-field-mimo": "invprob.operators.radar.near_field:NearFieldMIMO",
    "planar-sar": "invprob.operators.radar.planar_sar:PlanarSAR",
}


@dataclass(frozen=True)
class Method:
    """A recipe as `"module:function"`, its kind, and what it does in a few words.

    Kinds: "direct", without iterations; "classical"; "learned", whose prior was trained on images; "sampler", which
    draws from the posterior under such a prior.
    """

    target: str
    kind: Literal["direct", "classical", "learned", "sampler"]
    about: str


METHODS: Mapping[str, Method] = {
    "direct": Method("invprob.methods:direct", "direct", "the direct reconstruction of the field"),
    "fbp": Method("invprob.methods:fbp", "direct", "filtered back-projection"),
    "least-squares": Method("invprob.methods:least_squares", "classical", "conjugate gradients stopped early"),
    "tikhonov": Method("invprob.methods:tikhonov", "classical", "least squares with small slopes"),
    "tv": Method("invprob.methods:tv", "classical", "total variation"),
    "limited-angle": Method(
        "invprob.methods:limited_angle", "classical", "CT of limited arcs: outline, one material, hardened beams"
    ),
    "wiener": Method("invprob.methods:wiener", "direct", "Wiener's filter for blurred images"),
    "wavelet": Method("invprob.methods:wavelet", "classical", "few wavelet coefficients"),
    "zero-filled": Method("invprob.methods:zero_filled", "direct", "MRI with zeros for what is missing, or gridded"),
    "cg-sense": Method("invprob.methods:cg_sense", "classical", "MRI by conjugate gradients stopped early"),
    "l1-wavelet": Method("invprob.methods:l1_wavelet", "classical", "MRI with few wavelet coefficients"),
    "t2-map": Method("invprob.methods:t2_map", "classical", "MRI: T2 in ms from echoes, by the model of the signal"),
    "t1-map": Method("invprob.methods:t1_map", "classical", "MRI: T1 in ms from inversion recovery, by its model"),
    "low-rank-sparse": Method(
        "invprob.methods:low_rank_sparse", "classical", "frames of a background and of what changes"
    ),
    "pnp": Method("invprob.methods:pnp", "learned", "plug-and-play with a denoiser"),
    "red": Method("invprob.methods:red", "learned", "regularisation by denoising"),
    "gs-pnp": Method("invprob.methods:gs_pnp", "learned", "plug-and-play with gradient steps"),
    "lpn": Method("invprob.methods:lpn", "learned", "a learned proximal network"),
    "sobolev-tv": Method("invprob.methods:sobolev_tv", "classical", "total variation under coloured noise"),
    "back-projection": Method("invprob.methods:back_projection", "direct", "radar: the sum of echoes in phase"),
    "matched-filter": Method("invprob.methods:matched_filter", "direct", "radar: the adjoint, with its amplitudes"),
    "kirchhoff": Method("invprob.methods:kirchhoff", "direct", "radar: Kirchhoff's migration of planar arrays"),
    "range-migration": Method("invprob.methods:range_migration", "direct", "radar: Stolt's migration of planar scans"),
    "l1-magnitude": Method("invprob.methods:l1_magnitude", "classical", "radar: few bright voxels, data to the noise"),
    "tv-magnitude": Method("invprob.methods:tv_magnitude", "classical", "radar: total variation of magnitudes"),
    "wavelet-magnitude": Method(
        "invprob.methods:wavelet_magnitude", "classical", "radar: sparse wavelets of magnitudes"
    ),
    "pnp-magnitude": Method("invprob.methods:pnp_magnitude", "learned", "radar: plug-and-play on magnitudes"),
    "mcg": Method("invprob.methods:mcg", "sampler", "manifold constrained gradients"),
    "dps": Method("invprob.methods:dps", "sampler", "diffusion posterior sampling"),
    "diffpir": Method("invprob.methods:diffpir", "sampler", "plug-and-play along a diffusion"),
    "dds": Method("invprob.methods:dds", "sampler", "decomposed diffusion sampling"),
    "daps": Method("invprob.methods:daps", "sampler", "decoupled annealing"),
    "flower": Method("invprob.methods:flower", "sampler", "draws from Gaussian posteriors along a diffusion"),
    "gauss-newton": Method(
        "invprob.methods:gauss_newton",
        "classical",
        "least squares of nonlinear operators, from Python",
    ),
}


# what results and scans show of themselves, which stands above them
VIEWS: Mapping[str, str] = {
    "html of a result": "invprob.report.views:html_of_result",
    "html of a scan": "invprob.report.views:html_of_scan",
    "plot of a result": "invprob.report.views:plot_result",
}


def load(table: Mapping[str, str] | Mapping[str, Method], name: str) -> Any:
    """Return what `name` stands for in `table`; ValueError with the nearest names if it is not there."""
    if name not in table:
        raise ValueError(f"unknown name {name!r}; {nearest(name, table)}")
    found = table[name]
    return resolve(found.target if isinstance(found, Method) else found)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the hint an error message gives about a name that is not known."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def resolve(target: str) -> Any:
    """Return the object `"module:name"`, registered or a user's own (in Python, never from a file)."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def name_of(table: Mapping[str, str], cls: type) -> str | None:
    """Return the name under which a class is registered, None if it is not."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, value in table.items() if value == target), None)
