"""A few trials of each campaign of `faults`: nothing ends in a signal, a hang, a traceback or an internal error."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import attacks, geometry, mutants, numbers, outputs
from faults.program import run


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
