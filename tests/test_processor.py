"""What is asked of the processor has an answer everywhere, and one that cannot be far off."""

import pytest

from invprob import processor


@pytest.fixture(autouse=True)
def _asked_anew():
    processor.second_level_cache.cache_clear()
    yield
    processor.second_level_cache.cache_clear()


def test_a_core_has_a_cache_of_a_likely_size():
    size = processor.second_level_cache()
    assert processor.LEAST <= size <= processor.MOST
    assert processor.pieces(64, 0.25) == size // 4 // 64
    assert processor.pieces(2**40, 0.5) == 1


@pytest.mark.parametrize(
    ("text", "expected"), [("1024K\n", 2**20), ("2M", 2**21), ("nothing", 2**19), ("9999M", 2**22)]
)
def test_what_linux_writes_is_read(text, expected, monkeypatch, tmp_path):
    (tmp_path / "size").write_text(text)
    monkeypatch.setattr(processor, "LINUX", tmp_path)
    monkeypatch.setattr(processor, "_by_sysconf", lambda: 0)
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    assert processor.second_level_cache() == expected


def test_a_system_that_says_nothing_has_the_usual_size(monkeypatch, tmp_path):
    def refuse(name):
        raise ValueError(name)

    monkeypatch.setattr(processor, "LINUX", tmp_path)
    monkeypatch.setattr(processor.os, "sysconf", refuse, raising=False)
    monkeypatch.setattr(processor.platform, "system", lambda: "Windows")
    assert processor.second_level_cache() == processor.USUAL


def test_a_mac_shares_a_cache_among_its_fast_cores(monkeypatch, tmp_path):
    told = {"hw.perflevel0.l2cachesize": 12 * 2**20, "hw.perflevel0.cpusperl2": 6}
    monkeypatch.setattr(processor, "LINUX", tmp_path)
    monkeypatch.setattr(processor, "_by_sysconf", lambda: 0)
    monkeypatch.setattr(processor, "_sysctl", lambda name: told.get(name, 0))
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    assert processor.second_level_cache() == 2 * 2**20
