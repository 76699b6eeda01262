"""Near-field radar against the dense formula, and what waves do: peaks, widths, replicas."""

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from laws import data_of, image_of, randn, relative
from PIL import Image
from scipy.constants import c

from invprob import Scan, linalg, load_result, load_scan, metrics, reconstruct, save_scan, solve
from invprob.cli.main import main
from invprob.errors import InputError
from invprob.fidelities import L2, L2Ball
from invprob.linop import LinearOperator, spectrum
from invprob.methods import progress
from invprob.operators import Identity, NearFieldMIMO, PlanarSAR, turntable, x_array
from invprob.operators.radar import near_field, sweeps
from invprob.operators.radar.legs import Leg, Waves, tables
from invprob.phantoms import radar_targets, target_hash, target_magnitude
from invprob.priors import L1, Denoiser, Magnitude, TotalVariation, load_pretrained
from invprob.priors.networks import VolumeUNet
from invprob.priors.networks.volume_unet import folded, unfolded
from invprob.report import save_report
from invprob.report.picture import png_uri
from invprob.report.projections import projections_png, save_projections
from invprob.scan import Units
from invprob.solvers import ADMM, CSALSA
from invprob.training import RadarSettings, Trainer

DOUBLE, WIDE = torch.float64, torch.complex128
FIRST_THREE = {
    "train": "9dd219d3586de20fc20d04886a1cddbbc99dafddebe4a17b21c861c88a6e9ab3",
    "validation": "f677eaa9d116b776b9a188fdb657c89ca843e9f4d3ce671e1962d721265f2fec",
    "test": "ede31eeaf06d3af12404da8e231334350169408a66d9af6e0cb5389f3d5c8255",
}
RANDOM = np.random.default_rng(0)
BAND = np.linspace(4e9, 16e9, 4)
SCENE = (np.linspace(-0.05, 0.05, 4), np.linspace(-0.06, 0.06, 5), np.linspace(0.35, 0.41, 3))


def dense(axes, tx, rx, frequencies, n=1.0):
    """The formula, written out: (k, t, r, voxels)."""
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    to, back = (np.linalg.norm(voxels - np.asarray(p)[:, None], axis=-1) for p in (tx, rx))
    kappa = 2 * np.pi * np.asarray(frequencies) * n / c
    way = to[:, None] + back[None]
    matrix = np.exp(-1j * kappa[:, None, None, None] * way) / (4 * np.pi * to[:, None] * back[None])
    return torch.from_numpy(matrix)


def radar(dtype=DOUBLE, frequencies=BAND, axes=SCENE, **arguments):
    return NearFieldMIMO(axes, *x_array(3, 4), frequencies, dtype=dtype, **arguments)


def cross(frequencies, shape=(25, 25, 49), **arguments):
    axes = [np.linspace(-0.15, 0.15, n) for n in shape[:2]] + [np.linspace(0.35, 0.65, shape[2])]
    return NearFieldMIMO(axes, *x_array(), frequencies, **arguments)


# ---- the model


@pytest.mark.parametrize("frequencies", [BAND, [9e9], [4e9, 5e9, 9e9, 16e9], np.linspace(77e9, 81e9, 150)])
@pytest.mark.parametrize("precision", [(DOUBLE, 1e-12), (torch.float32, 2e-5)], ids=["float64", "float32"])
def test_data_are_those_of_the_formula(frequencies, precision):
    dtype, tol = precision
    A = radar(dtype, frequencies)
    matrix = dense(SCENE, A.tx, A.rx, frequencies)
    x, y = image_of(A, (2,)), data_of(A, (2,))
    assert relative(A(x), torch.einsum("ktrn,bn->bktr", matrix, x.to(WIDE).flatten(1))) < tol
    expected = torch.einsum("ktrn,bktr->bn", matrix.conj(), y.to(WIDE)).reshape(x.shape)
    assert relative(A.adjoint(y), expected) < tol


def test_the_pairs_of_a_list_are_those_of_all():
    A, pairs = radar(), [(2, 0), (0, 3), (1, 1)]
    B = radar(pairs=pairs)
    x = image_of(A, (2,))
    t, r = torch.tensor(pairs).mT
    assert B.range_shape == (4, 3)
    assert relative(B(x), A(x)[..., t, r]) < 1e-12
    one = NearFieldMIMO(SCENE, A.tx, frequencies=BAND, pairs="monostatic", dtype=DOUBLE)
    own = torch.arange(3)
    assert relative(one(x), NearFieldMIMO(SCENE, A.tx, A.tx, BAND, dtype=DOUBLE)(x)[..., own, own]) < 1e-12


def test_medium_patterns_and_gains():
    A, x = radar(), image_of(radar())
    seen, heard = randn((3, 4, 5, 3), WIDE, 1), randn((1, 4, 5, 3), WIDE, 2)
    gain = randn((4, 1, 4), WIDE, 3)
    B = radar(refractive_index=2.83, tx_pattern=seen, rx_pattern=heard, gain=gain)
    matrix = dense(SCENE, A.tx, A.rx, BAND, n=2.83) * (seen[:, None] * heard[None]).reshape(3, 1, -1)
    expected = gain * torch.einsum("ktrn,n->ktr", matrix, x.flatten())
    assert relative(B(x), expected) < 1e-12
    listed = radar(
        refractive_index=2.83, tx_pattern=seen, rx_pattern=heard, gain=gain[:, 0, :2], pairs=[(1, 0), (2, 1)]
    )
    assert relative(listed(x), expected[:, [1, 2], [0, 1]]) < 1e-12


def test_what_is_kept_and_how_voxels_are_grouped_changes_nothing(monkeypatch):
    A, x, y = radar(), image_of(radar(), (2,)), data_of(radar(), (2,))
    d, b = A(x), A.adjoint(y)
    monkeypatch.setattr(near_field, "KEPT", 0)
    assert torch.equal(radar()(x), d)
    monkeypatch.setattr(near_field, "WORKING_SET", 64 * 7)
    fine = cross([5e9, 7e9], (5, 7, 9), dtype=DOUBLE)
    monkeypatch.undo()
    whole, z = cross([5e9, 7e9], (5, 7, 9), dtype=DOUBLE), randn((5, 7, 9), WIDE)
    assert relative(fine(z), whole(z)) < 1e-13
    assert relative(radar().adjoint(y), b) == 0


