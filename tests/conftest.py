"""Settings of every test session."""

import warnings
from types import SimpleNamespace

import pytest
import torch

with warnings.catch_warnings():  # torch.func.jvp imports this on first use, and the import warns
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch._decomp.decompositions_for_jvp


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """One thread per worker: pytest-xdist already uses all cores, and numba follows torch."""
    torch.set_num_threads(1)


@pytest.fixture
def invprob(tmp_path, monkeypatch, capsys):
    """A function that runs a command in an empty directory and returns exit code, output and errors."""
    from invprob.cli.main import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return call
