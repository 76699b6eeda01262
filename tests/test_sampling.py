"""Samplers against posteriors that are known exactly, and what every preset owes: seeds, batches, resumption, units."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from invprob import Scan, reconstruct
from invprob.linop import LinearOperator, Operator, spectrum
from invprob.operators import Blur, Mask, ParallelBeam
from invprob.priors import DiffusionPrior, GaussianMixture, ScorePrior, StationaryField
from invprob.priors.gaussian import dense
from invprob.sampling import PRESETS, Measurement, measurement, sample, sampler, twisted
from invprob.sampling.data_steps import Ball, Prox
from invprob.sampling.nonlinear_steps import Descent, Langevin
from invprob.sampling.schedules import SCHEDULES

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import diffusion as bench

F64 = torch.float64
FEW = {"steps": 12}


def draw(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# ---- exact posteriors (the table of benchmarks/diffusion.py, loosely)


@pytest.fixture(scope="module")
def white():
    names = ["pigdm", "flower", "flower_mean", "diffpir", "ddrm", "daps", "pnp_dm", "twisted"]
    return bench.table_small(bench.white_prior(), names, chains=600, seeds=1)


@pytest.mark.parametrize("name", ["exact", "pigdm", "flower"])
def test_samplers_of_white_images_are_exact(white, name):
    row = white[name]
    assert row["mean"] < 0.12
    assert row["covariance"] < 0.15
    assert 0.9 < row["variance"] < 1.1


def test_what_is_known_of_the_others(white):
    assert white["flower_mean"]["mean"] < 0.12
    assert white["flower_mean"]["variance"] < 0.6  # an estimate, no sample
    assert white["diffpir"]["mean"] < 0.2
    assert 0.85 < white["pnp_dm"]["variance"] < 1.05
    assert 1.2 < white["daps"]["variance"] < 2  # its clean image is a draw already
    assert white["twisted"]["mean"] < 0.12
    assert 0.85 < white["twisted"]["variance"] < 1.1


def test_flower_draws_from_slanted_gaussians():
    row = bench.table_small(bench.slanted_prior(), ["flower"], chains=800, seeds=1)["flower"]
    assert row["mean"] < 0.15
    assert row["covariance"] < 0.2
    assert 0.9 < row["variance"] < 1.15


def test_the_loop_itself_is_exact():
    """With the posterior for the prior and no data step only the discretisation is left."""
    A, generator = bench.small_problem()
    prior = bench.slanted_prior()
    y = A(prior.sample(1, generator)[0]) + 0.2 * draw(4)
    exact = prior.posterior(A, y, 0.2)
    found = bench.compared(sample(exact, A, y, 0.2, "prior", chains=1500, steps=200).samples, exact)
    assert found["mean"] < 0.08
    assert found["covariance"] < 0.13


def test_particles_find_modes_that_data_cannot_see():
    """Modes apart in the null space, of different width in its range: all others return the prior's weights."""
    c = torch.diag_embed(torch.tensor([[1.0, 0.05], [0.05, 0.05]], dtype=F64))
    prior = GaussianMixture.of_covariances(torch.ones(2), torch.tensor([[0.0, -2.0], [0.0, 2.0]], dtype=F64), c)
    A = LinearOperator.from_scipy(torch.tensor([[1.0, 0.0]], dtype=F64).numpy(), (2,), (1,))
    y = torch.tensor([0.1], dtype=F64)
    weights = prior.posterior(A, y, 0.1).weights
    assert float(weights[1]) > 0.75
    found = twisted(prior, A, y, 0.1, particles=2000, steps=60).samples
    assert float((found[:, 1] > 0).double().mean()) == pytest.approx(float(weights[1]), abs=0.06)


def test_a_field_in_a_scanner():
    prior, A, y, noise, exact = bench.field_problem(12, 5)
    found = sample(prior, A, y, noise, "flower", chains=80, steps=40)
    row = bench.compared(found.samples, exact)
    assert row["mean"] < 0.22
    assert 0.8 < row["variance"] < 1.2
    assert float(found.certificate.residual_to_noise) < 1.1
    assert float(found.history["residual_to_noise"].mean()) == pytest.approx(1, abs=0.15)