@pytest.mark.parametrize("pairs", ["all", [(0, 1), (3, 0), (2, 2)]])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_compiled_sweeps_are_the_matrix_products(monkeypatch, pairs, dtype):
    tx, rx = x_array(4, 3)
    axes = (np.linspace(-0.1, 0.1, 7), np.linspace(-0.1, 0.1, 9), np.linspace(0.4, 0.5, 11))
    A = NearFieldMIMO(axes, tx, rx, np.linspace(4e9, 6e9, 70), pairs, dtype=dtype)  # two runs of the recurrence
    x, y = randn((2, *A.domain_shape), A.domain_dtype), randn((2, *A.range_shape), A.domain_dtype)
    swept = A(x), A.adjoint(y), A.back_project(y)
    monkeypatch.setattr(near_field, "even", lambda _: False)
    for found, expected in zip(swept, (A(x), A.adjoint(y), A.back_project(y)), strict=True):
        assert relative(found, expected) < (1e-12 if dtype == DOUBLE else 2e-6)


@pytest.mark.parametrize("band", [[2e9, 2.5e9, 3e9], [2e9, 2.2e9, 3e9], [2e9]], ids=["even", "uneven", "one"])
def test_focusing_has_the_gradient_that_it_has(band):
    A = radar(frequencies=band)
    y = data_of(A).requires_grad_()
    for focus in (A.back_project, A.kirchhoff, A.direct):
        assert torch.autograd.gradcheck(focus, y)


@pytest.mark.parametrize("pairs", ["all", [(0, 1), (1, 0)]])
@pytest.mark.parametrize("band", [[2e9, 2.5e9], [2e9, 2.2e9, 3e9], [2e9]], ids=["even", "uneven", "one"])
def test_no_items_are_no_trouble(band, pairs):
    A = radar(frequencies=band, pairs=pairs)
    x, y = A.domain_shape, A.range_shape
    nothing = torch.zeros(0, *y, dtype=A.domain_dtype)
    assert A(torch.zeros(0, *x, dtype=A.domain_dtype)).shape == (0, *y)
    focusing = [A.adjoint, A.back_project, *([A.kirchhoff] if pairs == "all" else [])]
    assert all(focus(nothing).shape == (0, *x) for focus in focusing)


def test_large_data_have_fewer_sums_of_their_own(monkeypatch):
    monkeypatch.setattr(near_field, "WORKING_SET", 1)
    A = radar()
    x = image_of(A)
    many = A(x)
    monkeypatch.setattr(sweeps, "SUMS", 0)
    assert relative(A(x), many) < 1e-13


def test_tables_that_are_kept_are_counted_with_what_fills_them_up(monkeypatch):
    A = NearFieldMIMO([np.linspace(-0.1, 0.1, 16)] * 2 + [np.linspace(0.4, 0.5, 4)], *x_array(1, 1), [5e9, 6e9])
    get, chunks, _ = A._tables("echo")
    held = sum(legs.starts.nbytes + legs.step.nbytes for k in range(chunks) for legs in get(k)[1:])
    monkeypatch.setattr(near_field, "KEPT", held)
    assert A._keeps
    monkeypatch.setattr(near_field, "KEPT", held - 1)
    assert not A._keeps


