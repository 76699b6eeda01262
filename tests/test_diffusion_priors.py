"""Priors that undo noise: against integrals, Bayes' formula, finite differences of densities, and each other."""

import math

import pytest
import torch

from invprob.linop import LinearOperator
from invprob.priors import DiffusionPrior, EmpiricalPrior, GaussianMixture, StationaryField
from invprob.priors.diffusion import linear_levels
from invprob.priors.networks import DiffusionUNet

F64 = torch.float64


def draw(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def mixture(seed=0, *, of_complex=False):
    dtype = torch.complex128 if of_complex else F64
    a = draw(3, 5, 5, seed=seed, dtype=dtype)
    return GaussianMixture.of_covariances(
        torch.tensor([0.2, 0.5, 0.3]), draw(3, 5, seed=seed + 1, dtype=dtype), a @ a.mH / 5
    )


# ---- mixtures of Gaussians


def test_a_mixture_in_one_dimension_is_the_integral():
    p = GaussianMixture.of_covariances(
        torch.tensor([1.0, 3.0]), torch.tensor([[-1.0], [0.5]]), torch.tensor([[[0.04]], [[0.3]]])
    )
    z = torch.linspace(-6, 6, 20001, dtype=F64)
    density = p.log_density(z[:, None]).exp()
    assert float(density.sum() * (z[1] - z[0])) == pytest.approx(1, abs=1e-9)
    for x, sigma in ((0.3, 0.5), (-2.0, 1.3)):
        likely = density * torch.exp(-0.5 * ((x - z) / sigma) ** 2)
        found = p.denoise(torch.tensor([x], dtype=F64), sigma)
        assert float(found) == pytest.approx(float((likely * z).sum() / likely.sum()), abs=1e-8)


@pytest.mark.parametrize("of_complex", [False, True])
def test_the_score_is_the_slope_of_the_density(of_complex):
    p = mixture(of_complex=of_complex)
    dtype = torch.complex128 if of_complex else F64
    x, u = draw(5, seed=3, dtype=dtype), draw(5, seed=4, dtype=dtype)
    h = 1e-5
    slope = (p.log_density(x + h * u, 0.7) - p.log_density(x - h * u, 0.7)) / (2 * h)
    # of circular complex numbers log p = -|x|^2 / sigma^2, twice a real one's
    factor = 2 if of_complex else 1
    assert float(slope) == pytest.approx(factor * float((p.score(x, 0.7).conj() * u).sum().real), rel=1e-7)


def test_few_axes_are_the_dense_covariance():
    axes = torch.linalg.qr(draw(2, 6, 2, seed=1))[0]
    variances, rest = draw(2, 2, seed=2).abs(), torch.tensor([0.1, 0.4], dtype=F64)
    means, weights = draw(2, 6, seed=5), torch.tensor([0.4, 0.6])
    few = GaussianMixture(weights, means, axes, variances, rest)
    eye = torch.eye(6, dtype=F64)
    along = axes @ torch.diag_embed(variances) @ axes.mT
    full = GaussianMixture.of_covariances(weights, means, along + rest[:, None, None] * (eye - axes @ axes.mT))
    x, sigma = draw(4, 6, seed=6), torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=F64)
    torch.testing.assert_close(few.denoise(x, sigma), full.denoise(x, sigma))
    torch.testing.assert_close(few.log_density(x, sigma), full.log_density(x, sigma))
    assert few.spread == pytest.approx(full.spread)
    draws = few.sample(40000)
    mean = (weights[:, None] * means).sum(0)
    assert float((draws.mean(0) - mean).abs().max()) < 0.05
    assert float((draws - mean).square().mean().sqrt()) == pytest.approx(few.spread, rel=0.02)


def test_the_posterior_is_bayes_formula():
    p, A = mixture(), LinearOperator.from_scipy(draw(3, 5, seed=8).numpy(), (5,), (3,))
    y, noise = draw(3, seed=9), 0.4
    exact = p.posterior(A, y, noise)
    x = draw(6, 5, seed=10)
    likelihood = -0.5 * ((A(x) - y) / noise).square().sum(-1)
    both = p.log_density(x) + likelihood - exact.log_density(x)  # the evidence, the same for all x
    torch.testing.assert_close(both, both[:1].expand(6), rtol=0, atol=1e-8)


