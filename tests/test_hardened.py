"""Data that look hardened by the beam: said of those that are, and of no sound ones."""

import math

import pytest
import torch
from test_outlines import SCANNERS, shadow

from invprob import Scan, reconstruct
from invprob.doubt import Doubt
from invprob.operators import FanBeam, ParallelBeam
from invprob.operators.ct.hardened import hardening_doubts, lost_by_edge, lost_by_sums
from invprob.operators.ct.outline import find_outline
from invprob.phantoms.detector import detected
from invprob.phantoms.ellipses import Ellipses, random_ellipses, shepp_logan

HALF = ParallelBeam((48, 48), torch.arange(60) * math.pi / 60, 72)
ARC = FanBeam(
    (48, 48), torch.arange(61) * math.pi / 180, 72, source_distance=150.0, detector_distance=40.0, detector_size=1.3
)
ZERO = torch.zeros(3)
HOLED = Ellipses(
    torch.tensor([1.0, -1.0, -1.0]),
    torch.tensor([[1.0, -2.0], [-6.0, 5.0], [8.0, 2.0]]),
    torch.tensor([[18.0, 18.0], [4.0, 4.0], [3.0, 5.0]]),
    ZERO,
)
OBLONG = Ellipses(torch.tensor([1.0]), torch.tensor([[1.0, -1.0]]), torch.tensor([[20.0, 11.0]]), torch.tensor([0.4]))


def readings(scene: Ellipses, A, noise: float = 0.0):
    t = detected(scene, A).double()
    t = 3 * t / t.max()
    return t + noise * torch.randn(t.shape, generator=torch.manual_seed(0), dtype=t.dtype)


def hardened(t, noise: float = 0.01):
    read = -torch.log(0.5 * torch.exp(-0.6 * t) + 0.5 * torch.exp(-1.4 * t))
    return read + noise * torch.randn(t.shape, generator=torch.manual_seed(1), dtype=t.dtype)


@pytest.mark.parametrize("name", ["holed", "oblong", "random", "head", "shell"])
@pytest.mark.parametrize("noise", [0.0, 0.03, "counts"])
@pytest.mark.parametrize("A", [HALF, ARC], ids=["half turn", "fan over an arc"])
def test_sound_data_do_not_look_hardened(A, noise, name):
    scene = {
        "holed": HOLED,
        "oblong": OBLONG,
        "random": random_ellipses(22.0, 1),
        "head": shepp_logan(22.0),
        "shell": shepp_logan(22.0, modified=False),
    }[name]
    y = readings(scene, A, 0.0 if noise == "counts" else noise)
    if noise == "counts":
        counts = torch.poisson(1e4 * torch.exp(-y), generator=torch.manual_seed(2)).clamp(min=1)
        y = -torch.log(counts / 1e4)
    assert hardening_doubts(A, y.numpy()) == []


def test_what_is_cut_off_is_no_hardening():
    few = ParallelBeam((48, 48), HALF.angles, 30)
    assert not any("hardened" in doubt for doubt in few.doubts(readings(OBLONG, few)))


def test_the_sums_over_views_tell_of_what_is_not_round():
    t = readings(OBLONG, HALF)
    lost = 1 - float(hardened(torch.tensor([3.0]), 0.0)) / 3.0
    assert lost_by_sums(HALF, hardened(t).numpy()) == pytest.approx(lost, abs=0.08)
    assert lost_by_sums(HALF, readings(OBLONG, HALF, 0.01).numpy()) == 0
    (doubt,) = hardening_doubts(HALF, hardened(t).numpy())
    assert "hardened by the beam: the sums over views" in doubt
    assert isinstance(doubt, Doubt)
    assert doubt.grade == "fair"
    assert "limited-angle" in doubt.remedy


def test_the_edge_tells_of_what_is_round():
    t = readings(HOLED, ARC)
    chord = torch.tensor([0.3, 1.0]) * 3.0
    per_length = hardened(chord, 0.0) / chord
    lost = 1 - float(per_length[1] / per_length[0])
    for noise in (0.0, 0.01):  # what may be noise is taken off the tops, and hides a part
        assert 0.5 * lost < lost_by_edge(ARC, hardened(t, noise).numpy()) < lost
    assert lost_by_edge(ARC, t.numpy()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("name", SCANNERS)
def test_chords_of_an_outline_are_those_of_the_closed_form(name):
    A = SCANNERS[name]
    sinogram = shadow(A, -1.0, 0.5, 12.0, 7.0, 0.4)
    found = find_outline(A, sinogram, "ellipse").chords(A)
    assert abs(found - sinogram)[sinogram > 5].max() < 0.3
    with pytest.raises(ValueError, match="chords are known of discs and ellipses"):
        find_outline(A, sinogram, "convex").chords(A)


def test_results_tell_unless_the_method_has_dealt_with_it():
    scan = Scan(ARC, hardened(readings(HOLED, ARC)).float(), 0.01)
    assert any("hardened by the beam" in doubt for doubt in scan.doubts())
    direct, cured = reconstruct(scan, "fbp"), reconstruct(scan, "limited-angle")
    assert any("hardened by the beam" in doubt for doubt in direct.doubts)
    assert "beam_hardening" in cured.settings
    assert not any("hardened by the beam" in doubt for doubt in cured.doubts)