def test_threads_share_a_product_bit_for_bit(monkeypatch):
    monkeypatch.setattr(near_field, "WORKING_SET", 2**11)
    A = cross([5e9, 6e9, 7e9], (9, 8, 7))
    x, y, before = randn(A.domain_shape, A.domain_dtype), randn(A.range_shape, A.domain_dtype), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append((A(x), A.adjoint(y)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


def test_a_scan_on_a_plane_is_the_same_by_fourier_transforms():
    step, depths, band = (0.004, 0.005), np.linspace(0.1, 0.13, 4), np.linspace(20e9, 26e9, 4)
    shape, places = (3, 6, 4), (5, 4)
    middle = [
        [h * (np.arange(n) - (n - 1) / 2) for h, n in zip(step, sizes, strict=False)] for sizes in (shape, places)
    ]
    moved = np.stack([*(m.ravel() for m in np.meshgrid(*middle[1], indexing="ij")), np.zeros(20)], -1)
    A = PlanarSAR(shape, places, step, depths, band, dtype=DOUBLE)
    B = NearFieldMIMO([*middle[0], depths], moved, frequencies=band, pairs="monostatic", dtype=DOUBLE)
    x, y = image_of(A, (2,)), data_of(A)
    assert relative(A(x).flatten(-2), B(x)) < 1e-12
    assert relative(A.back_project(y), B.back_project(y.flatten(1))) < 1e-12
    sent, heard = [[0.01, 0, 0], [-0.01, 0.002, 0.001]], [[0, 0.01, 0], [0, -0.01, 0]]
    A = PlanarSAR(shape, places, step, depths, band, tx_offsets=sent, rx_offsets=heard, dtype=DOUBLE)
    own = [(k, k) for k in range(20)]
    for p, (t, r) in enumerate(zip(sent, heard, strict=True)):
        B = NearFieldMIMO([*middle[0], depths], moved + t, moved + r, band, own, dtype=DOUBLE)
        assert relative(A(x)[:, :, p].flatten(-2), B(x)) < 1e-12


# ---- focusing


def kirchhoff(A, y):
    """Kirchhoff's sum as the paper has it, over all voxels at once."""
    voxels = np.stack(np.meshgrid(*A.axes, indexing="ij"), -1).reshape(-1, 3)
    to, back = (np.linalg.norm(voxels - p[:, None], axis=-1)[:, None] for p in (A.tx, A.rx))
    to, back = to, back.swapaxes(0, 1)
    total = 0
    for k, f in enumerate(A.frequencies):
        jk = 2j * np.pi * f / c
        slope = (voxels[:, 2] / to) * (voxels[:, 2] / back)
        w = 4 * slope * (back * to * jk**2 + (back + to) * jk + 1) * np.exp(jk * (to + back)) / (4 * to * back)
        total = total + (torch.from_numpy(w) * y[k][..., None]).sum((0, 1))
    return total.reshape(A.domain_shape)


def test_back_projection_and_kirchhoff_are_their_sums():
    A = radar()
    y = data_of(A)
    phases = dense(SCENE, A.tx, A.rx, BAND)
    phases = phases / phases.abs()
    expected = torch.einsum("ktrn,ktr->n", phases.conj(), y).reshape(A.domain_shape)
    assert relative(A.back_project(y), expected) < 1e-12
    assert relative(A.kirchhoff(y), kirchhoff(A, y)) < 1e-12
    tilted = NearFieldMIMO(SCENE, A.tx + np.array([0, 0, 0.01]), A.rx, BAND)
    with pytest.raises(ValueError, match="kirchhoff is for antennas in one plane"):
        tilted.kirchhoff(data_of(tilted))


def test_points_come_into_focus_where_they_are():
    axes = SCENE[0] * 2, SCENE[1] * 2, np.linspace(0.4, 0.5, 6)
    places = RANDOM.uniform([-0.08, -0.1, 0.41], [0.08, 0.1, 0.49], (20, 3))
    tx, rx = x_array()
    step = [a[1] - a[0] for a in axes]
    for place in places:
        near = [np.linspace(p - 2 * h, p + 2 * h, 17) for p, h in zip(place, step, strict=True)]  # quarters of a voxel
        A = NearFieldMIMO(near, tx, rx, np.linspace(4e9, 16e9, 6))
        y = dense([[p] for p in place], tx, rx, A.frequencies)[..., 0].to(torch.complex64)
        peak = np.unravel_index(int(A.back_project(y).abs().argmax()), (17,) * 3)
        assert all(abs(k - 8) <= 1 for k in peak)


def width(values, step):
    """The -3 dB width of a peak, by interpolation."""
    level = values.max() / math.sqrt(2)
    above = np.flatnonzero(values >= level)
    first, last = above[0], above[-1]
    left = first - (values[first] - level) / (values[first] - values[first - 1])
    right = last + (values[last] - level) / (values[last] - values[last + 1])
    return (right - left) * step


@pytest.mark.parametrize(("count", "deep"), [(5, 9.3e-3), (10, 10.3e-3), (20, 10.8e-3), (40, 11.1e-3)])
def test_resolution_of_the_cross(count, deep):
    tx, rx = x_array()
    band = np.linspace(4e9, 16e9, count)
    y = dense([[0.0], [0.0], [0.5]], tx, rx, band)[..., 0]
    y = (y / y.abs()).to(torch.complex64)  # without amplitudes
    line = np.linspace(-0.04, 0.04, 161)

    def along(axes):
        return NearFieldMIMO(axes, tx, rx, band).back_project(y).abs().flatten().double().numpy()

    assert width(along(([0.0], [0.0], 0.5 + line / 2)), 0.25e-3) == pytest.approx(deep, rel=0.08)
    if count > 5:
        assert width(along((line, [0.0], [0.5])), 0.5e-3) == pytest.approx(30.5e-3, rel=0.08)


def test_echoes_repeat_in_range():
    tx, rx = x_array()
    band = np.linspace(4e9, 16e9, 5)
    y = dense([[0.0], [0.0], [0.5]], tx, rx, band)[..., 0].to(torch.complex64)
    A = NearFieldMIMO(([0.0], [0.0], np.linspace(0.35, 0.65, 601)), tx, rx, band)
    assert A.range_ambiguity == pytest.approx(c / (2 * 3e9))
    image = A.back_project(y).abs().flatten()
    z = A.axes[2]
    for k, least in ((-2, 0.5), (-1, 0.85), (1, 0.85), (2, 0.5)):
        place = np.abs(z - 0.5 - k * A.range_ambiguity) < 0.008
        assert z[place][int(image[place].argmax())] == pytest.approx(0.5 + k * A.range_ambiguity, abs=0.004)
        assert float(image[place].max() / image.max()) > least
    assert any("echoes repeat every 5 cm" in doubt for doubt in A.doubts())


def test_resolution_of_a_planar_scan():
    step, wave = 0.25e-3, c / 79e9
    band, depths = np.linspace(77e9, 81e9, 24), 0.28 + np.linspace(-0.015, 0.015, 31)
    antenna = np.linspace(-0.1, 0.1, 51)
    sent = np.stack([*(a.ravel() for a in np.meshgrid(antenna, antenna)), np.zeros(51**2)], -1)
    line = step * (np.arange(41) - 20)
    y = NearFieldMIMO(([0.0], [0.0], [0.28]), sent, frequencies=band, pairs="monostatic")(torch.ones(1, 1, 1) + 0j)
    A = NearFieldMIMO((line, [0.0], [0.28]), sent, frequencies=band, pairs="monostatic")
    edge = math.atan(0.1 / 0.28)
    across = width(A.back_project(y).abs().flatten().double().numpy(), step)
    assert across == pytest.approx(0.886 * wave / (4 * math.sin(edge)), rel=0.08)
    assert across == pytest.approx(2.5e-3, rel=0.08)
    A = NearFieldMIMO(([0.0], [0.0], depths), sent, frequencies=band, pairs="monostatic")
    deep = width(A.back_project(y).abs().flatten().double().numpy(), 1e-3)
    kappa = 2 * math.pi * band / c
    assert deep == pytest.approx(0.886 * 2 * math.pi / (2 * kappa[-1] - 2 * kappa[0] * math.cos(edge)), rel=0.15)
    assert deep == pytest.approx(17.7e-3, rel=0.1)


def test_range_migration_is_nearly_back_projection():
    A = PlanarSAR((24, 20, 13), (30, 26), 0.004, np.linspace(0.2, 0.32, 13), np.linspace(20e9, 26e9, 16))
    x = torch.zeros(A.domain_shape, dtype=torch.complex64)
    x[5, 14, 4] = 1
    x[16, 6, 9] = 1j
    y = A(x)
    r, b = A.range_migration(y).abs(), A.back_project(y).abs()
    assert np.unravel_index(int((r[:12]).argmax()), (12, 20, 13)) == (5, 14, 4)
    assert float((r * b).sum() / (r.norm() * b.norm())) > 0.95
    image = reconstruct(Scan(A, y), "range-migration").x
    factor = (A.range_migration(y).conj() * image).sum() / r.square().sum()
    assert relative(image, factor * A.range_migration(y)) < 1e-5
    with pytest.raises(ValueError, match="range-migration is for scans on a plane"):
        reconstruct(Scan(radar(torch.float32), data_of(radar(torch.float32))), "range-migration")
    pairs = PlanarSAR((2, 2, 1), (2, 2), 0.004, [0.2], [20e9], tx_offsets=[[0.01, 0, 0]], rx_offsets=[[0, 0, 0]])
    with pytest.raises(ValueError, match="one antenna that sends and receives"):
        pairs.range_migration(data_of(pairs))
    alone = PlanarSAR((2, 2, 1), (2, 2), 0.004, [0.2], [20e9], tx_offsets=[[0, 0, 0]])  # whose data name their pair
    with pytest.raises(ValueError, match="one antenna that sends and receives"):
        alone.range_migration(data_of(alone))
    behind = PlanarSAR((2, 2, 1), (2, 2), 0.004, [-0.2], [20e9])
    with pytest.raises(ValueError, match="layers before the antenna"):
        behind.range_migration(data_of(behind))
    assert A.range_migration(y[None][:0]).shape == (0, *A.domain_shape)


def test_direct_images_explain_the_data_best():
    A = radar(torch.float32)
    y = data_of(A)
    for method in ("direct", "back-projection", "matched-filter", "kirchhoff"):
        x = reconstruct(Scan(A, y), method).x
        echo = A(x)
        assert abs(torch.vdot(echo.flatten(), (y - echo).flatten())) < 1e-4 * float(y.norm() * echo.norm())
    with pytest.raises(ValueError, match="back-projection is for radars"):
        reconstruct(Scan(Identity((3, 3)), torch.zeros(3, 3)), "back-projection")


# ---- systems and the constrained problem


def test_systems_are_solved_in_measurement_space():
    A = NearFieldMIMO((SCENE[0], SCENE[1], np.linspace(0.35, 0.45, 6)), *x_array(3, 4), BAND, dtype=DOUBLE)
    assert A.solved_by_rows
    assert "solved in measurement space" in repr(A)
    b, shift = image_of(A, (2,)), torch.tensor([0.5, 20.0], dtype=DOUBLE)
    x = linalg.solve_normal([(A, None, torch.tensor([1.0, 2.0])), (None, None, shift)], b)
    matrix = dense(A.axes, A.tx, A.rx, BAND).flatten(0, 2)
    for item, rho, s in ((0, 1.0, 0.5), (1, 2.0, 20.0)):
        system = rho * matrix.mH @ matrix + s * torch.eye(120)
        assert relative(x[item].flatten(), torch.linalg.solve(system, b[item].flatten())) < 1e-10
    assert relative((3j * A).solve(b[0], 0.7), solve_dense(9 * matrix.mH @ matrix, 0.7, b[0])) < 1e-10
    gain = randn((4, 3, 1), WIDE, 5)
    B = NearFieldMIMO(A.axes, A.tx, A.rx, BAND, gain=gain, dtype=DOUBLE)
    G = (gain * matrix.reshape(4, 3, -1)).reshape(48, 120)
    assert relative(B.solve(b[0], 0.7), solve_dense(G.mH @ G, 0.7, b[0])) < 1e-10


@pytest.mark.parametrize("shift", [1.0, 1e-2, 1e-4, 1e-6])
def test_single_precision_solves_to_the_tolerance(shift):
    """Woodbury's formula alone loses as many digits as |A|^2 / shift has, and leaves half of b at 1e-6."""
    A = radar(torch.float32, axes=[np.linspace(-0.1, 0.1, 6)] * 2 + [np.linspace(0.4, 0.5, 6)])
    assert A.solved_by_rows
    shift = shift * float(A.norm()) ** 2
    b = A.adjoint(data_of(A))
    x = A.solve(b, shift)
    assert relative(A.gram(x) + shift * x, b) < 2e-6


def test_tables_follow_the_operator_to_another_device():
    for A in (radar(torch.float32).to("meta"), PlanarSAR((4, 4, 2), (4, 4), 0.004, [0.2, 0.3], [20e9]).to("meta")):
        x = torch.empty(A.domain_shape, dtype=torch.complex64, device="meta")
        assert A._adjoint(A._forward(x)).device.type == "meta"


def test_tables_that_are_kept_are_counted():
    for frequencies in (np.linspace(1e9, 2e9, 200), np.geomspace(1e9, 2e9, 200)):
        waves = Waves(Leg(torch.ones(1, 1), torch.ones(1, 1)), frequencies, WIDE, torch.device("cpu"))
        held = len(waves._starts) + sum(t is not None for t in (waves._step, waves._way))
        assert held == tables(frequencies) == 5


def solve_dense(matrix, shift, b):
    return torch.linalg.solve(matrix + shift * torch.eye(len(matrix), dtype=DOUBLE), b.flatten()).reshape(b.shape)


def small():
    axes = np.linspace(-0.1, 0.1, 6), np.linspace(-0.1, 0.1, 6), np.linspace(0.4, 0.5, 6)
    A = NearFieldMIMO(axes, *x_array(3, 4), BAND, dtype=DOUBLE)
    x = torch.zeros(A.domain_shape, dtype=WIDE)
    x[1, 2, 3], x[4, 4, 1] = 1, 0.8j
    clean = A(x)
    sigma = 0.03 * float(clean.abs().square().mean().sqrt())
    return A, x, clean + sigma * randn(clean.shape, WIDE, 9), sigma


def test_an_iteration_takes_one_product_with_each(monkeypatch):
    A, _, y, sigma = small()
    f, g = L2Ball(A, y, sigma * 48**0.5), Magnitude(L1(1.0, ndim=3))
    solver = CSALSA(tau=0.05)
    state = solver.init(f, g, f.start())
    step, calls = solver.prepared(f, g, state), []
    for name in ("_forward", "_adjoint"):
        hook = getattr(type(A), name)
        monkeypatch.setattr(type(A), name, lambda self, t, hook=hook, name=name: (calls.append(name), hook(self, t))[1])
    state = step(state)
    assert sorted(calls) == ["_adjoint", "_forward"]
    monkeypatch.undo()
    # the shortcut to A s is A s, and s is exact
    kappa = 1e-2 * A.norm() ** 2
    image, data = state.x + state.dual, state.data + state.data_dual
    after = step(state)
    expected = A.solve(kappa * image + A.adjoint(data), kappa)
    assert relative(after.primal, expected) < 1e-9
    assert relative(after.data_dual, state.data_dual - (A(expected) - after.data)) < 1e-8


def test_many_systems_are_worth_more_readings(monkeypatch):
    """Enough iterations speak for the factors of A A^H that a single system does not ask for."""
    monkeypatch.setattr(spectrum, "MOST_ROWS", 10)
    monkeypatch.setattr(spectrum, "PER_SYSTEM", 4)
    A, _, y, sigma = small()
    g, size, calls = Magnitude(L1(1.0, ndim=3)), sigma * 48**0.5, []
    assert (A.row_spectrum(11), A.row_spectrum(12) is None) == (None, False)
    monkeypatch.setattr(NearFieldMIMO, "_forward", lambda A, x, own=A._forward: (calls.append(len(x)), own(x))[1])
    f = L2Ball(A, y[None], size)
    for iterations, systems, products in ((3, None, None), (12, None, 1), (3, 12, 1)):
        solver = CSALSA(max_iter=iterations, tau=0.05, systems=systems)
        state = solver.init(f, g, f.start())
        step = solver.prepared(f, g, state)
        calls.clear()
        step(state)
        assert len(calls) == products if products else len(calls) > 2


def test_the_constrained_problem_is_solved_to_the_ball():
    A, truth, y, sigma = small()
    eps = sigma * 48**0.5
    f, g = L2Ball(A, y, eps), Magnitude(L1(1.0, ndim=3))
    ours = solve(CSALSA(tau=0.02, max_iter=2000, tol=1e-5), f, g)
    assert ours.status == "converged"
    assert float((A(ours.x) - y).norm()) <= eps * (1 + 1e-3)
    peer = solve(ADMM(max_iter=300, tol=1e-4), f, L1(1.0, ndim=3))  # the modulus of complex numbers, the same norm
    assert float(g.value(ours.x)) == pytest.approx(float(g.value(peer.x)), rel=1e-2)
    assert relative(ours.x, truth) < 0.2
    # without eigenvectors, by conjugate gradients
    by_cg = solve(CSALSA(tau=0.02, max_iter=2000, tol=1e-5, x_tol=1e-6), L2Ball(hidden(A), y, eps), g)
    assert relative(by_cg.x, ours.x) < 1e-2


def hidden(A):
    return LinearOperator.from_functions(A, A.adjoint, A.domain_shape, A.range_shape, dtype=DOUBLE, is_complex=True)


def test_without_a_prior_least_squares_are_reached():
    A, _, y, _ = small()
    same = Denoiser(lambda v, sigma: v, sigma=1.0, ndim=3, complex_as="magnitude", power_steps=0)
    eps = 0.01 * float(y.norm())
    found = solve(CSALSA(max_iter=500, tol=1e-8), L2Ball(A, y, eps), same)
    assert float((A(found.x) - y).norm()) <= eps * (1 + 1e-3)


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"kappa": 0.0}, {"tau": -1.0}, {"falling": 1.5}, {"rising": 0.5}, {"x_tol": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CSALSA(**wrong)
    A, _, y, _ = small()
    f = L2(A, y)
    with pytest.raises(TypeError, match="must be an L2Ball"):
        CSALSA().init(f, Magnitude(L1(1.0, ndim=3)), f.start())


@pytest.mark.parametrize("method", ["l1-magnitude", "tv-magnitude", "wavelet-magnitude", "pnp-magnitude"])
def test_zero_data_give_the_zero_image(method):
    A = radar(torch.float32, axes=[np.linspace(-0.05, 0.05, 4)] * 2 + [np.linspace(0.4, 0.5, 4)])
    y = torch.stack([0 * data_of(A), data_of(A)])
    assert not bool(reconstruct(Scan(A, y, 0.1), method, max_iter=3).x[0].any())


@pytest.mark.parametrize("method", ["l1-magnitude", "tv-magnitude", "wavelet-magnitude", "pnp-magnitude"])
def test_methods_end_on_the_ball(method):
    A, truth, y, sigma = small()
    settings = {"denoiser": shrink, "level": 0.1} if method == "pnp-magnitude" else {}
    scan = Scan(A, torch.stack([y, 1e-6 * y]), torch.tensor([sigma, 1e-6 * sigma]), torch.stack([truth, 1e-6 * truth]))
    result = reconstruct(scan, method, max_iter=120, **settings)
    misfit = result.certificate.residual_to_noise
    assert 0.75 < float(misfit.min()) <= float(misfit.max()) < (1.2 if method == "pnp-magnitude" else 1.1)  # a bound
    assert relative(result.x[1], 1e-6 * result.x[0]) < 1e-3
    if method == "l1-magnitude":
        assert relative(result.x[0], truth) < 0.25


def test_a_denoiser_of_magnitudes_is_shipped():
    D = load_pretrained("radar-denoiser")
    assert (D.ndim, D.sigma_range) == (3, (0.0, 0.3))
    clean = radar_targets("test", 1).abs()
    noisy = (clean + 0.1 * randn(clean.shape, torch.complex64)).abs()
    before, after = (float(metrics.psnr(x, clean, data_range=1.0, ndim=3)) for x in (noisy, D(noisy, 0.1)))
    assert after > before + 15  # 22 on the card's validation targets
    A, _, y, sigma = small()
    scan = Scan(A.to(torch.float32), y.to(torch.complex64), sigma)
    few = {"max_iter": 3}
    assert torch.equal(
        reconstruct(scan, "pnp-magnitude", **few).x, reconstruct(scan, "pnp-magnitude", denoiser=D, **few).x
    )


def test_magnitudes_are_those_of_complex_images():
    for method in ("l1-magnitude", "tv-magnitude", "wavelet-magnitude"):
        with pytest.raises(ValueError, match="for complex images, and these data are real: use tv"):
            reconstruct(Scan(Identity((3, 3)), torch.ones(3, 3)), method)


def shrink(v, sigma):
    return (v - linalg.per_item(sigma, v, 3)).clamp(min=0)


def test_the_noise_is_found_where_it_is_not_told():
    A, truth, y, sigma = small()
    found = reconstruct(Scan(A, y), "l1-magnitude", max_iter=100)
    assert 0.2 < found.settings["eps"] / (sigma * 48**0.5) < 20
    weights = torch.ones(A.range_shape, dtype=DOUBLE)
    weights[1, 2] = 0
    spoilt = torch.where(weights > 0, y, 1e3)
    result = reconstruct(Scan(A, spoilt, sigma, weights=weights), "l1-magnitude", max_iter=300)
    assert relative(result.x, truth) < 0.35


# ---- the prox of a prior on magnitudes


def test_the_prox_of_a_magnitude_prior_is_the_best_there_is():
    g, v = Magnitude(TotalVariation(0.3, ndim=3)), randn((2, 2, 3), WIDE, 4)
    x = g.prox(v, 1.0)

    def objective(z):
        return float(g.value(z) + 0.5 * (z - v).abs().square().sum())

    least = objective(x)
    for seed in range(200):
        for size in (1e-3, 3e-2, 1.0):
            assert objective(x + size * randn(v.shape, WIDE, seed)) >= least - 1e-9
    l1 = Magnitude(L1(0.4, ndim=3)).prox(v, 1.0)
    assert relative(l1, v * (1 - 0.4 / v.abs()).clamp(min=0)) < 1e-12


# ---- what is refused, and what is doubted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"frequencies": [4.0, 16.0]}, "give hertz and metres"),
        ({"frequencies": [5e9, 4e9]}, "must ascend, got 4e"),
        ({"frequencies": [5e9, 5e9]}, "must ascend"),
        ({"frequencies": [-4e9, 4e9]}, "must be positive, got -4e"),
        ({"frequencies": []}, "list of finite numbers"),
        ({"pairs": [(0, 4)]}, r"pair \(0, 4\) does not exist: transmitters are 0 to 2, receivers 0 to 3"),
        ({"pairs": [(0, 1), (0, 1)]}, "a pair comes twice"),
        ({"pairs": [0.5, 1]}, "whole numbers"),
        ({"pairs": "some"}, "must be 'all', 'monostatic' or a list"),
        ({"pairs": "monostatic"}, "3 transmitters and 4 receivers"),
        ({"axes": (SCENE[0], SCENE[1], [0.3, 0.0])}, "axis z must ascend"),
        ({"axes": (SCENE[0], SCENE[1], [0.0, 0.1, 0.3])}, "in even steps"),
        ({"axes": SCENE[:2]}, "axes are those of x, y and z"),
        ({"refractive_index": 0.0}, "refractive_index must be positive"),
        ({"gain": np.ones(5)}, r"gain must be finite and broadcast to \(4, 3, 4\)"),
        ({"tx_pattern": np.ones((4, 4, 5, 3))}, "tx_pattern must be finite and broadcast"),
    ],
)
def test_geometries_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        radar(**arguments)