def test_merging_with_data_does_not_return_their_noise():
    """With the pseudo-inverse at full strength to the end, draws of song left half of the noise, and erred as much."""
    prior, A, y, noise, _ = bench.field_problem(12, 5)
    assert float(sample(prior, A, y, noise, "song", chains=4, steps=80).history["residual_to_noise"].mean()) > 0.8


# ---- what every preset owes


def problem(kind="mask", seed=0):
    field = StationaryField.power_law((8, 8), 3.0, spread=0.25, mean=0.5)
    A = {
        "mask": lambda: Mask(torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) < 0.6, dtype=F64),
        "blur": lambda: Blur((8, 8), torch.ones(3, 3) / 9, dtype=F64),
        "ct": lambda: ParallelBeam((8, 8), torch.arange(5) * math.pi / 5, 12, dtype=F64),
    }[kind]()
    x = field.sample(3, seed)
    y = A(x)
    sigma = 0.05 * float(y.std())
    return field, A, x, y + sigma * draw(*y.shape, seed=2), sigma


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", ["mask", "blur", "ct"])
def test_presets_serve_every_operator(name, kind):
    prior, A, _, y, sigma = problem(kind)
    found = sample(prior, A, y, sigma, name, chains=2, **FEW)
    assert found.status == "converged"
    assert found.samples.shape == (2, 3, 8, 8)
    torch.testing.assert_close(found.x, found.samples.mean(0))
    torch.testing.assert_close(found.spread, found.samples.std(0))


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "prior"])
def test_a_seed_is_the_same_bits_and_neighbours_change_nothing(name):
    prior, A, _, y, sigma = problem("mask")
    one, two = (sample(prior, A, y[:2], sigma, name, chains=2, seed=s, **FEW).samples for s in (0, 0))
    assert torch.equal(one, two)
    other = sample(prior, A, y[:2], sigma, name, chains=2, seed=1, **FEW).samples
    assert float((one - other).abs().max()) > 1e-3
    more = sample(prior, A, y, sigma, name, chains=2, seed=0, **FEW).samples
    if name == "adam_dps":  # an iteration that forgets nothing, and so amplifies rounding
        torch.testing.assert_close(more[:, :2], one, rtol=0, atol=1e-5)
    else:
        torch.testing.assert_close(more[:, :2], one, rtol=0, atol=1e-8)


class Failing(ScorePrior):
    """A prior that has no answer for the first image of a batch below some noise."""

    def __init__(self, prior, below):
        super().__init__()
        self.prior, self.below, self.ndim, self.spread = prior, below, prior.ndim, prior.spread

    def denoise(self, x, sigma):
        x0 = self.prior.denoise(x, sigma)
        lost = torch.arange(x.shape[1]) == 0
        return x0 / (~lost | (sigma >= self.below)).to(x0).reshape(-1, 1, 1)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_not_a_number_is_noticed_in_its_item(name):
    prior, A, _, y, sigma = problem("mask")
    found = sample(Failing(prior, prior.spread), A, y[:2], sigma, name, chains=2, **FEW)
    assert found.item_status == ("diverged", "converged")
    assert found.status == "diverged"
    assert bool(found.samples.isfinite().all())
    if PRESETS[name].ode_steps == 1:  # others ask at little noise in their first step
        assert float(found.x[0].abs().max()) > 0
    sound = sample(prior, A, y[:2], sigma, name, chains=2, **FEW)
    torch.testing.assert_close(found.samples[:, 1], sound.samples[:, 1], rtol=0, atol=1e-5)
    alone = sample(Failing(prior, prior.spread), A, y[:1], sigma, name, chains=2, steps=60)
    assert int(alone.n_iter) < 60  # no steps without anything to step from


@pytest.mark.parametrize("name", ["flower", "adam_dps", "ddiff", "red_diff", "pnp_dm"])
def test_a_resumed_run_has_the_same_bits(name, tmp_path):
    prior, A, _, y, sigma = problem()
    run = sampler(prior, A, y, sigma, name, chains=2, **FEW)
    state = run.init()
    while not run.done(state):
        if state.step == 7:
            torch.save({"x": state.x, "x0": state.x0, "step": state.step, "memory": dict(state.memory)}, tmp_path / "s")
            state = replace(state, **torch.load(tmp_path / "s"))
            run = sampler(prior, A, y, sigma, name, chains=2, **FEW)
        state = run.advance(state)
    assert torch.equal(state.x, sample(prior, A, y, sigma, name, chains=2, **FEW).samples)


