"""Signals at moments that a test can choose; random ones are a campaign's (`faults.signals`)."""

import os
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest

from invprob.cli.signals import Signals


def test_while_torch_is_loading_the_process_ends_at_once(monkeypatch):
    """An exception in the middle of that import would abort the process."""

    def leave(code):
        raise SystemExit(code)

    half = ModuleType("torch")
    half.__spec__ = SimpleNamespace(_initializing=True)
    monkeypatch.setitem(sys.modules, "torch", half)
    monkeypatch.setattr(os, "_exit", leave)
    with Signals(), pytest.raises(SystemExit) as ended:
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
