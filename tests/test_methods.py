"""Recipes from scan to result: scale, batches, purity, strengths, quality, honest status."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from laws import relative

from invprob import metrics, phantoms
from invprob import problem as problem_module
from invprob.linop import LinearOperator
from invprob.methods import progress, reconstruct
from invprob.operators import ConeBeam, FanBeam, ParallelBeam
from invprob.phantoms.instruments import instrument
from invprob.phantoms.random import seeded
from invprob.phantoms.scenes import phantom
from invprob.scan import Scan

METHODS = ["fbp", "least-squares", "tikhonov", "tv"]
FIXED = {"fbp": {}, "least-squares": {"strength": 0.02}, "tikhonov": {"strength": 1e-3}, "tv": {"strength": 2e-3}}


def scan(size=40, views=24, noise=0.01, seed=0, radius=0.9):
    phantom = phantoms.shepp_logan(radius * size / 2)
    A = ParallelBeam((size, size), torch.arange(views) * math.pi / views, math.ceil(1.42 * size))
    data, sigma = phantoms.add_gaussian_noise(phantom.line_integrals(*A.rays()).float(), noise, seed)
    return Scan(A, data, sigma, phantom.image((size, size)))


def psnr(result, truth):
    return float(metrics.psnr(result.x, truth, data_range=1.0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("c", [1e-8, 3.7e-3, 1.9, 1e8])
def test_scaling_the_data_scales_the_image(method, c):
    s = scan()
    plain = reconstruct(s, method)
    scaled = reconstruct(Scan(s.operator, c * s.data, c * s.noise), method)
    # conjugate gradients stopped early in float32 amplify the rounding of c * data itself
    # as do the degrees of freedom that choose the strength of tikhonov
    limit = {"least-squares": 1e-3, "tikhonov": 3e-3}.get(method, 1e-4)
    assert torch.dist(scaled.x / c, plain.x) <= limit * plain.x.norm()
    assert scaled.item_status == plain.item_status


@pytest.mark.parametrize("method", METHODS)
def test_zero_data_give_the_zero_image(method):
    s = scan()
    for noise in (None, 0.0, 1.0):
        result = reconstruct(Scan(s.operator, torch.zeros_like(s.data), noise), method)
        assert result.status == "converged"
        assert not result.x.any()


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_do_not_change_an_item(method):
    items = [scan(seed=k, radius=r) for k, r in enumerate((0.9, 0.6))]
    data = torch.stack([items[0].data, 1e5 * items[1].data])
    noise = torch.stack([items[0].noise, 1e5 * items[1].noise])
    together = reconstruct(Scan(items[0].operator, data, noise), method)
    for k, scale in enumerate((1.0, 1e5)):
        alone = reconstruct(Scan(items[0].operator, scale * items[k].data, scale * items[k].noise), method)
        assert torch.dist(together.x[k], alone.x) <= 1e-4 * alone.x.norm()
        assert together.item_status[k] == alone.status


@pytest.mark.parametrize("method", METHODS)
def test_the_same_call_twice_is_bit_identical(method):
    first, second = (reconstruct(replace(scan(), noise=None), method) for _ in range(2))
    assert torch.equal(first.x, second.x)


def test_total_variation_is_the_right_prior_for_few_views_of_flat_regions():
    s = scan(size=64, views=30)
    quality = {m: psnr(reconstruct(s, m), s.truth) for m in METHODS}
    best = quality.pop("tv")
    assert min(quality.values()) > 18
    assert best > max(quality.values()) + 3


@pytest.mark.parametrize("known", [True, False])
def test_the_automatic_strength_is_near_the_best(known):
    s = scan(size=48, views=30, noise=0.03)
    automatic = psnr(reconstruct(s if known else replace(s, noise=None), "tv"), s.truth)
    best = max(psnr(reconstruct(s, "tv", strength=10 ** (-k / 2)), s.truth) for k in range(3, 8))
    assert automatic > best - 2.5


def test_views_whose_noise_is_not_white_are_smoothed_as_they_need():
    """Behind the object readings are 4.5 times as noisy, and no weight says so: cross-validation believes them."""
    tool = instrument("parallel-beam", views=40)((64, 64))
    scene = phantom("organs")((64, 64), seeded("coloured views"))
    clean = tool.measure(scene)
    most = float(clean.max())
    noise = 0.0025 * most * torch.exp(1.5 * clean / most) * torch.randn(clean.shape, generator=seeded("n"))
    spoilt = Scan(tool.operator, clean + noise, truth=scene.truth)
    found = reconstruct(spoilt, "tv")
    best = max(psnr(reconstruct(spoilt, "tv", strength=10 ** (-k / 4)), scene.truth) for k in (13, 14, 15))
    assert psnr(found, scene.truth) > best - 0.4
    assert any("held-out views, as the noise is not white" in note for note in found.certificate.notes)


def test_a_neighbour_with_rings_changes_nothing_of_white_noise():
    tool = instrument("parallel-beam", views=40)((64, 64))
    clean = tool.measure(phantom("organs")((64, 64), seeded("coloured views")))
    data = clean + 0.02 * clean.max() * torch.randn(clean.shape, generator=seeded("n"))
    ringed = data + 0.05 * clean.max() * (torch.arange(clean.shape[-1]) % 7 == 0)
    alone = reconstruct(Scan(tool.operator, data), "tv", nonnegative=True)
    both = reconstruct(Scan(tool.operator, torch.stack([data, ringed])), "tv", nonnegative=True)
    assert torch.dist(both.x[0], alone.x) <= 1e-5 * alone.x.norm()
    assert any("in 1 of 2 items by held-out views" in note for note in both.certificate.notes)


def test_the_noise_level_is_reported_and_respected():
    s = scan(noise=0.05)
    result = reconstruct(s, "tv")
    assert result.status == "converged"
    # thin rays are a model error of their own: the truth itself leaves 1.29
    of_truth = float((s.operator(s.truth) - s.data).norm() / s.noise / s.data.numel() ** 0.5)
    assert float(result.certificate.residual_to_noise) == pytest.approx(of_truth, rel=0.1)
    assert result.certificate.adjoint_mismatch < 1e-6
    assert result.certificate.norm <= result.certificate.norm_bound * (1 + 1e-6)
    stopped = reconstruct(s, "least-squares")
    assert 0.7 < float(stopped.certificate.residual_to_noise) <= 1.0


def test_tv_from_coarse_to_fine_finds_the_same_minimum():
    """A start from coarser grids is only a start: the objective is that of a long run on the finest grid alone."""
    from invprob.fidelities import L2
    from invprob.loop import solve
    from invprob.priors import NonNegative, Sum, TotalVariation
    from invprob.solvers import PrimalDual

    size = 192
    phantom = phantoms.shepp_logan(size / 2)
    A = FanBeam(
        (size, size),
        torch.arange(20) * 2 * math.pi / 20,
        100,
        source_distance=400,
        detector_distance=400,
        detector_size=6.0,
    )
    data = phantom.line_integrals(*A.rays()).float()
    result = reconstruct(Scan(A, data), "tv", strength=3e-3, tol=3e-4)
    scale = 2.0 ** math.floor(math.log2(float(data.max())))
    lam = 3e-3 * float(A.adjoint(data).abs().max())
    f, g = L2(A, data), Sum(TotalVariation(lam), NonNegative())
    reference = solve(PrimalDual(max_iter=600, tol=0.0), f, g)
    assert scale > 1
    assert float(result.certificate.objective) <= float(reference.certificate.objective) * 1.005


@pytest.mark.parametrize("method", ["least-squares", "tikhonov", "tv"])
def test_every_method_but_fbp_serves_a_users_operator(method):
    matrix = torch.rand(30, 64, generator=torch.Generator().manual_seed(0))
    A = LinearOperator.from_functions(
        lambda x: x.flatten(-2) @ matrix.T, lambda y: (y @ matrix).unflatten(-1, (8, 8)), (8, 8), (30,)
    )
    truth = torch.zeros(8, 8)
    truth[2:6, 3:7] = 1
    result = reconstruct(Scan(A, A(truth)), method)
    assert result.status in ("converged", "max_iter")
    assert float(result.certificate.data_residual) < 0.2
    with pytest.raises(ValueError, match="fbp is for parallel, fan and cone beams"):
        reconstruct(Scan(A, A(truth)), "fbp")


@pytest.fixture(scope="module")
def balls():
    """A ball of 1 with a hole, 32 voxels along each axis, seen by a cone beam with 1 % noise, and the truth."""
    n = 32
    angles = torch.arange(24) * 2 * math.pi / 24
    A = ConeBeam((n, n, n), angles, (40, 40), source_distance=80.0, detector_distance=40.0, detector_size=1.6)
    place = torch.arange(2 * n) / 2 - n / 2 + 0.25
    z, y, x = torch.meshgrid(place, place, place, indexing="ij")
    fine = ((x**2 + y**2 + z**2 < 144) & ((x - 4) ** 2 + y**2 + (z + 2) ** 2 > 16)).float()
    finer = ConeBeam(**(A.config() | {"volume_shape": (2 * n,) * 3, "voxel_size": 0.5}))
    data, noise = phantoms.add_gaussian_noise(finer(fine), 0.01, 3, ndim=3)
    return Scan(A, data, float(noise), F.avg_pool3d(fine[None], 2)[0])


def test_fbp_serves_cone_beams(balls):
    image = reconstruct(balls, "fbp", window="hann").x
    assert relative(image, balls.operator.direct(balls.data, window="hann")) <= 1e-6
    assert relative(image, balls.truth) < 0.2


def test_tv_serves_cone_beams(balls):
    result = reconstruct(balls, "tv")
    assert result.status == "converged"
    assert relative(result.x, balls.truth) < 0.7 * relative(reconstruct(balls, "fbp", window="hann").x, balls.truth)
    assert float(result.x[balls.truth == 1].mean()) == pytest.approx(1, abs=0.03)


def test_tv_of_a_volume_from_coarse_to_fine(balls, monkeypatch):
    """Image and multipliers go to the finer grid along all three axes, and lead to the same minimum."""
    settings = {"strength": 3e-3, "tol": 1e-3}
    alone = reconstruct(balls, "tv", **settings)
    monkeypatch.setattr(problem_module, "SMALLEST", 16)
    assert next(progress(balls, "tv", **settings)).phase == "total variation, 16 x 16 x 16"
    assert relative(reconstruct(balls, "tv", **settings).x, alone.x) <= 0.01


def test_progress_tells_the_phases_and_holds_the_best_image_so_far():
    s = scan()
    events = list(progress(s, "tv"))
    phases = list(dict.fromkeys(e.phase for e in events))
    assert phases[0].startswith("choosing the strength")
    assert phases[-1].startswith("total variation")
    early = events[3].result()
    assert early.x.shape == s.operator.domain_shape
    assert early.status == "stopped"
    assert early.x.isfinite().all()
    assert events[-1].result().status == "converged"
    for event in (events[3], events[-1]):
        assert torch.equal(event.image(), event.result().x)


def test_progress_leaves_autograd_as_the_caller_has_it():
    for _ in progress(scan(), "tv"):
        assert torch.is_grad_enabled()


def test_unknown_names_are_answered_with_the_nearest():
    s = scan()
    with pytest.raises(ValueError, match="did you mean tikhonov"):
        reconstruct(s, "tikonov")
    with pytest.raises(ValueError, match="no setting 'strenght'; did you mean strength"):
        reconstruct(s, "tv", strenght=1)
    with pytest.raises(ValueError, match="strength of tv must be 'auto' or a number >= 0"):
        reconstruct(s, "tv", strength=-1.0)
    with pytest.raises(ValueError, match="unknown filter window"):
        reconstruct(s, "fbp", window="hanning")


def test_a_users_own_recipe_is_a_function_or_a_dotted_name():
    s = scan()
    mine = reconstruct(s, "invprob.methods:fbp")
    assert torch.equal(mine.x, reconstruct(s, "fbp").x)