def test_images_in_other_units():
    """Multiplying images, data and noise by c multiplies the draws by c."""
    prior, A, _, y, sigma = problem()
    c = 1000.0
    scaled = StationaryField(prior.spectrum * c**2, prior.mean * c)
    for name in ("flower", "dps", "dds", "mcg", "ddrm", "fast_dips", "song"):
        one = sample(prior, A, y, sigma, name, chains=1, **FEW).samples
        two = sample(scaled, A, c * y, c * sigma, name, chains=1, **FEW).samples
        torch.testing.assert_close(two / c, one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["flower", "diffpir", "dds", "dps", "ddrm", "mcg"])
def test_data_improve_on_the_prior(name):
    prior, A, x, y, sigma = problem("blur")
    found = sample(prior, A, y, sigma, name, chains=4, steps=40)
    assert float((found.x - x).square().mean().sqrt()) < 0.7 * prior.spread


def test_complex_images_and_data():
    dtype = torch.complex128
    n = 6
    matrix = draw(20, n * n, dtype=dtype) / n
    A = LinearOperator.from_functions(
        lambda x: x.flatten(-2) @ matrix.mT,
        lambda y: (y @ matrix.conj()).unflatten(-1, (n, n)),
        (n, n),
        (20,),
        dtype=F64,
        is_complex=True,
    )
    prior = GaussianMixture.of_covariances(
        torch.ones(1), torch.zeros(1, n, n, dtype=dtype), torch.eye(n * n, dtype=dtype)[None]
    )
    y = A(draw(n, n, dtype=dtype)) + 0.1 * draw(20, seed=1, dtype=dtype)
    exact = prior.posterior(A, y, 0.1)
    found = sample(prior, A, y, 0.1, "flower", chains=200, steps=30).samples
    difference = found.mean(0) - exact.means[0]
    trace = float(exact.variances.sum())
    assert float(difference.abs().square().sum()) < 0.03 * trace
    assert float((found - found.mean(0)).abs().square().sum()) / 199 == pytest.approx(trace, rel=0.1)


def test_weights_are_variances():
    """A reading of weight 0 counts for nothing, one of weight 1/4 has twice the noise."""
    prior, A, _, y, sigma = problem("ct")
    w = torch.ones(5, 12, dtype=F64)
    w[1] = 0
    garbage = y.clone()
    garbage[:, 1] += 100
    one, two = (sample(prior, A, data, sigma, "flower", weights=w, chains=1, **FEW).samples for data in (y, garbage))
    torch.testing.assert_close(one, two)
    quarter = sample(prior, A, y, sigma, "flower", weights=torch.full_like(w, 0.25), chains=1, **FEW).samples
    double = sample(prior, A, y, 2 * sigma, "flower", chains=1, **FEW).samples
    torch.testing.assert_close(quarter, double, rtol=1e-4, atol=1e-5)


# ---- noise that is none, unknown or wrong


@pytest.mark.parametrize("name", ["flower", "dds", "ddrm", "dps", "fast_dips"])
def test_no_noise_is_taken_for_next_to_none(name):
    prior, A, x, _, _ = problem()
    clean = A(x)
    found = sample(prior, A, clean, 0.0, name, chains=2, steps=30)
    assert bool(found.samples.isfinite().all())
    residual = (A(found.x) - clean).flatten(1).norm(dim=1) / clean.flatten(1).norm(dim=1)
    assert float(residual.max()) < (0.3 if name in ("dds", "dps") else 0.02)


def test_zero_data_are_no_trouble():
    prior, A, _, y, _ = problem()
    for name in ("flower", "dps", "mcg"):
        assert bool(sample(prior, A, 0 * y, 0.0, name, chains=1, **FEW).x.isfinite().all())


