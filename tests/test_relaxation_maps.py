"""Maps of relaxation times: models against formulas and differences, maps against the tissues of a phantom."""

import pytest
import torch
from laws import randn

from invprob import Scan, load_result, phantoms, reconstruct, save_report, save_result
from invprob.cli.result_description import describe_result
from invprob.methods.relaxation_maps import FAINT
from invprob.operators import CartesianMRI
from invprob.operators.mri.relaxation_units import RelaxationUnits
from invprob.operators.mri.signal_models import InversionRecovery, MultiEcho
from invprob.transforms import Identity

DOUBLE, COMPLEX = torch.float64, torch.complex128
TE = [12.0 * i for i in range(1, 7)]
TI = [100.0, 300.0, 700.0, 1500.0, 3000.0]
MODELS = {"echoes": (MultiEcho, TE, 20.0), "inversion": (InversionRecovery, TI, 1.0)}


def seconds(times):
    return [1e-3 * t for t in times]


def parameters(usual, shape, seed=0):
    rates = usual * torch.exp(0.5 * randn(shape, DOUBLE, seed))
    return torch.stack([randn(shape, COMPLEX, seed + 1), rates.to(COMPLEX)])


@pytest.mark.parametrize("kind", MODELS)
def test_model_is_its_formula(kind):
    cls, times, usual = MODELS[kind]
    m, rates = parameters(usual, (3, 4))
    decay = [torch.exp(-t * rates) for t in seconds(times)]
    due = torch.stack([m * (e if kind == "echoes" else 1 - 2 * e) for e in decay])
    model = cls(seconds(times), (3, 4), dtype=DOUBLE)
    assert torch.allclose(model(torch.stack([m, rates])), due, atol=1e-14)


@pytest.mark.parametrize("kind", MODELS)
def test_derivative_against_differences(kind):
    cls, times, usual = MODELS[kind]
    model, x = cls(seconds(times), (3, 4), dtype=DOUBLE), parameters(usual, (2, 3, 4)).movedim(1, 0)
    J, u, h = model.linearised(x), randn((2, 2, 3, 4), COMPLEX, 5), 1e-6
    assert torch.allclose(J(u), (model(x + h * u) - model(x - h * u)) / (2 * h), atol=1e-8)
    assert torch.allclose(J(u), model.jvp(x, u), atol=1e-12)
    v = randn(J(u).shape, COMPLEX, 6)
    assert torch.allclose((J(u).conj() * v).sum().real, (u.conj() * J.adjoint(v)).sum().real)
    assert torch.allclose(J.adjoint(v), model.vjp(x, v), atol=1e-12)


@pytest.mark.parametrize("kind", MODELS)
def test_fit_of_clean_images_is_exact(kind):
    cls, times, usual = MODELS[kind]
    model, x = cls(seconds(times), (8, 9), dtype=DOUBLE), parameters(usual, (8, 9))
    x[1] *= 2
    found = model.fit(model(x))
    assert torch.allclose(found, x, rtol=1e-9)
    assert torch.allclose(model.milliseconds(found), 1e3 / x[1].real, rtol=1e-9)


def test_fit_is_least_squares():
    model = MultiEcho(seconds(TE), (5, 5), dtype=DOUBLE)
    truth = parameters(20.0, (5, 5))
    truth[0] = torch.sgn(truth[0])
    images = model(truth) + 0.05 * randn((6, 5, 5), COMPLEX, 3)
    best = model.fit(images)
    squares = (model(best) - images).abs().square().sum(0)
    for change in (1e-3, -1e-3):
        for row in (0, 1):
            moved = best.clone()
            moved[row] *= 1 + change
            assert bool(((model(moved) - images).abs().square().sum(0) >= squares).all())


