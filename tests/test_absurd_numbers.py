"""No number in a setting of an operator or a method ends in a traceback or in "internal error": hypothesis draws them.

A crash of the process would end the tests; `python -m faults numbers` and `geometry` try more, in processes of their
own.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.scans import blur, stack
from invprob.methods.entry import find_recipe, settings_of
from invprob.operators import Blur, ConeBeam, FanBeam, NearFieldMIMO, ParallelBeam

ANGLES = np.arange(6) * np.pi / 3
OPERATORS = {  # a constructor of the numbers that are drawn, by name with their ordinary values
    "parallel": (
        lambda **numbers: ParallelBeam((6, 6), ANGLES, 8, **numbers),
        {"pixel_size": 1.0, "detector_size": 1.0, "axis_offset": 0.0},
    ),
    "fan": (
        lambda **numbers: FanBeam((6, 6), ANGLES, 8, **numbers),
        {
            "pixel_size": 1.0,
            "detector_size": 1.0,
            "axis_offset": 0.0,
            "source_distance": 20.0,
            "detector_distance": 10.0,
        },
    ),
    "cone": (
        lambda **numbers: ConeBeam((4, 6, 6), ANGLES, (6, 8), **numbers),
        {"voxel_size": 1.0, "detector_size": 1.0, "source_distance": 20.0, "detector_distance": 10.0},
    ),
    "blur": (lambda tap: Blur((6, 6), torch.tensor([[1.0, tap, 1.0]])), {"tap": 1.0}),
    "radar": (
        lambda place, frequency: NearFieldMIMO(
            ([0.0, 0.01], [0.0, 0.01], [place]), [[0.1, 0.0, 0.0]], [[-0.1, 0.0, 0.0]], [frequency, 9e9]
        ),
        {"place": 0.5, "frequency": 8e9},
    ),
}
METHODS = (
    "least-squares",
    "tikhonov",
    "tv",
    "wavelet",
    "sobolev-tv",
    "limited-angle",
    "gauss-newton",
    "low-rank-sparse",
)
COUNTS = {"max_iter", "nonnegative", "wavelet", "beam_hardening"}  # no numbers, or those of work
CHOICES = [(method, name) for method in METHODS for name in settings_of(find_recipe(method)) if name not in COUNTS]
few = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@few
@given(st.data())
def test_an_operator_is_refused_in_words_or_can_be_applied(data):
    make, ordinary = OPERATORS[data.draw(st.sampled_from(sorted(OPERATORS)))]
    absurd = data.draw(st.sampled_from(sorted(ordinary)))
    numbers = ordinary | {absurd: data.draw(st.floats())}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            A = make(**numbers)
        except ValueError:
            return
        x = torch.ones(A.domain_shape, dtype=A.domain_dtype)
        y = A(x)
        assert y.shape == A.range_shape
        assert A.adjoint(y).shape == A.domain_shape


@settings(few, max_examples=25)
@given(st.sampled_from(CHOICES), st.floats(), st.booleans())
def test_a_setting_is_refused_in_words_or_an_image_comes(tmp_path, invprob, choice, value, views):
    scan = tmp_path / ("views.h5" if views else "picture.h5")
    if not scan.exists():
        stack(scan, rows=1) if views else blur(scan)
    method, name = choice
    few_steps = ["--set", "max_iter=2"] if "max_iter" in settings_of(find_recipe(method)) else []
    arguments = ["--method", method, "-o", str(tmp_path / "out.h5"), "--overwrite", *few_steps]
    done = invprob("reconstruct", str(scan), *arguments, "--set", f"{name}={value!r}")
    assert done.code in (0, 2, 3, 4, 5), (choice, value, done.err)
    assert "internal error" not in done.err
    assert "Traceback" not in done.err
