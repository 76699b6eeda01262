"""The certificate in plain words."""

import copy
import math
import pickle

import pytest
import torch

from invprob.certificate import Certificate
from invprob.doubt import Doubt
from invprob.judgement import MISSING, brief, statements, verdict
from invprob.solvers.base import Assumption

GOOD = {
    "adjoint_mismatch": 2e-9,
    "norm": 3.0,
    "norm_bound": 3.1,
    "norm_bound_kind": "Collatz-Wielandt bound",
    "data_residual": 0.02,
    "residual_to_noise": 1.01,
    "fixed_point_residual": 1e-4,
    "stationarity": 1e-3,
    "duality_gap": 5e-3,
    "assumptions": [{"statement": "f is convex", "holds": True, "reason": "L2 is"}],
    "notes": [],
}


def judged(status=("converged",), **changes):
    found = statements(GOOD | changes, status)
    return verdict(found).grade, " ".join(f"{s.grade}: {s.words}" for s in found)


def test_a_good_result_is_called_good():
    grade, text = judged()
    assert grade == "good"
    assert "good: The residual is 1.01 times the noise of the data, as it should be" in text
    assert "within 0.5 % of its minimum" in text
    assert "it meets the one condition of the theorem" in text
    assert "norm is 3, at most 3.1 (Collatz-Wielandt bound)" in text


@pytest.mark.parametrize(
    ("status", "changes", "grade", "words"),
    [
        ("max_iter", {}, "good", "ended above the tolerance, at a residual of 1.0e-04: near"),
        ("max_iter", {"fixed_point_residual": 0.02}, "fair", "largest number of iterations was reached"),
        ("stopped", {}, "fair", "stopped before it converged"),
        ("diverged", {}, "bad", "bad: The iteration grew"),
        ("converged", {"residual_to_noise": 1.5}, "fair", "fair: The residual is 1.50 times the noise"),
        ("converged", {"residual_to_noise": 9.0}, "bad", "bad: The residual is 9.00 times the noise"),
        ("converged", {"residual_to_noise": 0.35}, "fair", "part of the noise went into the image"),
        (
            "converged",
            {"residual_to_noise": 0.1, "fixed_point_residual": None},
            "fair",
            "part of the noise is in the image. Use tv or tikhonov.",
        ),
        ("converged", {"residual_to_noise": None}, "fair", "State the noise level of the data"),
        ("converged", {"residual_to_noise": math.inf}, "fair", "2 % of the data, which are said to be free of noise:"),
        ("converged", {"residual_to_noise": math.inf, "data_residual": 0.002}, "good", "0.2 % of the data, which"),
        ("converged", {"residual_to_noise": math.inf, "data_residual": 0.2}, "bad", "20 % of the data, which"),
        ("converged", {"data_residual": 0.8}, "bad", "The image explains little of the data: 80 % of them are left"),
        ("converged", {"data_residual": 0.999}, "bad", "The image explains little of the data: 100 % of them are left"),
        ("converged", {"residual_correlation": 0.1}, "good", "as it should be"),
        ("converged", {"residual_correlation": 0.5}, "fair", "correlated by 0.50, unlike noise"),
        ("converged", {"residual_correlation": 0.9}, "bad", "correlated by 0.90, unlike noise"),
        (
            "converged",
            {"residual_correlation": 0.9, "data_residual": 0.001},
            "fair",
            "correlated by 0.90, unlike noise",
        ),
        ("converged", {"half_change": 0.2}, "good", "half of the readings changes the image by 20 %: where"),
        ("converged", {"half_change": 0.2, "half_of": "pixels"}, "good", "half of the pixels changes the image"),
        ("converged", {"half_change": 0.2, "half_of": "samples"}, "fair", "half of the samples changes the image"),
        (
            "converged",
            {"half_change": 0.2, "half_of": "views"},
            "fair",
            "half of the views changes the image by 20 %: the data are few",
        ),
        (
            "converged",
            {"half_change": 0.2, "half_of": "views", "fixed_point_residual": None},
            "good",
            "changes the image by 20 %",
        ),
        ("converged", {"half_change": 0.7}, "bad", "changes the image by 70 %: the data are few"),
        ("converged", {"stationarity": 0.05, "duality_gap": 0.05}, "fair", "Raise max_iter or lower tol"),
        ("converged", {"stationarity": 0.5, "duality_gap": 7.0}, "bad", "bad: The conditions of a minimum"),
        ("converged", {"stationarity": 0.001, "duality_gap": 7.0}, "good", "are met to 0.1 %."),
        ("converged", {"stationarity": 1.0, "duality_gap": 0.0}, "bad", "met to 100 %"),
        ("converged", {"stationarity": None, "duality_gap": 0.03}, "fair", "within 3 % of its minimum"),
        ("converged", {"adjoint_mismatch": 0.01}, "fair", "is not the projector's adjoint"),
        ("converged", {"fixed_point_residual": None}, "good", "nothing had to converge"),
        ("converged", {"fixed_point_residual": None, "residual_to_noise": 1.4}, "good", "The residual is 1.40"),
        ("converged", {"fixed_point_residual": None, "residual_to_noise": 2.9}, "fair", "fair: The residual is 2.90"),
        ("converged", {"fixed_point_residual": None, "residual_to_noise": 26.0}, "bad", "bad: The residual is 26.00"),
        ("converged", {"notes": ["sigma is outside the trained range"]}, "good", "known: Sigma is outside"),
    ],
)
def test_what_is_wrong_is_said(status, changes, grade, words):
    found, text = judged((status,), **changes)
    assert found == grade
    assert words in text


