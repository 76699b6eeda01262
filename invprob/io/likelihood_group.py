"""The group `likelihood` of a scan file: its name and its arguments; a file without one holds Gaussian noise."""

from __future__ import annotations

import h5py
import torch
from torch import Tensor

from invprob import registry
from invprob.errors import InputError, printable
from invprob.io.attributes import write_array, write_attributes
from invprob.io.safe_hdf5 import dataset, exists, find, read_array, read_text
from invprob.likelihood import LIKELIHOODS, Gaussian, Likelihood

__all__ = ["read_likelihood", "write_likelihood"]

_GROUP = "likelihood"


def write_likelihood(file: h5py.File, likelihood: Likelihood) -> None:
    """Write a likelihood; nothing for Gaussian noise."""
    if isinstance(likelihood, Gaussian):
        return
    group = file.create_group(_GROUP)
    write_attributes(group, {"name": likelihood.name})
    for name, value in likelihood.arguments().items():
        write_array(group, name, torch.as_tensor(value, dtype=torch.float64))


def read_likelihood(file: h5py.File, items: tuple[slice, ...], views: slice) -> Likelihood:
    """Read a likelihood; of its numbers per reading those of the selected `items` and `views`, as of weights.

    InputError for a name that is not known and for arguments that do not fit it.
    """
    if not exists(file, _GROUP):
        return Gaussian()
    group = find(file, _GROUP)
    where, name = printable(file.filename), read_text(group, "name") or ""
    kind = LIKELIHOODS.get(name)
    if kind is None:
        hint = registry.nearest(name, LIKELIHOODS)
        raise InputError(f"{where}: no likelihood is called {printable(name)!r}; {hint}: update invprob")
    whole = dataset(file, "data").ndim
    try:
        return kind(**{key: _read(file, f"{_GROUP}/{key}", whole, items, views) for key in group})
    except TypeError as error:
        raise InputError(f"{where}: the stored likelihood is no {name} ({printable(error)}): save it again") from error


def _read(file: h5py.File, path: str, whole: int, items: tuple[slice, ...], views: slice) -> float | Tensor:
    ndim = dataset(file, path).ndim
    if ndim == 0:
        return float(read_array(file, path, ()))
    return torch.from_numpy(read_array(file, path, (*items, views) if ndim == whole else (views,)))
