"""Bounds, supports and the recipe of limited arcs, on discs whose shadows are known in closed form."""

import math

import numpy as np
import pytest
import torch

from invprob import Scan, reconstruct
from invprob.methods import segment
from invprob.operators import Blur, ParallelBeam

SIZE = 48
A = ParallelBeam((SIZE, SIZE), torch.arange(0, 61, 3) * math.pi / 180, 64)
DISC, HOLE, VALUE = (1.0, -1.5, 18.0), (-5.0, 4.0, 5.0), 0.02


def chords(x: float, y: float, radius: float) -> torch.Tensor:
    """The lengths of all rays in a disc, averaged over eight rays per bin."""
    s = torch.from_numpy(A.bins)[:, None] + (torch.arange(8) - 3.5) / 8
    t = s - torch.from_numpy(x * np.cos(A.angles) + y * np.sin(A.angles))[:, None, None]
    return 2 * (radius**2 - t**2).clamp(min=0).sqrt().mean(-1)


def pixels(x: float, y: float, radius: float) -> torch.Tensor:
    across = torch.arange(SIZE) - (SIZE - 1) / 2
    return (across[None] - x) ** 2 + (-across[:, None] - y) ** 2 <= radius**2


def hardened(t: torch.Tensor) -> torch.Tensor:
    return -torch.log(0.5 * torch.exp(-0.01 * t) + 0.5 * torch.exp(-0.06 * t))


SOLID, HOLED = chords(*DISC), chords(*DISC) - chords(*HOLE)
TRUTH = pixels(*DISC) & ~pixels(*HOLE)


def measured(readings: torch.Tensor) -> Scan:
    noise = 1e-3 * float(readings.max())
    return Scan(A, (readings + noise * torch.randn(readings.shape, generator=torch.manual_seed(0))).float(), noise)


@pytest.mark.parametrize("method", ["tv", "wavelet"])
@pytest.mark.parametrize("unit", [1.0, 700.0])
def test_bounds_are_in_the_unit_of_the_image(method, unit):
    scan, bounds = measured(unit * VALUE * HOLED), {"lower": 0.1 * VALUE * unit, "upper": 0.8 * VALUE * unit}
    found = reconstruct(scan, method, strength=0.003, max_iter=15, support="disc", **bounds)
    inside = found.x != 0
    assert bool((inside | ~pixels(*DISC)).all())
    assert inside.sum() < 1.25 * pixels(*DISC).sum()
    assert float(found.x[inside].max()) == pytest.approx(bounds["upper"], rel=1e-5)
    assert float(found.x[inside].min()) == pytest.approx(bounds["lower"], rel=1e-5)
    assert found.settings["upper"] == pytest.approx(bounds["upper"])
    assert "a disc of radius 18" in found.settings["support"]


@pytest.mark.parametrize("method", ["pnp", "red", "gs-pnp"])
def test_denoisers_answer_within_bounds(method):
    def denoiser(v, sigma):
        return v + 0 * sigma.reshape(*sigma.shape, 1, 1)

    scan = measured(VALUE * HOLED)
    settings = {"denoiser": denoiser} if method != "gs-pnp" else {}
    found = reconstruct(scan, method, max_iter=4, support="disc", upper=0.8 * VALUE, **settings)
    free = reconstruct(scan, method, max_iter=4, **settings)
    outside = ~pixels(DISC[0], DISC[1], DISC[2] + 2)
    assert "a disc of radius 18" in found.settings["support"]
    assert found.settings["upper"] == pytest.approx(0.8 * VALUE)
    assert "upper" not in free.settings
    assert float(found.x[outside].norm()) < 0.7 * float(free.x[outside].norm())
    assert float(found.x.max()) < float(free.x.max())
    with pytest.raises(ValueError, match="support are for real images"):
        reconstruct(Scan(A, scan.data.to(torch.complex64)), method, upper=1.0)


def test_the_bound_of_one_material_is_its_value():
    found = reconstruct(measured(VALUE * HOLED), "tv", strength=0.003, max_iter=5, support="disc", upper="auto")
    assert found.settings["upper"] == pytest.approx(VALUE, rel=0.03)