def test_scans_that_make_no_sense_are_refused():
    sound = {
        "image_shape": (2, 3, 2),
        "scan_shape": (4, 4),
        "spacing": 0.004,
        "depths": [0.2, 0.3],
        "frequencies": [2e10],
    }
    for wrong, words in (
        ({"depths": [0.0, 0.1]}, "passes through a layer"),
        ({"image_shape": (2, 3, 3)}, "with Z = 2 depths"),
        ({"spacing": 0.0}, "must be positive"),
        ({"tx_offsets": [[0, 0, 0]], "rx_offsets": [[0, 0, 0]] * 2}, "do not pair up"),
        ({"frequencies": [20.0]}, "give hertz"),
    ):
        with pytest.raises(ValueError, match=words):
            PlanarSAR(**{**sound, **wrong})


def test_what_is_doubted():
    A = cross(np.linspace(4e9, 16e9, 12), (9, 9, 9))
    x = torch.zeros(A.domain_shape, dtype=torch.complex64)
    x[2:5, 3:7, 4] = 1
    y = A(x)
    assert not any("conjugate" in doubt for doubt in A.doubts(y))
    assert any("give their conjugate" in doubt for doubt in A.doubts(y.conj().resolve_conj()))
    assert any("one frequency" in doubt for doubt in radar(frequencies=[9e9]).doubts())
    ring = np.array([[0.05, 0.0, 0.03], [-0.05, 0.0, 0.03]])
    axes = (np.linspace(-0.06, 0.06, 8),) * 2 + (np.linspace(0, 0.06, 4),)
    inside = NearFieldMIMO(axes, ring, frequencies=BAND, pairs="monostatic")
    assert any("2 antennas stand inside the box" in doubt for doubt in inside.doubts())
    assert not any("in a voxel" in doubt for doubt in inside.doubts())
    hit = NearFieldMIMO(
        (*axes[:2], np.linspace(0, 0.06, 5)), [[axes[0][2], axes[1][3], 0.015]], frequencies=BAND, pairs="monostatic"
    )
    assert any("stands in a voxel" in doubt for doubt in hit.doubts())
    assert bool(hit.adjoint(data_of(hit)).isfinite().all())


