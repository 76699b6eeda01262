"""Searches for strengths on functions whose answer is known, and estimates of risk against exact ones."""

import pytest
import torch

from invprob import Scan, reconstruct
from invprob.benchmark.problems import PROBLEMS, cases
from invprob.linop.readings import drawn_readings
from invprob.methods import trials
from invprob.methods.trials import probed
from invprob.metrics import quality
from invprob.operators import Blur, Identity, Mask
from invprob.problem import Problem
from invprob.tuning import Choice, MinimumSearch
from invprob.tuning.risk import generalised_cross_validation, predictive_risk, probe, unexplained_noise


def drive(search, function):
    rounds = 0
    while (trial := search.ask()) is not None:
        search.tell(function(trial))
        rounds += 1
    return search.best, rounds


def bowl(at):
    return lambda s: 1 + (s / at).log() ** 2 / 10


def test_a_minimum_is_found_per_item_from_either_side():
    at = torch.tensor([1e-2, 3e-4, 5.0])
    best, rounds = drive(MinimumSearch(torch.full((3,), 0.1), rounds=14), bowl(at))
    assert torch.allclose(best.log(), at.double().log(), atol=0.05)
    assert rounds < 14


def test_of_two_scores_the_stronger_minimum_decides():
    scores = lambda s: torch.stack([bowl(1e-2)(s), bowl(1e-1)(s)])  # noqa: E731
    search = MinimumSearch(torch.tensor([3e-3]), criteria=2)
    best, _ = drive(search, scores)
    assert float(best) == pytest.approx(0.1, rel=0.05)
    strengths, told = search.curve()
    assert torch.allclose(told, bowl(1e-1)(strengths))
    assert bool((strengths[1:] < strengths[:-1]).all())


def test_where_scores_are_alike_the_strongest_of_them_is_taken():
    best, rounds = drive(MinimumSearch(torch.tensor([1.0]), rounds=12), lambda s: 1 + (s / 1e-2).clamp(min=1).log())
    assert 1e-3 < float(best) < 2e-2
    assert rounds < 12


def test_an_item_that_has_settled_ignores_what_comes_after():
    """A neighbour that keeps the search going must not change an item's answer."""
    start = torch.tensor([1.0, 1.0])
    alone, _ = drive(MinimumSearch(start[:1]), bowl(0.5))
    both, _ = drive(MinimumSearch(start), bowl(torch.tensor([0.5, 1e-3])))
    assert torch.equal(alone[0], both[0])


def test_only_curves_that_are_level_count_as_flat():
    steep, level = MinimumSearch(torch.tensor([1e-2])), MinimumSearch(torch.tensor([1e-2]))
    drive(steep, bowl(1e-2))
    drive(level, lambda s: 1 + (s / 1e-2).log() ** 2 / 500)
    assert not bool(steep.flat(5e-3))
    assert bool(level.flat(5e-3))
    of = Choice(level.best, "a rule", *level.curve(), level.flat(5e-3))
    assert "hardly decide" in of.notes[1]


def linear_problem(weights, complex_valued=False):
    """Return a denoising problem of which y -> x is the product by h, whose degrees of freedom are the mean of h."""
    generator = torch.Generator().manual_seed(1)
    dtype = torch.complex128 if complex_valued else torch.float64
    y = torch.randn(64, 64, generator=generator, dtype=dtype)
    A = Identity((64, 64), dtype=dtype)
    return Problem(A, y, torch.tensor(0.5).double(), weights)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_degrees_of_freedom_are_the_trace(complex_valued, weighted):
    generator = torch.Generator().manual_seed(2)
    weights = torch.rand(64, 64, generator=generator, dtype=torch.float64) if weighted else None
    problem = linear_problem(weights, complex_valued)
    h = torch.rand(64, 64, generator=generator, dtype=torch.float64)
    both = probed(problem)
    misfit, df = both.scores(h * problem.y, h * both.twin.y)
    # for a diagonal map one probe is exact, as b_k^2 w_k = 1
    assert float(df) == pytest.approx(float(h.mean()), rel=1e-6)
    w = torch.ones(64, 64) if weights is None else weights
    assert float(misfit) == pytest.approx(float((w * ((h - 1) * problem.y).abs() ** 2).mean()), rel=1e-9)


