"""Plain tables from the short names of files and command lines to `"module:Class"`; the whole plug-in system."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

OPERATORS: Mapping[str, str] = {
    "identity": "invprob.transforms.identity:Identity",
    "gradient": "invprob.transforms.gradient:Gradient",
    "wavelet": "invprob.transforms.wavelet:Wavelet",
    "parallel-beam": "invprob.operators.ct.parallel_beam:ParallelBeam",
    "fan-beam": "invprob.operators.ct.fan_beam:FanBeam",
    "cone-beam": "invprob.operators.ct.cone_beam:ConeBeam",
    "blur": "invprob.operators.image.blur:Blur",
    "mask": "invprob.operators.image.mask:Mask",
    "downsample": "invprob.operators.image.downsample:Downsample",
    "random-projection": "invprob.operators.image.random_projection:RandomProjection",
}

METHODS: Mapping[str, str] = {
    "direct": "invprob.methods:direct",
    "fbp": "invprob.methods:fbp",
    "least-squares": "invprob.methods:least_squares",
    "tikhonov": "invprob.methods:tikhonov",
    "tv": "invprob.methods:tv",
    "wiener": "invprob.methods:wiener",
    "wavelet": "invprob.methods:wavelet",
    "pnp": "invprob.methods:pnp",
    "red": "invprob.methods:red",
    "gs-pnp": "invprob.methods:gs_pnp",
    "lpn": "invprob.methods:lpn",
    "sobolev-tv": "invprob.methods:sobolev_tv",
    "gauss-newton": "invprob.methods:gauss_newton",
}


def load(table: Mapping[str, str], name: str) -> Any:
    """Return what `name` stands for in `table`; ValueError with the nearest names if it is not there."""
    if name not in table:
        raise ValueError(f"unknown name {name!r}; {nearest(name, table)}")
    return resolve(table[name])


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
