"""What intervals cover, before and after calibration."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from invprob import Scan, metrics, reconstruct
from invprob.methods import Progress, calibrate, direct_result
from invprob.operators import Greyscale, Identity
from invprob.problem import Problem

SIZE = 12


def overconfident(problem: Problem, *, factor: float = 0.3) -> Iterator[Progress]:
    """The data themselves, with a spread that is too small."""
    done = replace(direct_result(problem, problem.y, {}), spread=torch.full_like(problem.y, factor * 0.1))
    yield Progress("direct", 1, 1, None, lambda: done)


def scans(count, seed):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, SIZE, SIZE, generator=generator)
    noise = 0.1 * torch.randn(count, SIZE, SIZE, generator=generator)
    return [Scan(Identity((SIZE, SIZE)), x + n, 0.1, x) for x, n in zip(truth, noise, strict=True)]


def covered(scan, method, level=0.9):
    found = reconstruct(scan, method)
    return float(metrics.coverage(found.x, found.spread, scan.truth, level=level))


@pytest.mark.parametrize("level", [0.9, 0.5])
def test_intervals_cover_what_they_promise(level):
    method = calibrate(overconfident, scans(20, 0), level=level)
    shares = [covered(scan, method, level) for scan in scans(40, 1)]
    assert level - 0.01 < sum(shares) / len(shares) < level + 1 / 20 + 0.02  # what the guarantee costs with 20 scans
    assert method.factor == pytest.approx(1 / 0.3, rel=0.25)
    plain = [covered(scan, overconfident, level) for scan in scans(5, 1)]
    assert max(plain) < 0.75 * level


def test_the_guarantee_holds_on_average_over_few_scans():
    shares = []
    for seed in range(20):
        method = calibrate(overconfident, scans(5, 2 * seed), level=0.7, factor=0.5)
        shares += [covered(scan, method, 0.7) for scan in scans(4, 2 * seed + 1)]
    assert 0.7 <= sum(shares) / len(shares) < 0.9


def test_the_result_says_so():
    found = reconstruct(scans(1, 3)[0], calibrate(overconfident, scans(9, 0)))
    assert "calibrated on" in " ".join(found.certificate.notes)
    assert found.settings["method"] == "calibrated overconfident"
    assert found.settings["level"] == 0.9


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: calibrate(overconfident, scans(8, 0)), "at least 9 scans, got 8"),
        (lambda: calibrate("fbp", scans(9, 0)), "fbp is for"),
        (lambda: calibrate("direct", scans(9, 0)), "no spread"),
        (lambda: calibrate(overconfident, [Scan(Identity((4, 4)), torch.ones(4, 4))]), "truth"),
        (lambda: calibrate(overconfident, scans(9, 0), level=1.0), "level"),
        (lambda: metrics.calibration(torch.ones(1, 4, 4), torch.ones(4, 4)), "two draws"),
        (lambda: metrics.coverage(torch.ones(4, 4), torch.ones(4), torch.ones(4, 4)), "spread must have"),
    ],
)
def test_what_does_not_fit_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_draws_like_the_truth_are_calibrated():
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(3, 64, 64, generator=generator)
    truth = mean + 0.2 * torch.randn(3, 64, 64, generator=generator)
    draws = mean + 0.2 * torch.randn(6, 3, 64, 64, generator=generator)
    ratio = metrics.calibration(draws, truth)
    assert ratio.shape == (3,)
    assert float((ratio - 1).abs().max()) < 0.1
    sure = metrics.calibration(mean + 0.5 * (draws - mean), truth)
    assert float((sure - 0.25).abs().max()) < 0.03
    share = metrics.coverage(draws.mean(0), draws.std(0), truth, level=0.9)
    assert 0.75 < float(share.mean()) < 0.9  # six draws have no more to tell
    assert torch.isinf(metrics.calibration(draws, draws.mean(0))).all()


def test_grey_is_the_mean_and_colour_is_lost():
    A = Greyscale((4, 5), dtype=torch.float64)
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(A(x), x.mean(1))
    torch.testing.assert_close(A.direct(A(x)), x.mean(1, keepdim=True).expand_as(x))
    assert float(A.norm()) == pytest.approx(3**-0.5)
    difference = Greyscale((4, 5), (1.0, -1.0), dtype=torch.float64)
    torch.testing.assert_close(difference(difference.direct(A(x))), A(x))
    for weights in ([0.0, 0.0], [[1.0]], [float("nan")]):
        with pytest.raises(ValueError, match="Greyscale: weights"):
            Greyscale((4, 5), weights)


def test_colourisation_by_a_sampler():
    generator = torch.Generator().manual_seed(0)
    A = Greyscale((8, 8))
    x = 0.5 + 0.1 * torch.randn(3, 8, 8, generator=generator)
    found = reconstruct(Scan(A, A(x), 0.01), "flower", n_chains=2, steps=4)
    assert found.x.shape == (3, 8, 8)
    assert float((A(found.x) - A(x)).abs().mean()) < 0.03
