"""What is in a scan file, without reconstructing anything: the facts behind `invprob inspect`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invprob.errors import InputError
from invprob.files import files_of
from invprob.io.layout import Reader, Stack
from invprob.io.options import Options
from invprob.io.readers import accepted_options, opened, reader_of
from invprob.io.stored import (
    AngleSummary,
    ScanSummary,
    ValueSummary,
    angle_summary,
    level_in_words,
    stored_datasets,
    value_summary,
)
from invprob.likelihood import Gaussian
from invprob.scan import Scan

__all__ = ["ScanSummary", "noise_in_words", "scan_summary", "stored_values"]


def scan_summary(path: str | os.PathLike[str], **options: Any) -> ScanSummary:
    """Describe a scan file, read with the options of `load_scan`; of a large one every n-th view is looked at.

    What keeps the file from being loaded is a hint, not an error; InputError only for a file that is no scan, or an
    option that does not go with its layout.
    """
    path = Path(path)
    reader = reader_of(path)
    accepted = accepted_options(reader, options)
    datasets, values = stored_datasets(path, reader.measurement)
    stack, hints = _look(path, reader, accepted)
    scan = stack.sample if stack else None
    return ScanSummary(
        path=str(path),
        layout=reader.layout,
        size=sum(file.stat().st_size for file in files_of(path)),
        datasets=datasets,
        values=_of_scan(scan) if values is None and scan else values,
        rows=len(stack) if stack else None,
        geometry=repr(scan.operator) if scan else None,
        found=stack.found if stack else {},
        units=scan.units if scan else None,
        noise=noise_in_words(scan) if scan else None,
        angles=_angle_summary(scan) if scan else None,
        hints=tuple(hints),
    )


def noise_in_words(scan: Scan) -> str:
    """Return what is known of the noise: its level, or the likelihood that brings it along."""
    likelihood = scan.likelihood
    if likelihood.counted:
        return f"that of counts: {likelihood.in_words()}"
    noise = None if scan.noise is None else torch.as_tensor(scan.noise).numpy(force=True)
    level = level_in_words(noise, scan.provenance.get("noise", ""))
    return level if isinstance(likelihood, Gaussian) else f"{level}; likelihood {likelihood.in_words()}"


def stored_values(stack: Stack) -> ValueSummary:
    """Return the range of the values in an opened file, before any correction, as far as they are stored as such."""
    measurement = None if stack.reader is None else stack.reader.measurement
    return stored_datasets(stack.path, measurement)[1] or _of_scan(stack.sample)


def _look(path: Path, reader: Reader, accepted: Options) -> tuple[Stack | None, list[str]]:
    """Return the opened file, None if not even a row of it can be read, and what is wrong or doubtful about it."""
    try:
        stack = opened(path, reader, accepted)
        return stack, [*([stack.obstacle] if stack.obstacle else []), *stack.doubts()]
    except InputError as error:
        return None, [str(error)]


def _of_scan(scan: Scan) -> ValueSummary:
    return value_summary(scan.data.numpy(), scan.data.numel())


def _angle_summary(scan: Scan) -> AngleSummary | None:
    angles = getattr(scan.operator, "angles", None)
    if not isinstance(angles, np.ndarray):
        return None
    return angle_summary(angles)
