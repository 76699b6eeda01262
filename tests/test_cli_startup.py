"""The command line must answer at once, so nothing heavy may be imported before a command runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "scipy", "numba", "h5py", "matplotlib", "jinja2", "skimage", "tifffile", "PIL")

SCRIPT = f"""
import sys
from invprob.cli.main import main
code = main(sys.argv[1:])
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"loaded {{loaded}}, code {{code}}" if loaded else 0)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["reconstruct", "--help"],
        ["train", "denoiser", "--help"],
        ["reconstrukt"],
        ["simulate", "a", "--size", "x"],
        ["inspect", "no-such-file.h5"],
        ["inspect", "--views"],
        ["reconstruct", "README.md", "--method", "tvv"],
        ["reconstruct", "README.md", "--method", "tv,os:getcwd"],
        ["reconstruct", "README.md", "--set", "nothing"],
        ["reconstruct", "README.md", "--method", "tv,pnp", "-o", "x.h5"],
        ["benchmark", "--compare", "no-such-file.json"],
    ],
)
def test_an_answer_needs_no_heavy_library(arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


COMPLETION = f"""
import atexit, sys
from invprob.cli.main import main
atexit.register(lambda: print("loaded", [name for name in {HEAVY!r} if name in sys.modules]))
main([])
"""


@pytest.mark.parametrize(
    ("typed", "found"), [("--method t", "tikhonov"), ("--meth", "--method"), ("--method tv,pn", "tv,pnp")]
)
def test_a_shell_completes_options_and_methods_without_a_heavy_library(typed, found):
    words = f"invprob reconstruct {typed}"
    asked = {"_INVPROB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETION],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | asked,
        cwd=ROOT,
    )
    *names, loaded = done.stdout.splitlines()
    assert found in names
    assert loaded == "loaded []"


def test_importing_the_package_costs_nothing():
    script = f"import sys, invprob; sys.exit(str([n for n in {HEAVY!r} if n in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