@pytest.mark.parametrize("kind", MODELS)
def test_units_move_images_alike_and_apart(kind):
    cls, times, usual = MODELS[kind]
    model = cls(seconds(times), (3, 4), dtype=DOUBLE)
    units = RelaxationUnits(model, torch.tensor([0.7, 2.0], dtype=DOUBLE))
    x = randn((2, 2, 3, 4), COMPLEX, 1)
    x[:, 1] = usual * (1 + 0.3 * x[:, 1].real) / units.b[:, None, None]
    assert torch.allclose(units.inverse(units(x)), x, atol=1e-12)
    J, u, h = units.linearised(x), randn((2, 2, 3, 4), COMPLEX, 5), 1e-6
    assert torch.allclose(J(u), (units(x + h * u) - units(x - h * u)) / (2 * h), atol=1e-6)
    v = randn(J(u).shape, COMPLEX, 6)
    assert torch.allclose((J(u).conj() * v).sum().real, (u.conj() * J.adjoint(v)).sum().real)
    assert torch.allclose(J.adjoint(v), units.vjp(x, v), atol=1e-12)
    at = torch.tensor([[0.7, usual], [2.0, usual]], dtype=COMPLEX)  # the usual magnetisation and rate of both items
    x = units.inverse(at[..., None, None].expand(2, 2, 3, 4))
    one = torch.zeros(2, 2, 2, 3, 4, dtype=COMPLEX)
    one[0, :, 0], one[1, :, 1] = 1, 1
    along, across = (model @ units).linearised(x)(one)
    for moved in (along, across):
        assert torch.allclose(moved.abs().square().sum(-3), torch.ones(2, 3, 4, dtype=DOUBLE))
    assert float((along.conj() * across).sum(-3).real.abs().max()) < 1e-12


def test_models_refuse_what_is_none():
    for times in ([0.01], [0.02, 0.01], [-0.01, 0.01], [0.0, 0.01]):
        with pytest.raises(ValueError, match="positive and rising"):
            MultiEcho(times, (4, 4))
    with pytest.raises(ValueError, match="rate in 1/s"):
        MultiEcho([0.01, 0.02], (4, 4), usual=0.0)


def phantom_scan(size, times, curve, noise, acceleration=2, coils=3):
    """A scan of the vials and the true relaxation times: k-space of the ellipses themselves."""
    tissues, maps = phantoms.vials(size / 2), phantoms.birdcage(coils)
    signals = tissues.magnetisation * curve(torch.tensor(times, dtype=DOUBLE)[:, None], tissues)
    mask = torch.stack([phantoms.random_lines(size, acceleration, i, calibration=8) for i in range(len(times))])
    A = CartesianMRI(
        mask[:, None], maps.sampled((size, size)).to(torch.complex64), image_shape=(size, size), frames=len(times)
    )
    k = tissues.kspace(signals, phantoms.cartesian_positions((size, size)), (size, size), coils=maps)
    y = ((k + noise * randn(k.shape, COMPLEX, 0)) * A.measured).to(torch.complex64)
    return Scan(A, y, noise), tissues


@pytest.fixture(scope="module")
def mapped():
    scan, tissues = phantom_scan(40, TE, lambda t, of: torch.exp(-t / of.t2), 0.01)
    return scan, tissues, reconstruct(scan, "t2-map", echo_times=TE, strength=0.005, max_iter=3)


def regions(tissues, size):
    """The middle of every tissue: pixels all of whose neighbours are of it."""
    label = tissues.map(torch.arange(1.0, len(tissues.t2) + 1), (size, size))
    same = torch.ones_like(label, dtype=torch.bool)
    for step in (-1, 1):
        for axis in (0, 1):
            same &= label == label.roll(step, axis)
    return [(label == k + 1) & same for k in range(len(tissues.t2))]


def test_t2_of_every_tissue(mapped):
    _, tissues, result = mapped
    found = result.maps["T2"]
    assert found.unit == "ms"
    for place, due in zip(regions(tissues, 40), tissues.t2.tolist(), strict=True):
        if int(place.sum()) >= 4:
            assert float(found.values[place].median()) == pytest.approx(due, rel=0.1)


def test_result_holds_the_images_of_the_model(mapped):
    scan, _, result = mapped
    m, t2 = result.maps["M0"].values, result.maps["T2"].values
    known = t2.isfinite()
    due = torch.stack([m * torch.exp(-t / t2) for t in TE])
    assert result.x.shape == scan.operator.domain_shape
    assert torch.allclose(result.x[:, known], due[:, known], rtol=1e-3, atol=1e-4)
    size = result.x.abs().square().sum(0).sqrt()
    outside = size <= 0.9 * FAINT * size.max()
    assert bool(outside.any())
    assert bool(t2[outside].isnan().all())
    assert float(result.certificate.residual_to_noise) == pytest.approx(1, abs=0.4)