def test_whole_frequencies_are_held_out():
    A = radar(frequencies=np.linspace(4e9, 8e9, 40))
    drawn = A.hold_out(0.1, torch.Generator().manual_seed(0))
    assert int(drawn.sum()) == 4 * 12
    assert bool((drawn.flatten(1).all(1) == drawn.flatten(1).any(1)).all())
    assert (A.data_kind, A.grid.unit) == ("samples", "m")
    assert A.grid.spacing == pytest.approx((0.1 / 3, 0.03, 0.03))


def test_half_of_an_array_has_every_other_transmitter():
    gain = randn((len(BAND), 1, 4), WIDE, seed=1).numpy()
    pattern, pairs = np.linspace(1, 2, 3)[:, None, None, None], [(0, 1), (2, 2), (1, 3)]
    for arguments in ({"gain": gain, "tx_pattern": pattern}, {"pairs": pairs, "tx_pattern": pattern}):
        A = radar(**arguments)
        half, restrict, averaged = A.thinned()
        x = torch.stack([image_of(A), image_of(A, seed=5)])
        assert relative(half(x), restrict(A(x))) < 1e-12
        assert averaged == 1
        assert half.range_shape == ((4, 2, 4) if half.pairs is None else (4, 2))
    assert radar(pairs=[(0, 1)]).thinned() is None


