"""Settings of every test session."""

import warnings

import pytest
import torch

with warnings.catch_warnings():  # torch.func.jvp imports this on first use, and the import warns
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch._decomp.decompositions_for_jvp


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """One thread per worker: pytest-xdist already uses all cores, and numba follows torch."""
    torch.set_num_threads(1)
