"""Likelihoods: what they say against scipy and against drawn data; the recipes under each of them; their file."""

import math

import pytest
import scipy.stats
import torch
from laws import randn, relative
from sealed import edit

from invprob import Scan, load_scan, reconstruct
from invprob.errors import InputError
from invprob.io import load_result, save_scan
from invprob.likelihood import Gaussian, Laplace, Poisson, Transmission, expected_deviance
from invprob.methods.entry import _normalised
from invprob.metrics import psnr
from invprob.operators import Blur, Identity, ParallelBeam
from invprob.phantoms import shepp_logan
from invprob.problem import Problem

N, VIEWS, BINS, SIDE = 40, 40, 58, 4.0
A = ParallelBeam((N, N), torch.arange(VIEWS) * math.pi / VIEWS, BINS, pixel_size=SIDE / N, detector_size=SIDE / N)
TRUTH = shepp_logan(0.9 * SIDE / 2).image((N, N), pixel_size=SIDE / N)
CLEAN = A(TRUTH).double()  # what is asked here is whether priors and likelihoods go together
PHOTONS, BACKGROUND = 1000.0, 10.0


def drawn(mean, seed=1):
    return torch.poisson(mean, generator=torch.Generator().manual_seed(seed)).float()


def gaussian():
    return Scan(A, CLEAN.float() + 0.1 * randn(CLEAN.shape, torch.float32, 1), 0.1), 1


def weighted():
    weights = torch.where(torch.arange(BINS) % 3 > 0, 1.0, 0.1).expand(VIEWS, BINS).clone()
    weights[:, 20] = 0
    spread = 0.06 / weights.clamp(min=1e-3).sqrt()
    return Scan(A, CLEAN.float() + spread * randn(CLEAN.shape, torch.float32, 1), 0.06, weights=weights), 1


def emission():
    return Scan(A, drawn(200 * CLEAN + BACKGROUND), likelihood=Poisson(BACKGROUND)), 200


def transmission():
    return Scan(A, drawn(PHOTONS * torch.exp(-CLEAN)), likelihood=Transmission(PHOTONS)), 1


def outliers():
    y, _ = gaussian()
    bad = torch.rand(CLEAN.shape, generator=torch.Generator().manual_seed(3)) < 0.05
    return Scan(A, torch.where(bad, y.data + 2, y.data), 0.1, likelihood=Laplace()), 1


DATA = {"gaussian": gaussian, "weighted": weighted, "poisson": emission, "transmission": transmission}


def quality(x):
    return float(psnr(x, TRUTH, data_range=1.0))


# ---- what they say


@pytest.mark.parametrize("mean", [0.02, 0.5, 3.0, 14.0, 20.0, 400.0])
def test_the_mean_deviance_of_counts(mean):
    k = torch.arange(1500, dtype=torch.float64)
    deviance = 2 * (mean - k + torch.xlogy(k, k / mean))
    expected = float((torch.from_numpy(scipy.stats.poisson.pmf(k, mean)) * deviance).sum())
    assert float(expected_deviance(torch.tensor(mean, dtype=torch.float64))) == pytest.approx(expected, rel=2e-3)


def problem(scan):
    return _normalised(scan)[0]


def log_likelihood(scan, d):
    """-log p(y | d), by scipy."""
    y, like = scan.data.double().numpy(), scan.likelihood
    if isinstance(like, Laplace):
        return -scipy.stats.laplace.logpdf(y, d.numpy(), scan.noise / 2**0.5).sum()
    if isinstance(like, Gaussian):
        return -scipy.stats.norm.logpdf(y, d.numpy(), scan.noise).sum()
    mean = d + BACKGROUND if isinstance(like, Poisson) else PHOTONS * torch.exp(-d)
    return -scipy.stats.poisson.logpmf(y, mean.numpy()).sum()


@pytest.mark.parametrize("make", [gaussian, emission, transmission, outliers])
def test_the_data_term_is_the_likelihood_times_the_variance(make):
    scan, size = make()
    p = problem(scan)
    scale = float(scan.data.abs().max() / p.y.abs().max())  # what the data were divided by
    images = [size * TRUTH, 0.9 * size * TRUTH]
    values = [float(p.fidelity().value(x / scale)) for x in images]
    expected = [log_likelihood(scan, A(x).double()) for x in images]
    found = (values[1] - values[0]) / float(p.noise) ** 2
    assert found == pytest.approx(expected[1] - expected[0], rel=1e-3)


