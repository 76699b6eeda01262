"""What a tomographic scan leaves out, for scripts that know it by this name of version 0.1; see `Scan.doubts`."""

from invprob.operators.ct.coverage import coverage_doubts, field_of_view

__all__ = ["coverage_doubts", "field_of_view"]