def test_a_mixture_is_fitted_to_what_it_drew():
    means = torch.stack([torch.zeros(8), 4 * torch.ones(8)]).double()
    axes = torch.linalg.qr(draw(2, 8, 2, seed=1))[0]
    truth = GaussianMixture(torch.tensor([0.3, 0.7]), means, axes, torch.full((2, 2), 1.0), torch.full((2,), 0.01))
    found = GaussianMixture.fitted(truth.sample(2000), components=2, rank=2)
    order = found.means.mean(1).argsort()
    assert float((found.means[order] - means).abs().max()) < 0.15
    torch.testing.assert_close(found.weights[order], truth.weights, atol=0.03, rtol=0)
    held_out = truth.sample(500, 3)
    assert float((truth.log_density(held_out) - found.log_density(held_out)).mean()) < 0.1


# ---- fields, sets of images


@pytest.mark.parametrize("shape", [(6, 5), (4, 4)])
def test_a_field_is_its_dense_gaussian(shape):
    field = StationaryField.power_law(shape, 2.5, spread=0.4, mean=0.3)
    x = draw(3, *shape)
    torch.testing.assert_close(field.denoise(x, 0.5), field.as_mixture().denoise(x, 0.5))
    assert field.spread == pytest.approx(0.4)
    torch.testing.assert_close(field.denoise(x, 0.0), x)
    assert float(field.sample(4000).std()) == pytest.approx(0.4, rel=0.05)
    fitted = StationaryField.fitted(field.sample(4000))
    assert float((fitted.spectrum / field.spectrum).log().abs().max()) < 0.3


def test_a_field_takes_complex_images_apart():
    field = StationaryField.power_law((6, 6), mean=0.0)
    x = draw(2, 6, 6, dtype=torch.complex128)
    torch.testing.assert_close(field.denoise(x, 0.5).real, field.denoise(x.real.clone(), 0.5))


def test_the_empirical_prior_is_a_mixture_of_points(monkeypatch):
    images = draw(7, 4, 4)
    p = EmpiricalPrior(images)
    points = GaussianMixture(
        torch.ones(7), images, torch.eye(16, dtype=F64).expand(7, -1, -1), torch.zeros(7, 16, dtype=F64)
    )
    x = draw(3, 4, 4, seed=1)
    torch.testing.assert_close(p.denoise(x, 0.8), points.denoise(x, 0.8))
    assert torch.equal(p.denoise(x, 1e-3), images[(x[:, None] - images).square().sum((-1, -2)).argmin(1)])
    whole = p.denoise(x, 0.8)
    monkeypatch.setattr("invprob.priors.empirical._CHUNK", 40)
    torch.testing.assert_close(p.denoise(x, 0.8), whole)
    assert torch.equal(p.denoise(x[:1], 0.8), p.denoise(x, 0.8)[:1])


def test_windows_compare_around_every_pixel():
    images, x = draw(5, 6, 7), draw(6, 7, seed=1)
    found = EmpiricalPrior(images, window=3).denoise(x, 0.9)
    for row, column in ((0, 0), (2, 6), (5, 3)):
        near = (slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2))
        distance = (x[near] - images[(slice(None), *near)]).square().sum((-1, -2))
        weights = torch.softmax(-distance / (2 * 0.9**2), 0)
        assert float(found[row, column]) == pytest.approx(float(weights @ images[:, row, column]), abs=1e-12)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: EmpiricalPrior(draw(3, 4, 4), window=2), "odd"),
        (lambda: StationaryField(-torch.ones(4, 4)), "not negative"),
        (lambda: GaussianMixture(torch.ones(2), draw(2, 4), draw(2, 3, 1), torch.ones(2, 1)), "axes"),
        (lambda: GaussianMixture(-torch.ones(1), draw(1, 4), draw(1, 4, 1), torch.ones(1, 1)), "positive"),
        (lambda: DiffusionPrior(lambda x, s: x, "nothing"), "predicts"),
        (lambda: DiffusionPrior(lambda x, s: x, data_range=(1.0, 1.0)), "rise"),
        (lambda: DiffusionPrior(lambda x, s: x, spread=0.0), "spread"),
    ],
)
def test_what_does_not_fit_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# ---- networks of every kind


S = 0.8  # N(0, S^2) images: D = S^2 x / (S^2 + sigma^2) in their own units