def test_a_mask_is_a_support():
    mask = pixels(*DISC)
    found = reconstruct(measured(VALUE * HOLED), "tv", strength=0.003, max_iter=5, support=mask)
    assert float(found.x[~mask].abs().max()) == 0


def test_constraints_that_cannot_be_are_refused():
    scan = measured(VALUE * HOLED)
    for settings, words in (
        ({"lower": 1.0, "upper": 0.5}, "lower must not exceed upper"),
        ({"upper": "high"}, "upper must be a number, 'auto' or None, got 'high'"),
        ({"upper": "auto"}, "upper=auto needs a support"),
        ({"support": "square"}, "one of disc, ellipse, convex, got 'square'"),
        ({"support": torch.ones(3, 3)}, "a mask of the shape of the image"),
    ):
        with pytest.raises(ValueError, match=words):
            reconstruct(scan, "tv", **settings)
    picture = Scan(Blur((16, 16), torch.ones(3, 3) / 9), torch.ones(16, 16))
    with pytest.raises(ValueError, match="not by Blur: give a mask"):
        reconstruct(picture, "tv", support="disc")
    with pytest.raises(ValueError, match="limited-angle is for views of an object, not for Blur"):
        reconstruct(picture, "limited-angle")
    with pytest.raises(ValueError, match="material must be one of auto, one, several, got 'two'"):
        reconstruct(scan, "limited-angle", material="two")


def test_a_solid_disc_under_a_beam_that_hardens_has_no_holes():
    found = reconstruct(measured(hardened(SOLID)), "limited-angle")
    assert bool((segment(found.x, 2).bool() == pixels(*DISC))[pixels(DISC[0], DISC[1], 16.5)].all())
    lost = 1 - float(hardened(torch.tensor(36.0))) / (36 * 0.035)
    assert found.settings["beam_hardening"] == pytest.approx(lost, abs=0.06)
    assert any("the beam hardens" in note for note in found.certificate.notes)


def test_a_hole_is_found_and_what_hardens_is_said():
    found = reconstruct(measured(hardened(HOLED)), "limited-angle")
    wrong = int(((segment(found.x, 2) > 0) != TRUTH).sum())
    assert wrong < 0.04 * TRUTH.sum()
    best = float(found.history["objective"].min())  # in the unit of the certificate's
    assert best == pytest.approx(float(found.certificate.objective), rel=1e-6)
    left = reconstruct(measured(hardened(HOLED)), "limited-angle", beam_hardening="none")
    assert any("the beam hardens" in doubt for doubt in left.doubts)


def test_two_materials_are_not_taken_for_one():
    readings = VALUE * (chords(*DISC) + 2 * chords(*HOLE) - 0.7 * chords(7.0, -6.0, 6.0))
    found = reconstruct(measured(readings), "limited-angle", strength=0.003, max_iter=20)
    assert found.settings["material"] == "several"
    assert any("not taken for one material" in note for note in found.certificate.notes)
    with pytest.raises(ValueError, match="material=one does not fit"):
        reconstruct(measured(readings), "limited-angle", material="one")


def test_labels_are_from_dark_to_bright_per_item():
    x = torch.tensor([[[0.0, 0.1, 1.0], [2.0, 2.1, 0.9]], [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]])
    assert segment(x, 3)[0].tolist() == [[0, 0, 1], [2, 2, 1]]
    assert segment(x, 3)[1].tolist() == [[0] * 3] * 2
    with pytest.raises(ValueError, match="from 2 to 5, got 9"):
        segment(x, 9)
    with pytest.raises(ValueError, match="fewer than 3 different values"):
        segment(torch.tensor([[0.0, 1.0]]), 3)


def test_three_grey_values_are_labelled_no_worse_than_by_tv():
    inclusion = (7.0, -6.0, 5.0)
    truth = sum(way * pixels(*disc).int() for way, disc in ((1, DISC), (-1, HOLE), (1, inclusion)))
    scan = measured(VALUE * (HOLED + chords(*inclusion)))
    wrong = {}
    for method in ("limited-angle", "tv"):
        found = reconstruct(scan, method, strength=0.003, max_iter=60)
        wrong[method] = int((segment(found.x, 3) != truth).sum())
    assert wrong["limited-angle"] <= wrong["tv"]
    assert wrong["limited-angle"] < 0.15 * pixels(*DISC).sum()
