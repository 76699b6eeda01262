"""Image reconstruction from indirect measurements, with the numbers that say whether to trust the result.

The names below are loaded on first use, so that `import invprob` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invprob import metrics as metrics
    from invprob import phantoms as phantoms
    from invprob import testing as testing
    from invprob.io import load_result as load_result
    from invprob.io import load_scan as load_scan
    from invprob.io import save_result as save_result
    from invprob.io import save_scan as save_scan
    from invprob.loop import iterate as iterate
    from invprob.loop import solve as solve
    from invprob.methods.entry import reconstruct as reconstruct
    from invprob.report import save_report as save_report
    from invprob.report import show as show
    from invprob.report import watch as watch
    from invprob.result import Result as Result
    from invprob.scan import Scan as Scan

    __version__: str

__all__ = [
    "Result",
    "Scan",
    "__version__",
    "iterate",
    "load_result",
    "load_scan",
    "metrics",
    "phantoms",
    "reconstruct",
    "save_report",
    "save_result",
    "save_scan",
    "show",
    "solve",
    "testing",
    "watch",
]

_HOME = {
    "Result": "invprob.result",
    "Scan": "invprob.scan",
    "iterate": "invprob.loop",
    "load_result": "invprob.io",
    "load_scan": "invprob.io",
    "reconstruct": "invprob.methods",
    "save_report": "invprob.report",
    "save_result": "invprob.io",
    "save_scan": "invprob.io",
    "show": "invprob.report",
    "solve": "invprob.loop",
    "watch": "invprob.report",
}
_ROOMS = (
    "benchmark",
    "fidelities",
    "io",
    "linalg",
    "linop",
    "methods",
    "operators",
    "priors",
    "registry",
    "report",
    "sampling",
    "solvers",
    "stack",
    "training",
    "transforms",
    "tuning",
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("invprob")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in __all__:
        return importlib.import_module(f"invprob.{name}")
    if name in _ROOMS:
        return importlib.import_module(f"invprob.{name}")
    raise AttributeError(f"module 'invprob' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