def test_a_turntable_is_a_scan_by_an_antenna_that_goes_round():
    angle, place = 0.3, np.array([0.03, -0.02, 0.0])
    antenna = turntable([angle], 1.5, 0.2)
    turned = np.array([place[0] * math.cos(angle) - place[1] * math.sin(angle),
                       place[0] * math.sin(angle) + place[1] * math.cos(angle), 0.0])  # fmt: skip
    way = np.linalg.norm(turned - [1.5, 0, 0.2])
    assert np.linalg.norm(antenna[0] - place) == pytest.approx(way)


# ---- files


def complex_rows(values):
    return "\n".join(",".join(f"{v.real:.9g}{v.imag:+.9g}i" for v in row) for row in values)


def multistatic(folder):
    places = [[0.05, 0.0, 0.02], [-0.03, 0.04, 0.02], [0.0, -0.05, 0.02]]
    beside = {"antenna_locations": places, "channel_names": [[1, 2], [3, 1]], "frequencies": [[2e9], [3e9]]}
    for name, rows in beside.items():
        (folder / f"{name}.csv").write_text("\n".join(",".join(f"{v:g}" for v in row) for row in rows))
    (folder / "a.csv").write_text(complex_rows([[1 + 2j, -0.5 - 1j], [3e-3j, 1 - 4e-2j]]))