def test_twins_in_turn_choose_what_twins_together_choose(monkeypatch):
    generator = torch.Generator().manual_seed(5)
    A = Blur((40, 40), torch.ones(3, 3) / 9, "reflect")
    x = torch.zeros(2, 40, 40)
    x[0, 10:25, 8:30], x[1, 5:12, 5:12] = 1.0, 2.0
    scan = Scan(A, A(x) + 0.05 * torch.randn(2, 40, 40, generator=generator), 0.05)
    together = reconstruct(scan, "tv")
    monkeypatch.setattr(trials, "LARGE", 0)
    monkeypatch.setattr(trials, "_together", None)  # which is not called
    in_turn = reconstruct(scan, "tv")
    assert in_turn.settings["strength"] == pytest.approx(together.settings["strength"], rel=1e-3)
    assert float((in_turn.x - together.x).norm() / together.x.norm()) < 1e-3


def test_what_is_not_measured_has_no_degrees_of_freedom():
    seen = torch.arange(64) % 2 == 0
    problem = Problem(Mask(seen.expand(64, 64)), torch.ones(64, 64) * seen, None)
    both = probed(problem)
    _, df = both.scores(problem.y, both.twin.y)
    assert float(df) == pytest.approx(1.0, rel=1e-3)
    assert not bool(both.b[:, ~seen].any())


def test_the_predictive_risk_is_that_of_the_prediction_on_average():
    """E (|x - y|^2 / n + 2 sigma^2 df) = E |x - x_true|^2 / n + sigma^2 for x = h y."""
    generator = torch.Generator().manual_seed(3)
    truth, sigma, h = torch.randn(400, 400, generator=generator), 0.7, 0.6
    y = truth + sigma * torch.randn(400, 400, generator=generator)
    misfit, df = ((h - 1) * y).square().double().mean(), torch.tensor(h).double()
    risk = predictive_risk(misfit, df, torch.tensor(sigma).double()) - sigma**2
    assert float(risk) == pytest.approx(float((h * y - truth).square().mean()), rel=0.02)
    # x = h y predicts best at h = |truth|^2 / |y|^2, which both rules find
    grid = torch.linspace(0.05, 0.95, 91).double()
    errors = (grid[:, None, None] * y - truth).square().mean((1, 2))
    misfits = ((grid - 1) ** 2) * y.double().square().mean()
    risks = predictive_risk(misfits, grid, torch.tensor(sigma).double())
    assert float(grid[risks.argmin()]) == pytest.approx(float(grid[errors.argmin()]), abs=0.02)


def test_noise_is_seen_beside_an_image_that_follows_part_of_it():
    """Of a projection on a tenth of the samples nine tenths of the noise are left, spread over all readings."""
    generator = torch.Generator().manual_seed(4)
    y = 0.3 * torch.randn(100, 100, generator=generator)
    kept = torch.zeros(100, 100)
    kept[:10] = 1
    misfit, df = ((1 - kept) * y).square().double().mean(), torch.tensor(0.1).double()
    assert float(unexplained_noise(misfit, df)) == pytest.approx(0.3, rel=0.03)
    assert float(generalised_cross_validation(misfit, df)) == pytest.approx(0.09 / 0.9, rel=0.05)


def test_probes_are_the_same_for_every_item():
    A = Identity((8, 8))
    y = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(probed(Problem(A, y, None)).b, probed(Problem(A, y[1], None)).b)
    assert torch.equal(probe((8, 8), y), probe((8, 8), y))


def test_a_tenth_of_the_readings_is_held_out():
    def hold_out(shape, groups=0):
        return drawn_readings(shape, 0.1, torch.Generator().manual_seed(0), groups)

    few, many = hold_out((10, 2000), 1), hold_out((100, 200), 1)
    assert 0.09 < few.double().mean() < 0.11
    assert torch.equal(many.any(1), many.all(1))
    assert many.any(1).sum() == 10
    assert torch.equal(many, hold_out((100, 200), 1))
    pixels = hold_out((100, 200))
    assert 0.08 < float(pixels.double().mean()) < 0.12
    assert not bool(pixels.all(1).any())


def test_wavelets_of_k_space_are_as_strong_as_the_image_wants():
    """Spokes that are set aside are predicted well by images that are far too weak: 34 dB of 39."""
    scan = cases(next(p for p in PROBLEMS if p.name == "radial-24"), 64, "test", 1).scan
    found = reconstruct(scan, "wavelet")
    strength, truth = float(found.settings["strength"][0]), scan.truth
    others = [reconstruct(scan, "wavelet", strength=factor * strength).x for factor in (1 / 3, 3)]
    best, *rest = (float(quality(x, truth, ndim=2)["PSNR"]) for x in (found.x, *others))
    assert best > max(rest) - 0.5