def network(predicts, process, data_range=(0.0, 1.0)):
    """The network that knows N(0, S^2) images exactly, in its own units, whatever it is to predict."""
    low, high = data_range
    scale = high - low
    table = linear_levels()

    def answer(seen, time):
        shape = (-1,) + (1,) * (seen.ndim - 1)
        if process == "ve":
            s = time
        elif process == "vp":
            place = time.clamp(0, 999)
            left = place.floor().long().clamp(max=998)
            logs = table.log()
            s = torch.exp(logs[left] + (place - left) * (logs[left + 1] - logs[left]))
        else:
            s = time / (1 - time)
        s = s.reshape(shape)
        a = {"ve": torch.ones_like(s), "vp": (1 + s**2) ** -0.5, "flow": 1 / (1 + s)}[process]
        u = seen / a
        image = low + (u - low) * (S * scale) ** 2 / ((S * scale) ** 2 + s**2)
        noise = (u - image) / s
        return {
            "image": image,
            "noise": noise,
            "score": -noise / (a * s),
            "velocity": a * noise - a * s * image,
            "flow": noise - image,
        }[predicts]

    return answer


@pytest.mark.parametrize("data_range", [(0.0, 1.0), (-1.0, 1.0), (-1000.0, 3000.0)])
@pytest.mark.parametrize(
    ("predicts", "process"),
    [
        *(("image", process) for process in ("ve", "vp", "flow")),
        *(("noise", process) for process in ("ve", "vp", "flow")),
        *(("score", process) for process in ("ve", "vp")),
        *(("velocity", "vp"), ("flow", "flow")),
    ],
)
def test_whatever_a_network_predicts_it_is_the_same_prior(predicts, process, data_range):
    prior = DiffusionPrior(network(predicts, process, data_range), predicts, process, data_range=data_range)
    x, sigma = draw(3, 4, 5), torch.tensor([0.05, 0.7, 4.0], dtype=F64)
    if process == "vp":  # whose table is in units of the network
        sigma = sigma / (data_range[1] - data_range[0]) * 2
    expected = x * (S**2 / (S**2 + sigma**2))[:, None, None]
    torch.testing.assert_close(prior.denoise(x, sigma), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(prior.denoise(x[1], float(sigma[1])), expected[1], rtol=1e-6, atol=1e-8)


def test_no_image_is_clipped_to_the_data_range():
    prior = DiffusionPrior(network("noise", "vp", (-1.0, 1.0)), "noise", "vp", data_range=(-1.0, 1.0))
    x = 100 * draw(4, 5)
    torch.testing.assert_close(prior.denoise(x, 0.1), x * S**2 / (S**2 + 0.01), rtol=1e-6, atol=1e-7)


def test_complex_images_are_asked_as_two_parts_of_half_the_variance():
    prior = DiffusionPrior(network("image", "ve"), times=lambda s: s, complex_as="parts")
    x = draw(2, 4, 5, dtype=torch.complex128)
    torch.testing.assert_close(prior.denoise(x, 0.6), x * S**2 / (S**2 + 0.18))


def test_a_prior_is_a_prox_too():
    prior = DiffusionPrior(lambda x, sigma: x / (1 + sigma**2), ndim=1)
    assert prior.supports == {"prox"}
    torch.testing.assert_close(prior.prox(torch.ones(4, dtype=F64), 0.25), torch.full((4,), 0.8, dtype=F64))


def test_the_unet_is_preconditioned():
    net = DiffusionUNet((8, 16), 1, spread=0.5, mean=0.3).double()
    x = draw(2, 3, 13, 10)
    sigma = torch.tensor([[0.1, 0.5, 2.0], [5.0, 0.01, 1.0]], dtype=F64)
    keep = (0.25 / (0.25 + sigma**2))[..., None, None]
    torch.testing.assert_close(net(x, sigma), 0.3 + keep * (x - 0.3))  # F is 0 at first
    for target, expected in (("noise", x), ("image", torch.full_like(x, 0.3))):
        torch.testing.assert_close(DiffusionUNet((8,), 1, target=target, mean=0.3).double()(x, sigma), expected)
    with torch.no_grad():
        net.tail.weight.normal_(generator=torch.Generator().manual_seed(1))
    whole = net(x, sigma)
    assert whole.shape == x.shape
    torch.testing.assert_close(net(x[1, 2], 1.0), whole[1, 2])
    assert not torch.allclose(net(x[1, 2], 2.0), whole[1, 2])
    prior = DiffusionPrior(net)
    assert prior.spread == 0.5
    torch.testing.assert_close(prior.denoise(x, sigma), whole)
    again = DiffusionUNet(**net.arguments).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x, sigma), whole)
    for wrong in (lambda: net(x.to(torch.complex128), 1.0), lambda: net(x, torch.ones(4)), lambda: net(x[0, 0, 0], 1)):
        with pytest.raises(ValueError, match="DiffusionUNet"):
            wrong()
    assert math.isfinite(float(net(x, 1e-6).detach().sum()))