@pytest.mark.parametrize(
    ("changes", "grade", "words"),
    [
        (
            {"derivative_error": 3e-5},
            "good",
            "good: The derivative is that of the operator (differences agree to 3e-05)",
        ),
        ({"derivative_error": 3e-5}, "good", "good: The derivative and its adjoint are a true pair (mismatch 2e-09)"),
        (
            {"derivative_error": 0.053},
            "fair",
            "fair: The derivative is not that of the operator (differences disagree by 5.3 %)",
        ),
        ({"derivative_error": math.nan}, "good", "known: Not verified: the derivative of the operator"),
        (
            {"derivative_error": 3e-5, "adjoint_mismatch": 0.01},
            "fair",
            "fair: The derivative is not paired with its true",
        ),
    ],
)
def test_a_nonlinear_operator_has_a_derivative(changes, grade, words):
    found, text = judged(**changes)
    assert found == grade
    assert words in text
    assert "rojector" not in text


def test_a_linear_operator_has_no_derivative():
    for changes in ({}, {"derivative_error": None}):
        _, text = judged(**changes)
        assert "Projector and back-projector are a true pair" in text
        assert "erivative" not in text


def test_assumptions_that_fail_or_are_unknown():
    bad = [{"statement": "the denoiser is a contraction", "holds": False, "reason": "Lipschitz bound 1.3"}]
    grade, text = judged(assumptions=bad)
    assert grade == "good"  # a theorem that does not apply says nothing against this image
    assert "known: No theorem promises convergence: that the denoiser is a contraction fails (Lipschitz" in text
    grade, text = judged(assumptions=[bad[0] | {"holds": None}])
    assert grade == "good"
    assert "known: Not verified: the denoiser is a contraction" in text
    assert "of the theorem." not in text


def test_of_a_stack_the_worst_row_counts():
    rows = ("converged", "converged", "diverged", MISSING)
    grade, text = judged(rows, residual_to_noise=[1.0, 1.02, 8.0, math.nan], data_residual=[0.01] * 3)
    assert grade == "bad"
    assert "2 of 4 rows: The fixed-point residual" in text
    assert "1 of 4 rows: There is no image" in text
    assert "8.00 times the noise of the data, 1.02 times in the typical row" in text


def test_doubts_of_data_weigh_and_the_sentence_on_top_says_what_to_do():
    doubts = [
        Doubt("some angles occur twice", "known"),
        Doubt("the object is truncated"),
        Doubt("the views cover 60 degrees", "bad", "measure the missing views"),
    ]
    found = statements(GOOD | {"doubts": [d.as_dict() for d in doubts]}, ("converged",))
    assert [s.grade for s in found[1:4]] == ["bad", "fair", "known"]
    assert verdict(found).text == (
        "Do not rely on this image: see the one point below. Next: measure the missing views."
    )
    assert judged(doubts=[doubts[1].as_dict()])[0] == "fair"
    assert judged(doubts=[doubts[0].as_dict()])[0] == "good"


def test_a_doubt_is_a_sentence_that_keeps_its_weight():
    doubt = Doubt("the object is truncated", "bad", "measure again")
    assert doubt == "the object is truncated"
    for same in (
        Doubt(doubt),
        copy.deepcopy(doubt),
        pickle.loads(pickle.dumps(doubt)),
        Doubt.from_dict(doubt.as_dict()),
    ):
        assert (same, same.grade, same.remedy) == (doubt, "bad", "measure again")
    assert (Doubt("a sentence").grade, Doubt("a sentence").remedy) == ("fair", "")


def test_nothing_known_is_no_praise():
    assert verdict([]).grade == "known"


def test_without_a_certificate_nothing_is_praised():
    for certificate in (None, {}):
        found = statements(certificate, ("converged",))
        assert [s.text for s in found] == ["Not verified: this result has no certificate, nothing of it was checked."]
        assert verdict(found).grade == "known"
    assert verdict(statements(None, ("converged", "diverged"))).grade == "bad"


def test_a_certificate_comes_back_from_its_plain_form():
    whole = Certificate(
        norm=3.0,
        norm_bound_kind="estimate",
        data_residual=torch.tensor([0.1, 0.2], dtype=torch.float64),
        objective=torch.tensor(5.0, dtype=torch.float64),
        assumptions=(Assumption("f is convex", None, "who knows"),),
        doubts=(Doubt("the object is truncated", "bad", "measure again"),),
        half_change=torch.tensor(0.1, dtype=torch.float64),
        notes=("a note",),
    )
    plain = whole.as_dict()
    back = Certificate.from_dict(plain | {"what a later version says": 1})
    assert back.as_dict() == plain
    assert isinstance(back.data_residual, torch.Tensor)
    assert (back.doubts, back.doubts[0].grade) == (whole.doubts, "bad")
    assert isinstance(back.assumptions[0], Assumption)
    assert Certificate.from_dict({}).as_dict() == Certificate().as_dict()


def test_values_are_brief():
    values = [0.123456, 3, "ramp", [0.5, 0.25], [1.0, 1.0], True]
    assert [brief(v) for v in values] == ["0.1235", "3", "ramp", "0.25 to 0.5 over 2 rows", "1", "True"]
