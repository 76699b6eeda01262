"""The memory of the machine, with the limits of a container."""

import os
import resource
from pathlib import Path

import pytest

from invprob import machine
from invprob.io.safe_hdf5 import memory_limit

MIB = 2**20


def contained(tmp_path, monkeypatch, limit: str, used: str) -> None:
    write(tmp_path, limit, used)
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")


def write(folder, limit: str, used: str, names=("memory.max", "memory.current")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, (limit, used), strict=True):
        (folder / name).write_text(text)


def test_a_container_has_what_it_is_given(tmp_path, monkeypatch):
    contained(tmp_path, monkeypatch, f"{64 * MIB}\n", f"{48 * MIB}\n")
    assert machine.total_memory() == 64 * MIB
    assert machine.available_memory() == 16 * MIB
    assert memory_limit() == 32 * MIB
    contained(tmp_path, monkeypatch, f"{64 * MIB}\n", f"{80 * MIB}\n")
    assert machine.available_memory() == 0


def test_a_container_without_a_limit_has_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "nothing")
    whole = machine.total_memory()
    contained(tmp_path, monkeypatch, "max\n", f"{48 * MIB}\n")
    assert machine.total_memory() == whole > machine.available_memory() > 0


@pytest.mark.parametrize("kind", ["0::{}", "4:memory:{}", "4:cpu,memory:{}"])
def test_the_smallest_limit_on_the_way_to_the_root_counts(tmp_path, monkeypatch, kind):
    contained(tmp_path, monkeypatch, "max\n", "0\n")
    old = () if kind.startswith("0") else (("memory.limit_in_bytes", "memory.usage_in_bytes"),)
    root = tmp_path / "memory" if old else tmp_path
    write(root / "user", f"{96 * MIB}\n", f"{90 * MIB}\n", *old)
    write(root / "user/job", f"{64 * MIB}\n", f"{48 * MIB}\n", *old)
    write(root / "other", f"{MIB}\n", f"{MIB}\n", *old)
    (tmp_path / "own").write_text(f"1:name=systemd:/other\n{kind.format('/user/job/not mounted')}\n")
    assert machine.total_memory() == 64 * MIB
    assert machine.available_memory() == 6 * MIB


@pytest.mark.parametrize("own", ["0::/../other\n", "nonsense\n"])
def test_a_group_that_cannot_be_followed_is_the_root(tmp_path, monkeypatch, own):
    contained(tmp_path, monkeypatch, f"{64 * MIB}\n", f"{48 * MIB}\n")
    (tmp_path / "own").write_text(own)
    assert machine.total_memory() == 64 * MIB


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not tell")
def test_processors_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8})
    assert machine.processors() == 3


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_what_this_process_takes():
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak / 16 < machine.resident_memory() <= peak + MIB
    assert machine.address_space() > machine.resident_memory()