def test_maps_do_not_go_with_the_scale_of_data(mapped):
    scan, _, result = mapped
    other = reconstruct(
        Scan(scan.operator, 1e-9 * scan.data, 1e-9 * scan.noise), "t2-map", echo_times=TE, strength=0.005, max_iter=3
    )
    assert torch.allclose(other.maps["T2"].values, result.maps["T2"].values, rtol=2e-2, equal_nan=True)
    assert torch.allclose(1e9 * other.maps["M0"].values, result.maps["M0"].values, rtol=1e-2, atol=1e-3)


def test_maps_in_files_and_pages(mapped, tmp_path, capsys):
    scan, _, result = mapped
    save_result(tmp_path / "maps.h5", result, scan=scan)
    again = load_result(tmp_path / "maps.h5")
    assert again.maps.keys() == {"T2", "M0", "T2 by pixel"}
    for name, found in result.maps.items():
        assert torch.allclose(again.maps[name].values, found.values, equal_nan=True)
        assert (again.maps[name].unit, again.maps[name].of_image) == (found.unit, found.of_image)
    describe_result(tmp_path / "maps.h5")
    assert "ms in the median" in capsys.readouterr().out
    save_report(tmp_path / "maps.html", again, scan)
    text = (tmp_path / "maps.html").read_text()
    assert "T2 by pixel" in text
    assert "grey where the data do not say" in text


def test_batch_of_slices_is_each_alone(mapped, tmp_path):
    scan, _, _ = mapped
    y = torch.stack([scan.data, 2 * scan.data.flip(-1)])
    settings = {"echo_times": "12,24,36,48,60,72", "strength": 0.005, "max_iter": 1}
    both = reconstruct(Scan(scan.operator, y), "t2-map", **settings)
    alone = reconstruct(Scan(scan.operator, y[1]), "t2-map", **settings)
    assert torch.allclose(both.maps["T2"].values[1], alone.maps["T2"].values, rtol=2e-2, equal_nan=True)
    assert both.row(1).maps["M0"].values.shape == (40, 40)
    save_result(tmp_path / "both.h5", both)
    assert load_result(tmp_path / "both.h5").maps["T2"].values.shape == (2, 40, 40)


def test_t1_of_every_tissue():
    def curve(t, of):
        return 1 - 2 * torch.exp(-t / of.t1)

    scan, tissues = phantom_scan(40, TI, curve, 0.01)
    result = reconstruct(scan, "t1-map", inversion_times=TI, strength=0.005, max_iter=3)
    for place, due in zip(regions(tissues, 40), tissues.t1.tolist(), strict=True):
        if int(place.sum()) >= 4:
            assert float(result.maps["T1"].values[place].nanmedian()) == pytest.approx(due, rel=0.1)


def test_what_cannot_be_mapped_is_said():
    A = Identity((3, 8, 8), dtype=torch.float32)
    scan = Scan(A, torch.rand(3, 8, 8))
    for settings, words in (
        ({}, "without the times"),
        ({"echo_times": "12,x"}, "list of numbers"),
        ({"echo_times": "36,24,12"}, "positive and rising"),
        ({"echo_times": [0.012, 0.024, 0.036]}, "multiply times in seconds"),
        ({"echo_times": "12,24"}, r"at 2 times"),
    ):
        with pytest.raises(ValueError, match=words):
            reconstruct(scan, "t2-map", strength=0.1, **settings)


def test_tissues_replace_the_body():
    tissues = phantoms.vials(20)
    image = tissues.images(tissues.magnetisation[None], (40, 40))[0]
    assert torch.allclose(image, tissues.seen(tissues.magnetisation).image((40, 40), dtype=DOUBLE))
    for place, due in zip(regions(tissues, 40), tissues.magnetisation.tolist(), strict=True):
        assert torch.allclose(image[place], torch.full_like(image[place], due))
