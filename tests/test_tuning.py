"""Searches for strengths on functions whose answer is known."""

import torch

from invprob.linop.readings import drawn_readings
from invprob.tuning import DiscrepancySearch, HeldOutSearch


def drive(search, function):
    rounds = 0
    while (trial := search.ask()) is not None:
        search.tell(function(trial))
        rounds += 1
    return search.best, rounds


def test_the_discrepancy_is_met_per_item():
    target = torch.tensor([1.0, 5.0, 100.0])
    best, rounds = drive(DiscrepancySearch(target, torch.full((3,), 1e-3)), lambda s: 50 * s**0.4)
    assert torch.allclose(50 * best**0.4, target.double(), rtol=0.011)
    assert rounds <= 8


def test_the_discrepancy_only_raises_when_asked_to():
    start = torch.tensor([1e-3, 1.0])
    misfit = lambda s: 10 * s**0.5  # noqa: E731
    best, _ = drive(DiscrepancySearch(torch.tensor([1.0, 1.0]), start, only_raise=True), misfit)
    assert abs(float(misfit(best[0])) - 1) < 0.011
    assert float(best[1]) == 1.0


def test_a_flat_misfit_ends_the_search():
    best, rounds = drive(DiscrepancySearch(torch.tensor(1.0), torch.tensor(1.0)), lambda s: 0 * s + 2)
    assert rounds == 8
    assert best.isfinite()


def test_held_out_data_find_the_lowest_error():
    at = torch.tensor([1e-2, 3e-4])
    best, _ = drive(HeldOutSearch(torch.full((2,), 1.0), rounds=12), lambda s: 1 + (s / at).log() ** 2 / 100)
    assert torch.allclose(best.log(), at.double().log(), atol=0.05)


def test_an_item_that_has_settled_ignores_what_comes_after():
    """A neighbour that keeps the search going must not change an item's answer."""
    curve = lambda s: torch.where(s > 1e-3, 1 + (s / 1e-1).log().abs(), 0.5)  # noqa: E731
    alone, _ = drive(HeldOutSearch(torch.tensor([1.0])), lambda s: curve(s))
    pair, _ = drive(HeldOutSearch(torch.tensor([1.0, 1.0])), lambda s: torch.stack([curve(s[0]), s[1]]))
    assert torch.equal(alone[0], pair[0])


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


def test_without_a_discrepancy_to_meet_the_start_is_kept():
    target = torch.tensor([0.0, torch.nan, 1.0])
    best, _ = drive(DiscrepancySearch(target, torch.full((3,), 1e-3)), lambda s: 50 * s**0.4)
    assert torch.allclose(best[:2], torch.full((2,), 1e-3, dtype=torch.float64))
    assert float(best[2]) < 1e-3
