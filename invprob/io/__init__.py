"""Scans and results on disk: readers, the project's own files, exports.

The names below are loaded on first use, so that a file of ours is described without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invprob.io.data_exchange import find_axis as find_axis
    from invprob.io.export import save_npy as save_npy
    from invprob.io.export import save_tiff as save_tiff
    from invprob.io.invprob_file import save_scan as save_scan
    from invprob.io.layout import Probe as Probe
    from invprob.io.layout import Reader as Reader
    from invprob.io.layout import Stack as Stack
    from invprob.io.options import Option as Option
    from invprob.io.readers import READERS as READERS
    from invprob.io.readers import load_scan as load_scan
    from invprob.io.readers import open_stack as open_stack
    from invprob.io.result_file import load_result as load_result
    from invprob.io.result_file import run_attributes as run_attributes
    from invprob.io.result_file import save_result as save_result
    from invprob.io.result_writer import ResultWriter as ResultWriter
    from invprob.io.rotation_axis import RotationAxis as RotationAxis
    from invprob.io.rotation_axis import find_rotation_axis as find_rotation_axis
    from invprob.io.safe_hdf5 import open_hdf5 as open_hdf5
    from invprob.io.safe_hdf5 import read_array as read_array
    from invprob.io.summary import ScanSummary as ScanSummary
    from invprob.io.summary import scan_summary as scan_summary

_HOME = {
    "Option": "options",
    "Probe": "layout",
    "READERS": "readers",
    "Reader": "layout",
    "ResultWriter": "result_writer",
    "RotationAxis": "rotation_axis",
    "ScanSummary": "summary",
    "Stack": "layout",
    "find_axis": "data_exchange",
    "find_rotation_axis": "rotation_axis",
    "load_result": "result_file",
    "load_scan": "readers",
    "open_hdf5": "safe_hdf5",
    "open_stack": "readers",
    "read_array": "safe_hdf5",
    "run_attributes": "result_file",
    "save_npy": "export",
    "save_result": "result_file",
    "save_scan": "invprob_file",
    "save_tiff": "export",
    "scan_summary": "summary",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"invprob.io.{_HOME[name]}"), name)
    raise AttributeError(f"module 'invprob.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOME)