def test_singular_values_of_nothing_do_not_explode():
    matrix = torch.diag(torch.tensor([1.0, 0.5, 1e-16, 1e-12], dtype=F64))
    A = LinearOperator.from_scipy(matrix.numpy(), (4,), (4,))
    prior = bench.gaussian(torch.eye(4, dtype=F64))
    found = sample(prior, A, A(draw(4)) + 0.1 * draw(4, seed=3), 0.1, "ddrm", chains=5)
    assert float(found.samples.abs().max()) < 10


# ---- the parts


@pytest.mark.parametrize("most", [0, 3200])
@pytest.mark.parametrize("weighted", [False, True])
def test_corrections_are_those_of_the_dense_matrix(monkeypatch, most, weighted):
    """By the eigenvectors of the rows where readings are few, by conjugate gradients where they are not."""
    _, A, _, y, sigma = problem("ct")
    monkeypatch.setattr(spectrum, "MOST_ROWS", most)
    monkeypatch.setattr(measurement, "TOL", 1e-9)
    w = (0.1 + torch.rand(*A.range_shape, dtype=F64, generator=torch.Generator().manual_seed(3))) if weighted else None
    m, r = Measurement.of(A, y, sigma, w), draw(3, *A.range_shape, seed=4)
    M, root = dense(A), torch.ones(5 * 12, dtype=F64) if w is None else w.flatten().sqrt()
    shift = torch.tensor([1e-3, 0.1, 10.0], dtype=F64)
    found = m.solve(r, shift).flatten(1)
    B = root[:, None] * M
    for k in range(3):
        true = torch.linalg.solve(B.T @ B + shift[k] * torch.eye(64, dtype=F64), B.T @ r[k].flatten())
        torch.testing.assert_close(found[k], true, rtol=1e-5, atol=1e-6 * float(true.abs().max()))


def test_the_draw_given_data_has_the_mean_and_the_covariance_of_bayes():
    A, _ = bench.small_problem()
    y, x0 = draw(1, 4), draw(8, seed=4)
    run = sampler(bench.white_prior(), A, y[0], 0.3, chains=20000, steps=3)
    state = run.init()
    at = run._moment(state.x, x0.expand(20000, 8), 0.7, 0.1, 0, {}, lambda v: v)
    draws = Prox("white", noise=1.0)(run.m, at).x0
    r2 = at.white_variance
    estimate = GaussianMixture.of_covariances(torch.ones(1), x0[None], r2 * torch.eye(8, dtype=F64)[None])
    row = bench.compared(draws, estimate.posterior(A, y[0], 0.3))
    assert row["mean"] < 0.02
    assert row["covariance"] < 0.04
    langevin = Langevin(200, 0.1)
    flat = GaussianMixture.of_covariances(torch.ones(1), x0[None], 0.49 * torch.eye(8, dtype=F64)[None])
    few = sampler(bench.white_prior(), A, y[0], 0.3, chains=2000, steps=3)
    at = few._moment(few.init().x, x0.expand(2000, 8), 0.7, 0.1, 0, {}, lambda v: v)
    row = bench.compared(langevin(few.m, at).x0, flat.posterior(A, y[0], 0.3))
    assert row["mean"] < 0.08
    assert row["covariance"] < 0.2