def test_multistatic_text_files(tmp_path):
    multistatic(tmp_path)
    (tmp_path / "b.csv").write_text(complex_rows([[1 + 0j, 0j], [0j, 1j]]))
    scan = load_scan(tmp_path / "a.csv", reference=str(tmp_path / "b.csv"), permittivity=4.0)
    expected = torch.tensor([[2j, -0.5 - 1j], [3e-3j, 1 - 1.04j]])
    assert relative(scan.data, expected.to(torch.complex64)) < 1e-6
    A = scan.operator
    assert A.pairs.tolist() == [[0, 1], [2, 0]]
    assert (A.refractive_index, scan.units.length) == (2.0, "m")
    assert A.frequencies.tolist() == [2e9, 3e9]
    assert scan.provenance["correction"] == "b.csv taken off"
    (tmp_path / "frequencies.csv").write_text("2e9")
    with pytest.raises(InputError, match="do not fit 1 frequencies and 2 channels"):
        load_scan(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("antenna_locations", "0,0\n0.1,0\n0,0.1", "rows must be x, y and z"),
        ("antenna_locations", "0,0,0\n50,0,0\n0,50,0", "give metres"),
        ("antenna_locations", "0,0,0\n0.1,0,1+2i\n0,0.1,0", "some are complex"),
        ("antenna_locations", "0,0,0\n0.1,nan,0\n0,0.1,0", "give metres"),
        ("channel_names", "1,1.7\n3,1", "must hold whole numbers"),
        ("channel_names", "1,2\n3,7", "does not exist"),
        ("a", "1+2i,nan+nani\n1+0i,1+0i", "the signals are NaN or infinite"),
    ],
)
def test_damaged_multistatic_files_are_refused_in_words(tmp_path, name, text, words):
    multistatic(tmp_path)
    (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        load_scan(tmp_path / "a.csv")


def test_a_scan_is_written_and_read(tmp_path):
    for number, A in enumerate((radar(torch.float32, pairs=[(0, 1)]), radar(torch.float32))):
        scan = Scan(A, data_of(A), 0.1, image_of(A))
        save_scan(tmp_path / f"{number}.h5", scan)
        again = load_scan(tmp_path / f"{number}.h5")
        assert repr(again.operator) == repr(A)
        assert torch.equal(again.operator(image_of(A)), A(image_of(A)))


def test_the_command_simulates_a_radar(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    radar_options = ["--phantom", "radar-target", "--geometry", "x-array"]
    assert main(["simulate", "a.h5", *radar_options, "--frequencies", "2", "--snr", "20"]) == 0
    scan = load_scan("a.h5")
    assert scan.operator.range_shape == (2, 12, 13)
    noise = scan.data - scan.operator(scan.truth)
    level = 20 * math.log10(float(scan.operator(scan.truth).norm() / noise.norm()))
    assert level == pytest.approx(20, abs=0.5)
    assert scan.noise == pytest.approx(float(noise.abs().square().mean().sqrt()), rel=0.1)
    for wrong in (radar_options[:2], [*radar_options, "--photons", "5"], ["--snr", "3"]):
        assert main(["simulate", "b.h5", *wrong]) == 2
    capsys.readouterr()


def test_a_page_and_a_picture_show_a_radar_along_its_axes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    A = radar(torch.float32)
    save_scan("a.h5", Scan(A, data_of(A), 0.1))
    outputs = ["-o", "b.h5", "--png", "b.png", "--report", "b.html"]
    assert main(["reconstruct", "a.h5", "--method", "matched-filter", *outputs]) == 0
    assert re.search("lengths in m, .*largest magnitude along each axis, in dB", capsys.readouterr().out, re.DOTALL)
    volume = load_result("b.h5").x
    drawn = projections_png(volume, A.axes)
    assert Path("b.png").read_bytes() == drawn
    page = Path("b.html").read_text()
    assert "The largest magnitude along each axis" in page
    assert png_uri(drawn) in page
    assert "y down, z to the right" in page
    assert f"<span>{float(volume.abs().max()):.4g} " in page  # white is the largest magnitude
    spoilt = load_result("b.h5")
    spoilt.x[0, 0, 0] = torch.nan
    save_report("c.html", spoilt, load_scan("a.h5"))
    # of a plane there is one view
    plane = projections_png(volume[:, :, :1], (*A.axes[:2], [0.5]))
    assert Image.open(io.BytesIO(plane)).width < Image.open(io.BytesIO(drawn)).width / 2


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"level": 1e300}, "level must be a number from 1e-09 to 1000, got 1e\\+300"),
        ({"falling": 0.0}, "falling must be a number > 0 and at most 1, got 0.0"),
        ({"rising": 0.5}, "rising must be a number from 1 to 1000, got 0.5"),
    ],
)
def test_paces_out_of_range_are_refused_before_the_work(setting, words):
    A = radar(torch.float32)
    with pytest.raises(ValueError, match=words):
        next(progress(Scan(A, data_of(A), 0.1), "pnp-magnitude", **setting))


