"""The memory of the machine, with the limits of a container."""

import resource
from pathlib import Path

import pytest

from invprob import machine
from invprob.io.safe_hdf5 import memory_limit

MIB = 2**20


def contained(tmp_path, monkeypatch, limit: str, used: str) -> None:
    (tmp_path / "limit").write_text(limit)
    (tmp_path / "used").write_text(used)
    monkeypatch.setattr(machine, "_CGROUPS", [(str(tmp_path / "limit"), str(tmp_path / "used"))])


def test_a_container_has_what_it_is_given(tmp_path, monkeypatch):
    contained(tmp_path, monkeypatch, f"{64 * MIB}\n", f"{48 * MIB}\n")
    assert machine.total_memory() == 64 * MIB
    assert machine.available_memory() == 16 * MIB
    assert memory_limit() == 32 * MIB
    contained(tmp_path, monkeypatch, f"{64 * MIB}\n", f"{80 * MIB}\n")
    assert machine.available_memory() == 0


def test_a_container_without_a_limit_has_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CGROUPS", [])
    whole = machine.total_memory()
    contained(tmp_path, monkeypatch, "max\n", f"{48 * MIB}\n")
    assert machine.total_memory() == whole > machine.available_memory() > 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_what_this_process_takes():
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak / 16 < machine.resident_memory() <= peak + MIB
    assert machine.address_space() > machine.resident_memory()