@pytest.mark.parametrize("make", [gaussian, weighted, emission, transmission])
def test_the_true_image_misfits_by_the_noise(make):
    scan, size = make()
    p = problem(scan)
    scale = float(scan.data.abs().max() / p.y.abs().max())
    exact = Problem(Identity(A.range_shape), p.y, p.noise, p.weights, likelihood=p.likelihood)
    found = float(exact.residual_to_noise(size * CLEAN.float() / scale))
    assert found == pytest.approx(1, abs=0.05)
    assert float(exact.excess(size * CLEAN.float() / scale)) == pytest.approx(
        float(p.noise) * float(p.readings) ** 0.5 * found, rel=1e-4
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("complex_data", [False, True])
def test_laplace_noise_of_a_stated_level_is_seen_as_such(seed, complex_data):
    generator = torch.Generator().manual_seed(seed)
    shape, sigma = (200, 200), 0.3
    if complex_data:  # |n| is Gamma(2, b) with E|n|^2 = 6 b^2
        radius = -torch.rand((2, *shape), generator=generator).clamp(min=1e-12).log().sum(0) * sigma / 6**0.5
        n = torch.polar(radius, 2 * math.pi * torch.rand(shape, generator=generator))
    else:
        sides = torch.rand(shape, generator=generator) - 0.5
        n = -torch.sgn(sides) * torch.log1p(-2 * sides.abs()) * sigma / 2**0.5
    assert float(n.abs().square().mean().sqrt()) == pytest.approx(sigma, rel=0.02)
    p = Problem(Identity(shape), n, torch.tensor(sigma), likelihood=Laplace())
    zero = torch.zeros_like(n)
    assert float(p.residual_to_noise(zero)) == pytest.approx(1, abs=0.02)
    assert float(p.noise_seen(zero)) == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("make", [emission, transmission, outliers])
def test_least_squares_around_an_image_have_the_slope_of_the_likelihood(make):
    scan, size = make()
    p = problem(scan)
    scale = float(scan.data.abs().max() / p.y.abs().max())
    x = 0.8 * size * TRUTH / scale
    stand_in = p.quadratic(x)
    slope = torch.func.grad(lambda d: p.fidelity().phi.value(d))(A(x))
    step = stand_in.weights * (A(x) - stand_in.y)
    usual = slope.abs() > 1e-3 * slope.abs().max()
    if make is outliers:  # nearest to the data, |r| is kept away from 0
        usual &= (A(x) - p.y).abs() > 0.1 * (A(x) - p.y).abs().mean()
    if make is emission:  # rays beside the body, where few counts are taken for no surer
        usual &= p.likelihood.mean(A(x)) > 0.1 * p.likelihood.mean(A(x)).mean()
    assert relative(step[usual], slope[usual]) < 1e-3
    assert float(p.quadratic().weights.mean() if make is not outliers else 1.0) == pytest.approx(1, rel=1e-3)


# ---- the recipes


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("method", ["tv", "wavelet", "lpn", "pnp"])
def test_every_prior_meets_every_likelihood(method, kind):
    scan, size = DATA[kind]()
    plain = quality(reconstruct(scan, "direct").x / size)
    result = reconstruct(scan, method)
    assert quality(result.x / size) > plain + (1.0 if method == "wavelet" else 1.5)
    assert 0.9 < float(result.certificate.residual_to_noise) < 1.4
    if method == "pnp" and scan.likelihood.counted:
        assert any("weighted least squares stand for" in note for note in result.certificate.notes)


def test_direct_methods_say_what_they_take():
    for scan, _ in (emission(), transmission()):
        (note,) = reconstruct(scan, "direct").certificate.notes
        name = scan.likelihood.name
        assert ("takes the logarithms of the counts" in note) == (name == "transmission")
        assert f"the {name} likelihood" in note


def test_outliers_are_ignored_by_the_sum_of_moduli():
    scan, _ = outliers()
    gauss = Scan(A, scan.data, scan.noise)
    assert quality(reconstruct(scan, "tv").x) > quality(reconstruct(gauss, "tv").x) + 3


def test_few_photons_behind_dense_parts():
    """Less than one photon comes through the middle: there least squares with weights from the counts are biased."""
    counts = drawn(1000 * torch.exp(-8 * CLEAN))
    exact = Scan(A, counts, likelihood=Transmission(1000.0))
    by_weights = Scan(A, torch.log(1000 / counts.clamp(min=0.5)), 1.0, weights=counts)
    x, z = (reconstruct(scan, "tv", strength=3e-3, tol=1e-3).x / 8 for scan in (exact, by_weights))
    assert quality(x) > quality(z) + 0.4


def test_counts_have_a_unit():
    """More counts are another image and a better one; a strength is the same in any case."""
    few, many = (Scan(A, drawn(s * CLEAN), likelihood=Poisson()) for s in (20, 2000))
    x, z = (reconstruct(s, "tv", strength=3e-3).x / size for s, size in ((few, 20), (many, 2000)))
    assert quality(z) > quality(x) + 2
    assert float(z.mean()) == pytest.approx(float(x.mean()), rel=0.1)


@pytest.mark.parametrize("method", ["tv", "pnp", "tikhonov"])
def test_readings_that_do_not_count(method):
    scan, _ = transmission()
    weights = torch.ones(VIEWS, BINS)
    weights[:, 30] = 0
    spoilt = scan.data.clone()
    spoilt[:, 30] = 5000
    one, two = (
        reconstruct(Scan(A, y, weights=weights, likelihood=Transmission(PHOTONS)), method).x
        for y in (scan.data, spoilt)
    )
    assert torch.equal(one, two)


def test_items_are_alone_with_their_likelihood():
    blank = torch.stack([torch.full(A.range_shape, s) for s in (500.0, 5000.0)])
    y = drawn(blank.double() * torch.exp(-CLEAN))
    both = reconstruct(Scan(A, y, likelihood=Transmission(blank)), "tv", strength=2e-3).x
    for k in range(2):
        alone = reconstruct(Scan(A, y[k], likelihood=Transmission(blank[k])), "tv", strength=2e-3).x
        assert relative(both[k], alone) < 1e-3


def test_counts_under_a_blur():
    image = TRUTH.clamp(min=0)
    B = Blur((N, N), torch.ones(3, 3) / 9, "reflect")
    scan = Scan(B, drawn(50 * B(image).double().clamp(min=0)), likelihood=Poisson())
    result = reconstruct(scan, "tv")
    # of 40 x 40 pixels held-out scores are flat: where in their valley the search ends, rounding of a processor decides
    assert quality(result.x / 50) > quality(scan.data / 50) + 0.8
    assert math.isfinite(float(result.certificate.residual_to_noise))  # though a zero of the image met a count
    with pytest.raises(ValueError, match="wiener takes all readings alike"):
        reconstruct(scan, "wiener")
    with pytest.raises(ValueError, match="sobolev-tv takes all readings alike"):
        reconstruct(scan, "sobolev-tv")


# ---- at the door and in a file


@pytest.mark.parametrize(
    ("likelihood", "changes", "words"),
    [
        (Poisson(), {"data": -torch.ones(A.range_shape)}, "counts, real and not negative"),
        (Poisson(-1.0), {}, "background counts events: real, finite and not negative"),
        (Poisson(torch.ones(3)), {}, r"background must be a number or have the shape \(40, 58\), got \(3,\)"),
        (Transmission(0.0), {}, "blank counts events: real, finite and positive"),
        (Transmission(1e3), {"noise": 0.1}, "counts bring their own noise level"),
        (Poisson(), {"weights": torch.rand(A.range_shape) + 0.1}, "by 1 and 0"),
    ],
)
def test_what_cannot_be_counted(likelihood, changes, words):
    with pytest.raises(ValueError, match=words):
        Scan(A, **({"data": torch.ones(A.range_shape)} | changes), likelihood=likelihood)


def test_a_likelihood_comes_back_from_a_file(tmp_path):
    y = torch.stack([transmission()[0].data] * 3)
    blank = torch.linspace(900, 1100, BINS).expand(3, VIEWS, BINS) + torch.arange(3.0)[:, None, None]
    save_scan(tmp_path / "a.h5", Scan(A, y, likelihood=Transmission(blank, 2.0)))
    back = load_scan(tmp_path / "a.h5", rows=slice(1, 3), views=slice(0, VIEWS, 2)).likelihood
    assert isinstance(back, Transmission)
    assert torch.equal(back.blank.float(), blank[1:, ::2])
    assert back.background == 2.0
    save_scan(tmp_path / "b.h5", Scan(A, y, likelihood=Laplace()))
    assert isinstance(load_scan(tmp_path / "b.h5").likelihood, Laplace)
    save_scan(tmp_path / "c.h5", Scan(A, y))

    def poison(file):
        assert "likelihood" not in file
        file.create_group("likelihood").attrs["name"] = "poison"

    edit(tmp_path / "c.h5", poison)
    with pytest.raises(InputError, match="no likelihood is called 'poison'; did you mean poisson"):
        load_scan(tmp_path / "c.h5")

    def blanks(file):
        del file["likelihood"]
        group = file.create_group("likelihood")
        group.attrs["name"] = "poisson"
        group["blanks"] = 1.0

    edit(tmp_path / "c.h5", blanks)
    with pytest.raises(InputError, match="the stored likelihood is no poisson"):
        load_scan(tmp_path / "c.h5")


# ---- what is said of it, and its rows


def noisy_blank(rows=3):
    """Counts behind one image with blank counts of their own in every row."""
    blank = (900 + torch.linspace(0, 200, BINS)).expand(rows, VIEWS, BINS) + 100 * torch.arange(rows)[:, None, None]
    return Scan(A, drawn(blank.double() * torch.exp(-CLEAN)), likelihood=Transmission(blank, 1.0))


def test_a_row_has_the_likelihood_of_its_own():
    scan = noisy_blank()
    row = scan.row(2)
    assert torch.equal(row.data, scan.data[2])
    assert torch.equal(row.likelihood.blank, scan.likelihood.blank[2])
    assert row.likelihood.background == 1.0
    shared = Scan(A, scan.data, likelihood=Transmission(scan.likelihood.blank[0])).row(2)
    assert torch.equal(shared.likelihood.blank, scan.likelihood.blank[0])


def test_a_stack_with_a_likelihood_per_row_becomes_a_result(invprob, tmp_path):
    scan = noisy_blank()
    save_scan(tmp_path / "a.h5", scan)
    told = "transmission (blank 900 to 1300, background 1)"
    done = invprob("reconstruct", "a.h5", "--method", "fbp", "--report", "page.html", "--png", "a.png")
    assert (done.code, done.err) == (0, "")
    assert "that of counts: transmission (blank 1000 to 1200, background 1)" in done.out  # the middle row's
    stored = load_result(tmp_path / "a_fbp.h5")
    assert relative(stored.x, reconstruct(scan, "fbp").x) < 1e-5
    assert stored.provenance["likelihood"] == told
    assert told in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"likelihood: {told}" in invprob("inspect", "a_fbp.h5").out
    assert "rows" not in stored.provenance


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_counts_that_are_sound_are_not_doubted(invprob, tmp_path, command):
    save_scan(tmp_path / "a.h5", transmission()[0])
    done = invprob(command, "a.h5", *(["--doubts"] if command == "inspect" else []))
    assert (done.code, done.err) == (0, "")
    assert "that of counts: transmission (blank 1000, background 0)" in done.out
    assert "Nothing in it looks doubtful" in done.out


def test_counts_that_are_cut_off_are_doubted():
    narrow = ParallelBeam((N, N), A.angles, 30, pixel_size=SIDE / N, detector_size=SIDE / N)
    cut = CLEAN[:, 14:44]
    for scan in (
        Scan(narrow, drawn(PHOTONS * torch.exp(-cut)), likelihood=Transmission(PHOTONS)),
        Scan(narrow, drawn(1000 * cut + BACKGROUND), likelihood=Poisson(BACKGROUND)),
    ):
        assert any("do not fall to zero at both edges" in doubt for doubt in scan.doubts())
    dark = Scan(narrow, torch.zeros(VIEWS, 30), likelihood=Transmission(PHOTONS))  # no photon came through
    assert dark.doubts() == narrow.doubts()


def test_the_noise_of_outliers_is_named(invprob, tmp_path):
    save_scan(tmp_path / "a.h5", outliers()[0])
    assert "standard deviation 0.1, from the file; likelihood laplace" in invprob("inspect", "a.h5").out