def test_lengths_of_a_scan_are_metres():
    A = radar()
    with pytest.raises(ValueError, match="NearFieldMIMO counts in m, not in mm"):
        Scan(A, data_of(A), units=Units(length="mm"))
    assert Scan(A, data_of(A)).units.length == "m"
    coarse = NearFieldMIMO([1e3 * axis for axis in SCENE], 1e3 * A.tx, 1e3 * A.rx, BAND)
    assert any("check that lengths are given in metres" in doubt for doubt in coarse.doubts())
    assert not any("metres" in doubt for doubt in A.doubts())


def test_projections_are_drawn_in_metres_and_decibels(tmp_path):
    volume = torch.zeros(3, 4, 5, dtype=torch.complex64)
    volume[1, 2, 3] = 1j
    axes = [np.linspace(0, 1, n) for n in (3, 4, 5)]
    save_projections(tmp_path / "a.png", volume, axes, title="a point")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="does not fit its axes"):
        save_projections(tmp_path / "b.png", volume, axes[:2])


# ---- targets and the network of volumes


def test_targets_are_the_same_every_time():
    for split, digest in FIRST_THREE.items():
        assert target_hash(radar_targets(split, 3)) == digest
    one, two = radar_targets("test", 1, first=2)[0], radar_targets("test", 3)[2]
    assert torch.equal(one, two)
    size = one.abs()
    assert float(size.max()) == pytest.approx(1)
    assert 1e-3 < float((size > 0.5).float().mean()) < 0.1
    with pytest.raises(ValueError, match="test has the numbers 0 to 99"):
        radar_targets("test", 3, first=98)


def test_a_target_is_the_same_at_every_resolution():
    """Its edges are sharp, so places and sizes are compared, in voxels of the coarse grid."""
    coarse = target_magnitude(5, (12, 12, 12), (1, 1, 1)) > 0.3
    fine = target_magnitude(5, (36, 36, 36), (1, 1, 1))[1::3, 1::3, 1::3] > 0.3
    centre = [seen.nonzero().double().mean(0) for seen in (coarse, fine)]
    assert float((centre[0] - centre[1]).abs().max()) < 0.5
    assert float(coarse.sum()) == pytest.approx(float(fine.sum()), rel=0.5)


def test_the_network_of_volumes():
    D = VolumeUNet((4, 6), fold=(1, 2, 2), generator=1)
    with torch.no_grad():
        D.tail.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    v, sigma = randn((2, 3, 5, 7, 6), torch.float32), torch.rand(2, 3)
    out = D(v, sigma)
    assert relative(out[1, 2], D(v[1, 2], sigma[1, 2])) < 1e-5
    assert relative(D(4 * v, 4 * sigma), 4 * out) < 1e-5  # without bias
    assert (
        relative(VolumeUNet(**VolumeUNet((4, 6), fold=(1, 2, 2)).arguments)(v, sigma), v) == 0
    )  # D starts as identity
    x = randn((1, 2, 4, 6, 2))
    assert torch.equal(unfolded(folded(x, (2, 3, 1)), (2, 3, 1)), x)
    with pytest.raises(ValueError, match="real images, got a complex one"):
        D(v + 0j, sigma)
    with pytest.raises(ValueError, match="sigma has shape"):
        D(v, torch.rand(4))


def test_the_training_sees_magnitudes_under_complex_noise():
    trainer = Trainer(RadarSettings.checked({"steps": 2, "batch": 2, "channels": "2-3", "precision": "float32"}))
    batch = trainer.batches(0)
    assert float(batch.noisy.min()) >= 0
    empty = batch.clean[0] == 0
    power = float(batch.noisy[0][empty].square().mean().sqrt() / batch.sigma[0])
    assert power == pytest.approx(1, rel=0.02)
    assert trainer.task.stored is torch.float16
    while not trainer.done:
        assert bool(trainer.advance().isfinite())


def test_the_page_runs():
    page = (Path(__file__).parents[1] / "docs" / "radar.md").read_text(encoding="utf-8")
    for code in re.findall("```python\n(.*?)```", page, re.DOTALL):
        exec(code, {})
