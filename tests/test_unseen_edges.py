"""Edges that an arc leaves unseen: those across which no ray runs along, and no others."""

import math

import numpy as np
import pytest
import torch

from invprob import Scan, reconstruct, save_report
from invprob.linop import vstack
from invprob.operators import FanBeam, ParallelBeam

ARC = np.deg2rad(np.arange(-30, 30.5, 2))  # rays within 30 degrees of the columns of the image
PARALLEL = ParallelBeam((64, 64), ARC, 96)
FAN = FanBeam((64, 64), ARC, 96, source_distance=300.0, detector_distance=100.0, detector_size=1.4)


def disc():
    at = torch.arange(64) - 31.5
    return (torch.hypot(at[None], at[:, None]) < 20).float(), torch.atan2(-at[:, None], at[None])


@pytest.mark.parametrize("A", [PARALLEL, FAN], ids=["parallel", "fan"])
def test_edges_are_unseen_where_their_normal_lies_outside_of_the_arc(A):
    x, direction = disc()
    slopes = A.unseen_edges(x)
    turned = torch.remainder(direction + math.pi / 2, math.pi) - math.pi / 2  # of the normal, from the x axis
    edge = torch.hypot(*torch.gradient(x)) > 0
    margin = 0.1 if A is PARALLEL else 0.2  # pixels are no circle, and the rays of a fan differ by its opening
    outside, inside = turned.abs() > math.radians(33) + margin, turned.abs() < math.radians(33) - margin
    assert bool((slopes > 0.05)[edge & outside].all())
    assert bool((slopes == 0)[edge & inside].all())
    assert edge.sum() > 100


def test_a_full_scan_and_two_arcs_that_make_one_leave_nothing():
    x, _ = disc()
    full = ParallelBeam((64, 64), np.arange(0, np.pi, 0.05), 96)
    assert full.unseen_edges(x) is None
    other = ParallelBeam((64, 64), ARC + np.pi / 2, 96)
    both = vstack([PARALLEL, other]).unseen_edges(x)
    alone = PARALLEL.unseen_edges(x)
    assert 0 < (both > 0).sum() < 0.6 * (alone > 0).sum()
    assert torch.equal((2 * PARALLEL).unseen_edges(x), alone)
    assert torch.equal((PARALLEL + other).unseen_edges(x), both)
    assert torch.equal(PARALLEL.lift((2,)).unseen_edges(x.expand(2, 64, 64))[1], alone)


def test_the_page_shows_them(tmp_path):
    x, _ = disc()
    scan = Scan(PARALLEL, PARALLEL(x), 0.01)
    result = reconstruct(scan, "fbp")
    save_report(tmp_path / "page.html", result, scan)
    assert "Unseen edges" in (tmp_path / "page.html").read_text()
    save_report(tmp_path / "alone.html", result)
    assert "Unseen edges" not in (tmp_path / "alone.html").read_text()
