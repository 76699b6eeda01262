"""What makes an image doubtful is found: contradicting views, structured residuals, few readings, wrong adjoints."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from laws import randn

from invprob import Scan, load_result, reconstruct, save_report, save_result
from invprob.certificate import adjoint_mismatch
from invprob.fidelities import L2
from invprob.judgement import statements, verdict
from invprob.likelihood import Poisson
from invprob.linop import LinearOperator
from invprob.linop.pairing import require_adjoint
from invprob.loop import solve
from invprob.methods import followed, progress
from invprob.methods.examination import noise_in_data, residual_correlation, shared_by_blocks
from invprob.methods.second_look import halved, is_sparse, local_change
from invprob.operators import Blur, ConeBeam, FanBeam, Identity, Mask, ParallelBeam, RandomProjection
from invprob.operators.ct.moments import contradiction, parallel_views
from invprob.phantoms.ellipses import Ellipses
from invprob.problem import Problem
from invprob.solvers import ADMM

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

DOUBLE = torch.float64
OBJECT = Ellipses(
    torch.tensor([1.0, 0.5]),
    torch.tensor([[3.0, 4.0], [-5.0, 1.0]]),
    torch.tensor([[7.0, 4.0], [3.0, 2.0]]),
    torch.zeros(2),
)


def picture(size):
    """The object on a grid of its own."""
    return OBJECT.scaled(size / 32).image((size, size)).float()


def turn(degrees, count=60):
    return np.deg2rad(degrees) * np.arange(count) / count


def parallel(angles, bins=48, **more):
    return ParallelBeam((32, 32), angles, bins, **more)


def fan(angles, bins=60, **more):
    return FanBeam((32, 32), angles, bins, source_distance=100.0, detector_distance=50.0, detector_size=1.5, **more)


def grade(result):
    return verdict(statements(result.certificate.as_dict(), result.item_status)).grade


# ---- an adjoint that is none


WRONG = {
    "sign": lambda A, y: -A.adjoint(y),
    "factor": lambda A, y: 2 * A.adjoint(y),
    "flipped image": lambda A, y: A.adjoint(y).flip(-1),
    "flipped data": lambda A, y: A.adjoint(y.flip(-1)),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_adjoint_is_seen_by_its_own_size_and_refused_by_name(wrong):
    A = parallel(turn(180, 20))
    B = LinearOperator.from_functions(A, lambda y: wrong(A, y), A.domain_shape, A.range_shape)
    assert adjoint_mismatch(A) < 1e-4
    assert adjoint_mismatch(B) > 0.3
    require_adjoint(A)
    data = A(picture(32))
    with pytest.raises(ValueError, match=r"the adjoint of FromFunctions.* is not that of its forward map"):
        reconstruct(Scan(B, data), "tv")
    with pytest.raises(ValueError, match="is not that of its forward map"):
        solve(ADMM(), L2(B, data))


def test_a_pair_that_is_said_to_be_near_is_not_refused():
    A = Identity((4, 4))
    B = LinearOperator.from_functions(A, lambda y: 2 * y, A.domain_shape, A.range_shape)
    B.matched = False
    require_adjoint(B)


def test_the_adjoint_is_tried_once():
    calls = []

    def forward(x):
        calls.append(x.shape)
        return 3 * x

    A = LinearOperator.from_functions(forward, lambda y: 3 * y, (8, 8), (8, 8))
    require_adjoint(A)
    before = len(calls)
    require_adjoint(A)
    assert adjoint_mismatch(A) < 1e-4
    assert len(calls) == before > 0


# ---- views that contradict one another


def all_around(**more):
    return fan(turn(360, 90), **more)


def half_a_turn(**more):
    return parallel(turn(180), **more)


@pytest.mark.parametrize("make", [half_a_turn, all_around])
def test_views_of_one_object_agree_and_those_of_a_wrong_axis_do_not(make):
    A = make()
    y = OBJECT.line_integrals(*A.rays()).numpy()
    assert contradiction(A, y) < 0.01
    found = [contradiction(make(axis_offset=offset), y) for offset in (1.0, 2.0, 4.0)]
    assert 1 / A.detectors < found[1] < found[2]
    doubts = make(axis_offset=4.0).doubts(torch.from_numpy(y))
    assert any("contradict one another" in d for d in doubts)
    assert [d.grade for d in doubts if "contradict" in d] == ["bad"]
    assert not any("contradict" in d for d in A.doubts(torch.from_numpy(y)))


def test_noise_is_no_contradiction_and_order_and_motion_are():
    A = parallel(turn(180))
    clean = OBJECT.line_integrals(*A.rays())
    noisy = clean + 0.3 * torch.randn(clean.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    assert contradiction(A, noisy.numpy()) < 0.01
    order = torch.randperm(len(noisy), generator=torch.Generator().manual_seed(0))
    moved = torch.cat([noisy[:30], noisy[30:].roll(3, -1)])
    for wrong in (noisy[order], moved):
        assert contradiction(A, wrong.numpy()) > 1 / A.detectors
    assert contradiction(A, np.zeros(A.range_shape)) == 0


def test_a_fan_all_around_becomes_parallel_views():
    A = fan(turn(360, 180))
    y = OBJECT.line_integrals(*A.rays()).numpy()
    values, angles, places = parallel_views(A, y)
    rays = np.stack([np.cos(angles), np.sin(angles)], -1)
    points = torch.from_numpy(places[None, :, None] * rays[:, None])
    across = np.stack([-np.sin(angles), np.cos(angles)], -1)[:, None]
    directions = torch.from_numpy(np.broadcast_to(across, points.shape).copy())
    expected = OBJECT.line_integrals(points, directions).numpy()
    assert np.linalg.norm(values - expected) < 0.06 * np.linalg.norm(expected)
    assert parallel_views(fan(turn(200)), y[:60]) is None


def test_truncated_views_break_the_conditions_and_are_called_truncated():
    A = parallel(turn(180), 16)
    doubts = A.doubts(OBJECT.line_integrals(*A.rays()).float())
    assert any("truncated" in d for d in doubts)
    assert not any("contradict" in d for d in doubts)


# ---- residuals


def test_white_residuals_are_uncorrelated_and_those_of_a_wrong_model_are_not():
    x = torch.zeros(40, 40)
    noise = randn((40, 40), torch.float32, 1)
    assert float(residual_correlation(Problem(Identity((40, 40)), noise, None), x)) < 0.06
    smooth = noise + 2 * torch.linspace(-1, 1, 40)
    assert float(residual_correlation(Problem(Identity((40, 40)), smooth, None), x)) > 0.3
    exact = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    problem = Problem(Identity((2, 2)), exact, None)
    assert float(residual_correlation(problem, torch.zeros(2, 2))) == pytest.approx(1)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # no two neighbours left
    assert float(residual_correlation(replace(problem, weights=weights), torch.zeros(2, 2))) == 0


def test_what_blocks_of_residuals_share_is_more_than_that_of_noise():
    x, noise = torch.zeros(60, 60), randn((60, 60), torch.float32, 1)
    alone = shared_by_blocks(Problem(Identity((60, 60)), noise, None), x)
    assert alone == pytest.approx(1, abs=0.25)  # 144 blocks: two standard deviations
    wave = 0.5 * torch.sin(torch.linspace(0, 6, 60))
    assert shared_by_blocks(Problem(Identity((60, 60)), noise + wave, None), x) > 2
    assert shared_by_blocks(Problem(Identity((60, 60)), torch.ones(60, 60), None), x) == pytest.approx(25)
    assert shared_by_blocks(Problem(RandomProjection((8, 8), 20), torch.ones(20), None), torch.zeros(8, 8)) == 1


def test_residuals_of_counts_are_divided_by_their_deviations():
    mean = torch.linspace(1, 400, 64).expand(64, 64)
    counts = torch.poisson(mean, generator=torch.Generator().manual_seed(0))
    problem = Problem(Identity((64, 64)), counts, None, likelihood=Poisson())
    assert abs(float(residual_correlation(problem, mean))) < 0.06


def test_noise_is_seen_in_views_and_pictures_and_nowhere_else():
    A = parallel(turn(180))
    y = OBJECT.line_integrals(*A.rays()).float() + 0.2 * randn(A.range_shape, torch.float32, 2)
    low, high = noise_in_data(Problem(A, y, None))
    assert 0.15 < float(low) <= float(high) < 0.35
    assert noise_in_data(Problem(Mask(torch.rand(32, 32) < 0.5), torch.zeros(32, 32), None)) is None
    assert noise_in_data(Problem(RandomProjection((8, 8), 20), torch.zeros(20), None)) is None


@pytest.mark.parametrize("method", ["tv", "least-squares", "fbp"])
def test_an_unstated_noise_level_is_that_of_the_data(method):
    A = parallel(turn(180), 48)
    y = A(picture(32)) + 0.2 * randn(A.range_shape, torch.float32, 2)
    result = reconstruct(Scan(A, y), method)
    assert any("the noise level is not stated" in note for note in result.certificate.notes)
    assert 0.8 < float(result.certificate.residual_to_noise) < 1.25


def test_an_exact_image_of_data_without_noise_is_no_alarm():
    A = Identity((16, 16))
    truth = picture(16)
    assert grade(reconstruct(Scan(A, truth, noise=0.0), "least-squares")) == "good"


# ---- data


def test_doubts_of_scan_and_data_reach_result_file_and_page(tmp_path):
    A = parallel(turn(60, 15))
    y = OBJECT.line_integrals(*A.rays()).float() + 0.1 * randn(A.range_shape, torch.float32, 2)
    scan = Scan(A, y, noise=0.1, warned=("the flat fields disagree",))
    result = reconstruct(scan, "fbp")
    texts = " ".join(result.doubts)
    assert "limited angle" in texts
    assert "the flat fields disagree" in texts
    assert grade(result) == "bad"
    save_result(tmp_path / "a.h5", result)
    back = load_result(tmp_path / "a.h5")
    assert back.doubts == result.doubts
    assert [d.grade for d in back.doubts] == [d.grade for d in result.doubts]
    assert torch.equal(back.half_change, result.half_change)
    save_report(tmp_path / "a.html", back)
    page = (tmp_path / "a.html").read_text()
    for words in ("limited angle", "flat fields disagree", "Where not to trust", "Next: measure the missing views"):
        assert words in page


def test_negative_readings_under_a_constraint_and_above_the_flat_field():
    A = parallel(turn(180))
    y = OBJECT.line_integrals(*A.rays()).float()
    above = reconstruct(Scan(A, y - 2, noise=0.01), "fbp")
    assert any("brighter than the beam without an object" in d for d in above.doubts)
    assert not any("negative" in d for d in reconstruct(Scan(A, y, noise=0.01), "fbp").doubts)
    blur = Blur((24, 24), torch.ones(3, 3, dtype=DOUBLE) / 9, "periodic")
    below = blur(picture(24) - 0.5)
    for settings, doubted in (({"nonnegative": True}, True), ({}, False)):
        result = reconstruct(Scan(blur, below, noise=0.01), "tv", strength=1e-3, max_iter=5, **settings)
        assert any("no image x >= 0 leads to" in d for d in result.doubts) is doubted


def test_clipped_readings_and_an_overstated_noise_level_are_noticed():
    A = Identity((32, 32))
    y = picture(32) + 0.05 * randn((32, 32), torch.float32, 1)
    cases = ((y.clamp(max=0.9), 0.05, "the highest value of all"), (y, 0.5, "times as high as the data"))
    for data, noise, words in cases:
        doubts = reconstruct(Scan(A, data, noise=noise), "least-squares").doubts
        assert any(words in d for d in doubts)
    assert not reconstruct(Scan(A, y, noise=0.05), "least-squares").doubts


# ---- where not to trust


def test_every_other_view_makes_half_of_a_scan():
    full = parallel(turn(180, 20))
    for A in (full, 2.0 * full, full.lift((2,)), fan(turn(360, 20))):
        x = randn(A.domain_shape, torch.float32, 1)
        half, restrict, averaged = A.thinned()
        assert torch.allclose(half(x), restrict(A(x)), rtol=1e-4, atol=1e-4)
        assert averaged == 1
        assert half.range_shape[-2] == 10
    distances = {"source_distance": 40.0, "detector_distance": 20.0}
    cone = ConeBeam((4, 8, 8), turn(360, 8), (6, 12), voxel_size=1.0, detector_size=1.5, **distances)
    half, restrict, _ = cone.thinned()
    x = randn(cone.domain_shape, torch.float32, 1)
    assert torch.allclose(half(x), restrict(cone(x)), rtol=1e-5, atol=1e-6)
    assert Identity((4, 4)).thinned() is None


def test_it_looks_twice_where_readings_are_fewer_than_pixels():
    few, many = parallel(turn(180, 10)), parallel(turn(180, 60))
    assert is_sparse(Scan(few, torch.zeros(few.range_shape)))
    assert not is_sparse(Scan(many, torch.zeros(many.range_shape)))
    y = few(picture(32))
    result = reconstruct(Scan(few, y), "fbp")
    other = reconstruct(halved(Scan(few, y)), "fbp").x
    assert torch.allclose(result.half_change, local_change(result.x, other, 2, 2))
    moved = torch.linalg.vector_norm(other - result.x) / torch.linalg.vector_norm(result.x)
    assert float(result.certificate.half_change) == pytest.approx(float(moved), rel=1e-5)
    assert reconstruct(Scan(many, many(picture(32))), "fbp").half_change is None
    assert torch.equal(result.x, list(progress(Scan(few, y), "fbp"))[-1].image())
    events = list(followed(Scan(few, y), "fbp"))
    assert all(torch.equal(event.image(), result.x) for event in events)


def test_a_method_that_refuses_half_of_the_readings_says_so():
    """The image is there, and why nothing is known of where not to trust it is no secret."""
    A = Blur((24, 24), torch.ones(9, 9) / 81, boundary="valid")
    scan = Scan(A, A(picture(24)), noise=0.01)
    assert is_sparse(scan)
    result = reconstruct(scan, "wiener")
    assert result.half_change is None
    assert "cannot tell where not to trust the image: wiener takes all readings alike" in result.certificate.notes[-1]
    assert torch.equal(result.x, list(progress(scan, "wiener"))[-1].image())


def test_the_change_points_at_what_the_data_do_not_know():
    seen = torch.rand((24, 24), generator=torch.Generator().manual_seed(1)) < 0.7
    seen[8:16, 8:16] = False
    truth = picture(24)
    result = reconstruct(Scan(Mask(seen), torch.where(seen, truth, 0.0)), "direct")
    assert result.half_change.shape == truth.shape
    assert bool((result.half_change >= 0).all())
    batch = torch.stack([truth, 2 * truth])
    both = reconstruct(Scan(Mask(seen), torch.where(seen, batch, 0.0)), "direct")
    assert torch.allclose(both.half_change[1], 2 * both.half_change[0], rtol=1e-4, atol=1e-6)
    assert torch.equal(both.row(1).half_change, both.half_change[1])


# ---- the campaign in short


@pytest.mark.parametrize(
    ("problem", "fault", "method"),
    [
        *[("parallel", fault, "fbp") for fault in ("axis", "arc 30", "arc 60", "few views", "order", "transposed")],
        *[("parallel", fault, "fbp") for fault in ("angles", "truncated", "flat field", "rings", "motion", "no axis")],
        *[("fan", fault, "fbp") for fault in ("axis", "order", "distance")],
        *[("parallel", fault, "tikhonov") for fault in ("unconverged", "adjoint")],
    ],
)
def test_no_bad_image_is_green(problem, fault, method):
    import verdicts

    found = verdicts.judge(problem, fault, method, 0)
    assert found.bad
    assert found.grade in ("fair", "bad", "refused"), found


@pytest.mark.parametrize(
    ("problem", "method"),
    [
        ("parallel", "fbp"),
        ("parallel", "least-squares"),
        ("dose", "least-squares"),
        ("fan", "fbp"),
        ("parallel", "tv"),
        ("blur", "wiener"),
    ],
)
def test_sound_images_are_green(problem, method):
    import verdicts

    found = verdicts.judge(problem, "", method, 0)
    assert not found.bad
    assert found.grade == "good", found


def test_a_kernel_turned_round_makes_wieners_filter_ring():
    import verdicts

    found = verdicts.judge("motion", "stroke", "wiener", 0)
    assert found.grade == "fair"
    assert "beyond the range of the data" in found.words
