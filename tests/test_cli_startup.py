"""The command line must answer at once, so nothing heavy may be imported before a command runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from sealed import edit

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
        ["reconstruct", "README.md", "--set", "nothing=1"],
        ["reconstruct", "README.md", "--method", "pnp", "--set", "max_iter=many"],
        ["benchmark", "--compare", "no-such-file.json"],
        ["benchmark", "--methods", "tvv"],
        ["benchmark", "--problems", "ct-31"],
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


LIGHT = """
import sys
from invprob.cli.main import main
code = main(sys.argv[1:])
print("loaded", [name for name in ("torch", "scipy", "numba", "matplotlib", "skimage") if name in sys.modules], code)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import torch

    from invprob import Scan, reconstruct, save_result, save_scan
    from invprob.operators import ParallelBeam

    folder = tmp_path_factory.mktemp("light")
    A = ParallelBeam((16, 16), torch.arange(8) * 0.4, 24, pixel_size=0.5, detector_size=0.5)
    scan = Scan(A, A(torch.ones(16, 16)), noise=0.1)
    save_scan(folder / "scan.h5", scan)
    save_result(folder / "result.h5", reconstruct(scan, "least-squares", max_iter=3), scan=scan)
    return folder


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("inspect scan.h5", 0, ["parallel-beam (image shape 16 x 16, detectors 24", "8 from 0 to 160.428 degrees",
                                "standard deviation 0.1", "none NaN", "--doubts"]),
        ("inspect result.h5", 0, ["16 x 16 pixels", "verdict"]),
        ("reconstruct scan.h5 --read axsi=3", 2, ["no reader has an option 'axsi'; did you mean axis"]),
        ("reconstruct scan.h5 --read values=numbers", 2, ["neither counts, transmission nor integrals"]),
        ("check scan.h5 --views a", 2, ["--views"]),
        ("import scan.h5 --read boundary=none", 2, ["neither periodic, valid, zero nor reflect"]),
        ("reconstruct scan.h5 --try strenght=1:2:3", 2, ["--try strenght: no setting of the method"]),
        ("reconstruct scan.h5 --method fbp --try strength=1:2:3", 2, ["--try strength"]),
    ],
)  # fmt: skip
def test_an_answer_needs_no_torch(files, line, code, words):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *line.split()],
        capture_output=True, text=True, check=False, cwd=files, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"loaded [] {code}", done.stderr
    for word in words:
        assert word in done.stdout + done.stderr


def test_what_is_read_from_the_source_is_what_is_there():
    from invprob import registry
    from invprob.benchmark import PROBLEMS
    from invprob.cli.signatures import written_problems, written_settings
    from invprob.io.mri_options import UNITS
    from invprob.io.option_table import OPTIONS
    from invprob.io.picture_options import BOUNDARIES
    from invprob.io.readers import known_options
    from invprob.methods import find_recipe, settings_of
    from invprob.operators.image.convolution import BOUNDARIES as OF_BLUR
    from invprob.operators.mri.trajectory import Unit

    assert known_options() == OPTIONS
    assert BOUNDARIES == OF_BLUR
    assert get_args(Unit) == UNITS
    assert written_problems() == [problem.name for problem in PROBLEMS]
    for method in registry.METHODS:
        known, written = settings_of(find_recipe(method)), written_settings(method)
        assert written is not None
        assert list(known) == list(written)
        for name, setting in written.items():
            assert setting.default in (..., known[name]), (method, name)


@pytest.mark.parametrize(
    ("key", "text"), [("config", "[1]"), ("config", "3"), ("lift", "3"), ("lift", "[2]"), ("name", "parallel-beem")]
)
def test_a_geometry_that_makes_no_sense_is_one_line(invprob, files, tmp_path, key, text):
    shutil.copy(files / "scan.h5", tmp_path / "bad.h5")
    edit(tmp_path / "bad.h5", lambda file: file["operator"].attrs.__setitem__(key, text))
    done = invprob("inspect", "bad.h5")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert ("did you mean parallel-beam" if key == "name" else "no geometry that can be understood") in done.err