def test_the_ball_ends_where_noise_does():
    prior, A, _, y, sigma = problem("ct")
    run = sampler(prior, A, y, sigma, chains=1, steps=3)
    x0 = torch.stack([prior.sample(1, 8)[0], problem("ct")[2][1], problem("ct")[2][2]])[None]
    at = run._moment(run.init().x, x0, 0.5, 0.1, 0, {}, lambda v: v)
    u = Ball(iterations=20)(run.m, at).x0
    before, after = run.m.residual_to_noise(x0), run.m.residual_to_noise(u)
    assert float(before[0, 0]) > 5
    for k in range(3):
        if float(before[0, k]) <= 1:
            assert torch.equal(u[0, k], x0[0, k])
        else:
            assert float(after[0, k]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_fall_from_high_to_low_to_none(name):
    levels = SCHEDULES[name](20, 0.01, 50.0)
    assert len(levels) == 21
    assert bool((levels.diff() < 0).all())
    assert float(levels[0]) == pytest.approx(50, rel=1e-9)
    assert float(levels[-2]) == pytest.approx(0.01, rel=1e-6)
    assert float(levels[-1]) == 0
    with pytest.raises(ValueError, match="at least one step"):
        SCHEDULES[name](0, 0.01, 50.0)


class Square(Operator):
    """y = x^2, which has no adjoint."""

    def __init__(self):
        super().__init__((6,), (6,), dtype=F64)

    def _forward(self, x):
        return x**2

    def start(self):
        return torch.ones(6, dtype=F64)


@pytest.mark.parametrize("step", [Langevin(20, 0.05), Descent(20)])
def test_nonlinear_operators(step):
    A = Square()
    truth = 1 + 0.2 * draw(6).abs()
    prior = GaussianMixture.of_covariances(torch.ones(1), torch.ones(1, 6), 0.09 * torch.eye(6, dtype=F64)[None])
    found = sample(prior, A, A(truth) + 0.02 * draw(6, seed=1), 0.02, "daps", step=step, chains=8, steps=20, high=2.0)
    assert float((found.x - truth).abs().max()) < 0.1
    assert found.certificate is None
    with pytest.raises(ValueError, match="needs a linear operator"):
        sample(prior, A, A(truth), 0.02, "flower", **FEW)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda p, A, y: sample(p, A, y, 0.1, "flwer"), ValueError, "did you mean flower"),
        (lambda p, A, y: sample(p, A, y, -0.1), ValueError, "noise must be"),
        (lambda p, A, y: sample(p, A, y, 0.1, chains=0), ValueError, "chains"),
        (lambda p, A, y: sample(p, A, y, 0.1, zeta=3), TypeError, "no setting 'zeta'"),
        (lambda p, A, y: sample(bench.white_prior(), A, y, 0.1), ValueError, "items of 1 axes"),
        (lambda p, A, y: twisted(p, A, y, 0.1), ValueError, "one real item"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, match):
    prior, A, _, y, _ = problem()
    with pytest.raises(error, match=match):
        call(prior, A, y)


def test_a_measurement_knows_its_noise_and_its_readings():
    A = Mask(torch.eye(4, dtype=torch.bool), dtype=F64)
    m = Measurement.of(A, 2 * torch.eye(4, dtype=F64), 0.5)
    assert float(m.count) == 4
    assert float(m.residual_to_noise(torch.zeros(4, 4, dtype=F64))) == pytest.approx(4 / (0.5 * 2))


# ---- recipes


def test_the_recipes_take_any_prior_and_keep_the_units():
    field, A, x, y, sigma = problem("ct")
    for c in (1.0, 1e4):
        prior = StationaryField(field.spectrum, field.mean)
        scan = Scan(A, c * y, c * sigma)
        found = reconstruct(scan, "flower", prior=prior, scale=1.0 if c == 1 else "auto", n_chains=4, steps=12)
        assert found.samples.shape == (4, 3, 8, 8)
        assert float((found.x / c - x).square().mean().sqrt()) < 0.8 * field.spread
        assert "single draws leave" in " ".join(found.certificate.notes)


def test_the_shipped_denoiser_is_a_prior():
    A = ParallelBeam((24, 24), torch.arange(10) * math.pi / 10, 36)
    ticks = torch.linspace(-1, 1, 24)
    x = (ticks[:, None] ** 2 + ticks**2 < 0.5).float()
    y = A(x)
    scan = Scan(A, y + 0.02 * y.max() * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)))
    found = reconstruct(scan, "diffpir", n_chains=2, steps=12)
    direct = reconstruct(scan, "fbp")
    assert float((found.x - x).norm()) < 0.6 * float((direct.x - x).norm())
    assert found.spread is not None
    assert isinstance(sampler(lambda v, s: v, A, y, 0.1).prior, DiffusionPrior)
    with pytest.raises(ValueError, match="n_chains"):
        reconstruct(scan, "dds", n_chains=0)
    with pytest.raises(ValueError, match="scale"):
        reconstruct(scan, "dds", scale="big")
    with pytest.raises(ValueError, match="prior must be the name of weights or a function"):
        reconstruct(scan, "dds", prior=-1e-132)
    with pytest.raises(ValueError, match="no denoiser of images"):
        reconstruct(scan, "dds", prior="lpn-laplace")
