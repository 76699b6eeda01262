"""Every example runs as a user runs it; each ends in an assert on quality."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.stem)
def test_example(script):
    few = os.environ | {"TRAIN_STEPS": "100"}  # of train_small.py, which takes a minute else
    run = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=600, env=few)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_has_a_title_for_the_gallery(script):
    title, line = script.read_text(encoding="utf-8").removeprefix('"""').split("\n")[:2]
    assert line == "=" * len(title)


def test_there_are_examples():
    assert len(EXAMPLES) >= 3
