"""The weights and filters of filtered back-projection, for scripts that know them by this name of version 0.1."""

from invprob.operators.ct.fbp import WINDOWS, ViewMap, filtered_backprojection, line_weights, ramp_filter

__all__ = ["WINDOWS", "ViewMap", "filtered_backprojection", "line_weights", "ramp_filter"]
