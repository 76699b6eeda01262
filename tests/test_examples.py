"""Every example runs as a user runs it; each ends in an assert on quality."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.stem)
def test_example(script):
    run = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_are_examples():
    assert len(EXAMPLES) >= 3
