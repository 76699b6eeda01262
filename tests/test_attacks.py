"""A few trials of each campaign of `faults`: nothing ends in a signal, a hang, a traceback or an internal error."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import __main__ as program
from faults import attacks, flat, geometry, mutants, numbers, outputs, rows, signals, table, together
from faults.program import Found, Outcome, run
from invprob.errors import OutputError
from invprob.io import ResultWriter


@pytest.mark.parametrize(
    ("campaign", "trials", "most"),
    [(attacks, 0, 25), (geometry, 12, 24), (numbers, 24, 16)],
    ids=["attacks", "geometry", "numbers"],
)
def test_nothing_bad_is_found(tmp_path, campaign, trials, most):
    planned = list(campaign.planned(tmp_path, trials, seed=0))
    stride = len(planned) // most
    first = int(np.random.default_rng(0).integers(stride))
    found = [trial() for trial in planned[first::stride]]
    assert [trial for trial in found if trial.bad] == []
    assert len(found) >= most


@pytest.mark.parametrize(
    ("campaign", "trials", "seed", "least"),
    # the moments of the signals are lines: while torch is loading, one may abort the process (docs/reliability.md)
    [(mutants, 3, 0, 80), (outputs, 6, 0, 14), (signals, 4, 15, 5), (together, 3, 0, 4)],
    ids=["mutants", "outputs", "signals", "together"],
)
def test_nothing_bad_is_found_in_few_trials_of_all(tmp_path, monkeypatch, campaign, trials, seed, least):
    monkeypatch.setattr(signals, "_ROWS", 48)
    found = list(campaign.campaign(tmp_path, trials, seed))
    assert [trial for trial in found if trial.bad] == []
    assert len(found) >= least


def test_a_crash_is_noticed(tmp_path, monkeypatch):
    import invprob.cli.main

    def crash(_):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(invprob.cli.main, "main", crash)
    assert run([], tmp_path).code == -9


@pytest.mark.parametrize(("many", "word", "bad"), [(201, "flat", None), (210, "grows", "1.05 times the memory")])
def test_what_grows_is_not_called_flat(tmp_path, monkeypatch, many, word, bad):
    peaks = iter([200 * 2**20, many * 2**20] * len(flat._RUNS))
    monkeypatch.setattr(flat, "stack", lambda *_, **__: None)
    monkeypatch.setattr(flat, "run", lambda *_, **__: Outcome(0, "", "", 1.0, next(peaks)))
    assert {(trial.outcome, trial.bad) for trial in flat.campaign(tmp_path, 1, 0)} == {(word, bad)}


def test_rows_that_were_told_of_are_missed(tmp_path):
    words = "rows      80, from 0 to 79, 16 at a time\nprogress  rows 0 to 15: a\nprogress  rows 16 to 31: a\n"
    assert rows.stored(words) == range(16)
    output = tmp_path / "out.h5"
    with pytest.raises(OutputError, match="1 of 3"), ResultWriter(output, (3, 4, 4), torch.float32) as writer:
        writer.write(0, torch.ones(2, 4, 4))
    assert rows.lost(output, range(2)) is None
    assert rows.lost(output, range(3)) == "lost the rows [2]"
    assert rows.removed(tmp_path, "out.h5") == output
    assert rows.lost(output, [0]) == "lost the rows [0]"


def test_rows_are_written_when_told_to_and_as_they_come(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    heads = "".join(f"<!-- {name} -->\n\n| a | b |\n|---|---|\n| CT | old |\n\n" for name in ("campaigns", "caps"))
    page.write_text(heads)
    monkeypatch.setattr(table, "PAGE", page)

    def ended(folder, trials, seed):
        yield Found("one", "exit 0", row=("CT", "new"))
        assert ("| CT | new |" in page.read_text()) == writing
        yield Found("two", "exit 0", row=("blur", "new"))
        raise KeyboardInterrupt

    monkeypatch.setitem(program.CAMPAIGNS, "caps", ended)
    for writing in (False, True):
        monkeypatch.setattr(sys, "argv", ["faults", "caps", "--trials", "3", *["--write"] * writing])
        with pytest.raises(KeyboardInterrupt):
            program.main()
        assert (page.read_text() == heads) != writing
    assert "| CT | new |\n| blur | new |\n" in page.read_text()
    assert "| CT | old |\n| `caps` | `--trials 3 --seed 0` | 2 | 0 | 2 exit 0 |\n" in page.read_text()
