"""Real scans, end to end; skipped where the shared data are absent."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from skimage.filters import threshold_otsu

from invprob.io import load_scan
from invprob.methods import reconstruct

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "ct"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared real data are not on this machine")


def correlation(a, b):
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def test_the_official_reconstruction_of_the_helsinki_disc_is_ours():
    """No flip and no rotation: every other orientation correlates less."""
    official = scipy.io.loadmat(DATA / "htc2022" / "htc2022_ta_full_recon_fbp.mat")["reconFullFbp"]
    ours = reconstruct(load_scan(DATA / "htc2022" / "htc2022_ta_full.mat"), "fbp").x.numpy()
    assert correlation(ours, official) > 0.995
    assert abs(ours.mean() / (6.74 * official.mean()) - 1) < 0.01
    for turned in (ours[::-1], ours[:, ::-1], ours.T, np.rot90(ours)):
        assert correlation(turned, official) < 0.99


def test_the_tooth_finds_its_axis_and_tv_beats_fbp_from_every_fourth_view():
    path = DATA / "tooth" / "tooth.h5"
    full = load_scan(path, rows=slice(0, 1))
    column = (full.operator.detectors - 1) / 2 + full.operator.axis_offset
    assert abs(column - 296) <= 1
    reference = reconstruct(full, "fbp", window="hann").x
    few = load_scan(path, rows=slice(0, 1), views=slice(0, None, 4), axis=column)
    error = {
        m: float(torch.dist(reconstruct(few, m, **s).x, reference))
        for m, s in (("fbp", {}), ("tv", {"strength": 1e-3, "tol": 5e-3}))
    }
    assert error["tv"] < 0.5 * error["fbp"], error


def test_a_quarter_turn_of_the_helsinki_disc_is_segmented():
    """A coarse copy of the limited-angle task: 128 x 128, default strength, converged, Otsu's threshold."""
    segmentation = scipy.io.loadmat(DATA / "htc2022" / "htc2022_ta_full_recon_fbp_seg.mat")["reconFullFbpSeg"]
    truth = segmentation.reshape(128, 4, 128, 4).mean((1, 3)) > 0.5
    scan = load_scan(DATA / "htc2022" / "htc2022_ta_full.mat", views=slice(0, 181), image_shape=(512, 512))
    A, y = scan.operator, scan.data
    for _ in range(2):
        A, restrict, _ = A.coarser()
        y = restrict(y)
    from invprob.scan import Scan

    result = reconstruct(Scan(A, y), "tv")
    assert result.status == "converged"
    found = result.x.numpy() > threshold_otsu(result.x.numpy())
    assert correlation(found, truth) > 0.90  # of two masks this is Matthews' coefficient
