"""A few trials of each campaign of `faults`: nothing ends in a signal, a hang, a traceback or an internal error."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import __main__ as program
from faults import attacks, geometry, mutants, numbers, outputs, table
from faults.program import Found, run


@pytest.mark.parametrize(
    ("campaign", "trials", "most"),
    [(attacks, 1, 25), (mutants, 1, 26), (outputs, 2, 12), (geometry, 2, 24), (numbers, 1, 6)],
    ids=["attacks", "mutants", "outputs", "geometry", "numbers"],
)
def test_nothing_bad_is_found(tmp_path, campaign, trials, most):
    tried = []
    for trial in campaign.campaign(tmp_path, trials, seed=0):
        tried.append(trial)
        if len(tried) == most:
            break
    assert [trial for trial in tried if trial.bad] == []
    assert len(tried) > most / 2


def test_a_crash_is_noticed(tmp_path, monkeypatch):
    import invprob.cli.main

    def crash(_):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(invprob.cli.main, "main", crash)
    assert run([], tmp_path).code == -9


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
