"""Learned proximal networks: what makes them proxes, against dense Jacobians, closed forms and exact inversions."""

import hashlib
import json
import math

import pytest
import torch
from cases import OPERATORS
from laws import dense_map, randn, relative
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import conv2d

from invprob import Scan, reconstruct
from invprob.errors import InputError
from invprob.fidelities import L2
from invprob.loop import solve
from invprob.operators import Blur, Identity
from invprob.priors import LearnedProximal, Magnitude, NonNegative, Sum, load_pretrained
from invprob.priors.networks import ConvexConv, ConvexRidge, ConvexScalar, PatchAverage, RidgeRegulariser
from invprob.priors.networks.convex import ConvexPotential
from invprob.priors.networks.pretrained import WEIGHTS
from invprob.priors.networks.transfer import gram_bound, transfer_bound
from invprob.priors.quasi_newton import minimise
from invprob.solvers import ADMM, ProximalGradient

DOUBLE = torch.float64
SHAPE = (7, 6)
TIGHT = 1e-9


def projected(network):
    network.project()
    return network.double().eval().requires_grad_(False)


def rough(network, seed=0):
    """A network whose weights are moved, so that nothing is symmetric by its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator))
    return projected(network)


NETWORKS = {
    "scalar": (lambda: rough(ConvexScalar(6, 3, mu=0.05)), (9,)),
    "conv": (lambda: rough(ConvexConv(4, 4)), SHAPE),
    "conv-sigma": (lambda: rough(ConvexConv(3, 3, conditional=True)), SHAPE),
    "conv-dense": (lambda: rough(ConvexConv(3, 3, side=6)), (6, 6)),
    "ridge": (lambda: rough(ConvexRidge(3)), SHAPE),
    "patches": (lambda: projected(PatchAverage(rough(ConvexConv(3, 2, side=4)), 4, 2)), SHAPE),
    "regulariser": (lambda: rough(RidgeRegulariser(3, weak=0.6)), SHAPE),
}
POTENTIALS = [name for name, (make, _) in NETWORKS.items() if isinstance(make(), ConvexPotential)]


def case(name, batch=()):
    make, shape = NETWORKS[name]
    return make(), 0.5 * randn((*batch, *shape), seed=3)


def prior(name, lam=1.0, **settings):
    return LearnedProximal(case(name)[0], lam, **{"sigma": 0.2, "tol": TIGHT, "max_iter": 300, **settings})


def jacobian(g, x, t=1.0):
    """The Jacobian of prox_{t R} at x by central differences, which see what autograd would not."""
    h = 1e-4
    steps = h * torch.eye(x.numel(), dtype=DOUBLE).reshape(-1, *x.shape)
    return ((g.prox(x + steps, t) - g.prox(x - steps, t)) / (2 * h)).flatten(1).T


# ---- the maps are gradients of convex potentials


@pytest.mark.parametrize("name", POTENTIALS)
def test_f_is_the_gradient_of_psi_in_closed_form(name):
    network, y = case(name, (2,))
    y.requires_grad_()
    psi, f = network.potential_and_gradient(y, 0.3)
    assert (psi.shape, psi.dtype) == ((2,), DOUBLE)
    (automatic,) = torch.autograd.grad(psi.sum(), y)
    assert relative(f.detach(), automatic) <= 1e-9
    assert torch.equal(network(y.detach(), 0.3), f.detach())


@pytest.mark.parametrize("name", POTENTIALS)
def test_the_jacobian_is_symmetric_and_positive(name):
    network, y = case(name)
    J = torch.autograd.functional.jacobian(lambda v: network(v, 0.3), y).reshape(y.numel(), -1)
    assert float((J - J.T).abs().max()) <= 1e-10
    values = torch.linalg.eigvalsh(J)
    assert float(values[0]) >= network.mu * (1 - 1e-9) - 1e-10
    assert float(values[-1]) <= network.lipschitz_bound() * (1 + 1e-9)


def test_without_its_constraint_a_network_is_no_prox():
    """The same test fails where weights may be negative, and where f is any network."""
    network = ConvexConv(4, 4).double()
    with torch.no_grad():
        for weight in network.weights:
            weight.copy_(3 * randn(weight.shape, seed=8))
        network.last.copy_(3 * randn(network.last.shape, seed=9))
    y = randn(SHAPE, seed=3)
    J = torch.autograd.functional.jacobian(lambda v: network(v), y).reshape(y.numel(), -1)
    assert float((J - J.T).abs().max()) <= 1e-8  # still a gradient ...
    assert float(torch.linalg.eigvalsh((J + J.T) / 2)[0]) < -0.1  # ... of a potential that is not convex
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 1, 3, padding=1)).double()
    J = torch.autograd.functional.jacobian(lambda v: plain(v[None, None])[0, 0], y).reshape(y.numel(), -1)
    assert float((J - J.T).abs().max()) > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_the_prox_has_a_symmetric_positive_jacobian_and_solves_its_problem(name):
    g = prior(name)
    x = 0.5 * randn(NETWORKS[name][1], seed=4)
    for t in (0.4, 1.0):
        J = jacobian(g, x, t)
        assert float((J - J.T).abs().max()) <= 1e-5
        assert float(torch.linalg.eigvalsh((J + J.T) / 2)[0]) >= -1e-5
        p = g.prox(x, t)
        assert relative(t * g.grad(p) + p, x) <= 1e-8  # t grad R(p) = x - p


@pytest.mark.parametrize("name", NETWORKS)
def test_a_good_guess_saves_work_and_a_bad_one_does_no_harm(name):
    network, v = case(name, (2,))
    t, sigma = torch.full((2,), 0.4, dtype=DOUBLE), torch.full((2,), 0.2, dtype=DOUBLE)

    def prox(guess, max_iter=300):
        return network.proximal(v, t, sigma, tol=TIGHT, max_iter=max_iter, guess=guess)

    assert relative(prox(v + 1), prox(None)) <= 1e-7
    assert relative(prox(prox(None), max_iter=1), prox(None)) <= 1e-7 < relative(prox(v, max_iter=1), prox(None))


@pytest.mark.parametrize("name", POTENTIALS)
def test_f_is_inverted(name):
    """f(f^-1(x)) = x, z - f(z) = grad R(f(z)), and R at f(z) without an inversion is R by inversion."""
    network, z = case(name, (2,))
    g = prior(name)
    x = network(z, 0.2)
    assert relative(network(x + g.grad(x), 0.2), x) <= 2 * TIGHT
    assert relative(g.grad(x), z - x) <= 1e-6
    p, value = g.denoise_and_value(z)
    assert relative(p, x) <= 1e-12
    assert value.tolist() == pytest.approx(g.value(x).tolist(), rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_the_value(name):
    g, x = prior(name, 0.7), case(name)[1]
    u = randn(x.shape, seed=5)
    h = 1e-5
    slope = (g.value(x + h * u) - g.value(x - h * u)) / (2 * h)
    assert float(slope) == pytest.approx(float((g.grad(x) * u).sum()), rel=1e-5, abs=1e-7)
    x.requires_grad_()
    (automatic,) = torch.autograd.grad(g.value(x), x)
    assert relative(automatic, g.grad(x.detach())) <= 1e-12


@pytest.mark.parametrize("name", POTENTIALS)
def test_the_certificate_has_two_sides(name):
    """However early the inversion stops: p <= R(x) <= p + r^2 / (2 mu)."""
    x = case(name, (3,))[1]
    true = prior(name).value(x)
    for steps in (1, 3, 10):
        low, high, residual = prior(name, max_iter=steps).bounds(x)
        assert bool((low <= true + 1e-9).all())
        assert bool((true <= high + 1e-9).all())
        assert bool((residual >= 0).all())
    low, high, residual = prior(name).bounds(x)
    assert float((high - low).max()) <= 1e-12
    assert float(residual.max()) <= 10 * TIGHT


def test_without_strong_convexity_the_upper_bound_is_infinite():
    g = LearnedProximal(rough(ConvexScalar(6, 2, mu=0.0)), tol=1e-2, max_iter=3)
    low, high, residual = g.bounds(torch.full((2, 3), 50.0, dtype=DOUBLE))  # beyond the range of f
    assert float(residual.min()) > 0
    assert bool(low.isfinite().all())
    assert bool(high.isposinf().all())


# ---- steps, units, items


def test_a_step_too_long_is_refused_by_name():
    g = LearnedProximal(case("regulariser")[0], sigma=0.2)
    limit = 1 / g.network.weak_convexity()
    g.prox(randn(SHAPE), 0.9 * limit)
    with pytest.raises(ValueError, match="the prox need not be unique"):
        g.prox(randn(SHAPE), 1.1 * limit)


def test_longer_steps_where_the_lipschitz_constant_permits():
    """f = c y + ... with Lip(f) <= L: prox_{t R} exists for t < L / (L - 1)."""
    g = prior("ridge")
    L = g.network.lipschitz_bound()
    t = 0.9 * L / (L - 1)
    x = 0.5 * randn(SHAPE, seed=4)
    assert t > 1
    p = g.prox(x, t)
    assert relative(t * g.grad(p) + p, x) <= 1e-7


@pytest.mark.parametrize("name", ["ridge", "regulariser", "conv-sigma"])
def test_units(name):
    """prox of c^2 R(x / c; sigma / c): whatever the unit of the image, the same image."""
    network, x = case(name)
    one = LearnedProximal(network, 0.6, sigma=0.2, tol=TIGHT)
    other = LearnedProximal(network, 0.6, sigma=2.0, scale=10.0, tol=TIGHT)
    assert relative(other.prox(10 * x, 1.0), 10 * one.prox(x, 1.0)) <= 1e-8
    assert float(other.value(10 * x)) == pytest.approx(100 * float(one.value(x)), rel=1e-8)


@pytest.mark.parametrize("name", NETWORKS)
def test_items_are_alone_and_nothing_is_kept(name):
    x = case(name, (2, 3))[1]
    lam, tau = torch.tensor([[0.2, 0.5, 1.0]], dtype=DOUBLE).expand(2, 3), torch.tensor(0.8, dtype=DOUBLE)
    g = prior(name, lam)
    before = x.clone()
    p, value = g.prox(x, tau), g.value(x)
    assert torch.equal(p, g.prox(x, tau))
    assert torch.equal(x, before)
    assert not p.requires_grad
    assert value.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            alone = prior(name, float(lam[i, j]))
            assert relative(p[i, j], alone.prox(x[i, j], 0.8)) <= 1e-8
            assert float(value[i, j]) == pytest.approx(float(alone.value(x[i, j])), rel=1e-9, abs=1e-12)


def test_more_axes_and_fewer_than_the_networks():
    network, _ = case("regulariser")
    volume, row = randn((4, *SHAPE), seed=6), randn((9,), seed=7)
    slices = LearnedProximal(network, sigma=0.2, tol=TIGHT)
    g = LearnedProximal(network, sigma=0.2, ndim=3, tol=TIGHT)
    assert relative(g.prox(volume, 1.0), slices.prox(volume, 1.0)) <= 1e-9
    assert float(g.value(volume)) == pytest.approx(float(slices.value(volume).sum()))
    h = LearnedProximal(network, sigma=0.2, ndim=1, tol=TIGHT)
    p = h.prox(row, 1.0)
    assert relative(h.grad(p) + p, row) <= 1e-9
    assert float(h.value(row)) > float(h.value(p)) > 0


def test_complex_images_by_parts_or_by_magnitude():
    g = prior("regulariser")
    z = randn(SHAPE, torch.complex128, seed=8)
    h = prior("regulariser", sigma=g.sigma / 2**0.5)  # sigma^2 = E|n|^2, half of which is in each part
    assert relative(g.prox(z, 1.0), torch.complex(h.prox(z.real, 1.0), h.prox(z.imag, 1.0))) <= 1e-12
    assert float(g.value(z)) == pytest.approx(float(h.value(z.real) + h.value(z.imag)))
    m = Magnitude(g)
    assert relative(m.prox(z, 1.0).abs(), g.prox(z.abs(), 1.0).clamp(min=0)) <= 1e-12


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LearnedProximal(RidgeRegulariser()), "give sigma"),
        (lambda: LearnedProximal(ConvexScalar(), scale=0.0), "scale must be positive"),
        (lambda: LearnedProximal(ConvexScalar(), tol=0.0), "tol"),
        (lambda: RidgeRegulariser(weak=1.0), "weak"),
        (lambda: ConvexRidge(mu=0.0), "mu must lie in"),
        (lambda: PatchAverage(ConvexConv(2, 2, side=4), 4, 3), "must divide the side 4"),
        (lambda: ConvexConv(2, 2, side=4)(torch.zeros(5, 5)), r"images of 4 x 4 pixels, got \(5, 5\)"),
        (lambda: ConvexConv(2, 2)(torch.zeros(5, 5) + 0j), "takes real images"),
        (lambda: ConvexConv(2, 2)(torch.zeros(2, 5, 5), torch.ones(3)), r"one per item \(2,\)"),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
    with pytest.raises(TypeError, match="for any other use Denoiser"):
        LearnedProximal(nn.Conv2d(1, 1, 3))


# ---- the parts


def test_minimise_against_a_quadratic_with_known_answer():
    M = randn((3, 8, 8), seed=1)
    H = M @ M.mT + 0.1 * torch.eye(8, dtype=DOUBLE)
    b = randn((3, 8), seed=2)

    def function(x, index):
        Hx = torch.einsum("bij,bj->bi", H[index], x)
        return 0.5 * (x * Hx).sum(1) - (b[index] * x).sum(1), Hx - b[index]

    found = minimise(function, torch.zeros(3, 8, dtype=DOUBLE), tol=torch.full((3,), 1e-10, dtype=DOUBLE), max_iter=400)
    assert relative(found.x, torch.linalg.solve(H, b)) <= 1e-7
    assert float(found.residual.max()) <= 1e-10
    alone = minimise(lambda x, i: function(x, i + 1), torch.zeros(1, 8, dtype=DOUBLE), tol=torch.tensor([1e-10]))
    assert relative(alone.x[0], found.x[1]) <= 1e-7


@pytest.mark.parametrize("stride", [1, 2])
def test_gram_iteration_bounds_convolutions_of_every_size(stride):
    K = randn((3, 2, 3, 3), seed=4)
    bound = gram_bound(K, steps=4)
    for n in (4, 9):
        M = dense_map(lambda x: conv2d(x, K, padding=1, stride=stride), (2, n, n), DOUBLE)
        norm = float(torch.linalg.matrix_norm(M, 2))
        assert norm <= bound
    if stride == 1:
        assert norm >= 0.8 * bound
    assert gram_bound(torch.zeros(1, 1, 3, 3)) == 0.0


def test_transfer_functions_bound_banks_of_filters():
    h, w = randn((4, 1, 3, 3), seed=5), randn((4,), seed=6).abs()
    M = dense_map(lambda x: w.sqrt()[:, None, None] * conv2d(x[:, None], h, padding=2), (12, 12), DOUBLE)
    norm = float(torch.linalg.matrix_norm(M, 2)) ** 2
    assert 0.93 * float(transfer_bound(h, w)) <= norm <= float(transfer_bound(h, w))


def test_the_regulariser_keeps_its_limits():
    network = rough(RidgeRegulariser(3, curvature=6.0, weak=0.4, falling=0.9), 2)
    with torch.no_grad():
        network.field.log_gain.add_(4.0)  # far beyond them
    assert network.weak_convexity() <= 0.4 + 1e-12
    assert network.gradient_lipschitz() <= 6.0 + 1e-12
    g = LearnedProximal(network, sigma=0.3, tol=TIGHT)
    for scale, shape in ((0.01, SHAPE), (0.2, (2, 1)), (1.0, SHAPE), (5.0, (1, 9))):
        x = (scale * randn(shape, seed=11)).requires_grad_()
        slope = network.field.pair(
            x[None], torch.tensor([0.3], dtype=DOUBLE), network.field.constants()[0], value=False
        )
        J = torch.stack([torch.autograd.grad(s, x, retain_graph=True)[0].flatten() for s in slope[1].flatten()])
        values = torch.linalg.eigvalsh((J + J.T) / 2)
        assert float(values[0]) >= -network.weak_convexity() - 1e-9
        assert float(values[-1]) <= network.gradient_lipschitz() + 1e-9
    assert g.lipschitz() == pytest.approx(network.gradient_lipschitz())


def test_mirror_images_and_other_greys_are_as_likely():
    g, x = prior("regulariser"), randn(SHAPE, seed=15)
    for other in (x.flip(0), x.flip(1), x + 3):
        assert relative(g.value(other), g.value(x)) <= 1e-12


def test_a_border_costs_no_more_than_what_lies_inside():
    """A picture and its mirror image beside it have the same differences twice, and none between them."""
    g, x = prior("regulariser"), randn(SHAPE, seed=16)
    assert relative(g.value(torch.cat([x, x.flip(1)], 1)), 2 * g.value(x)) <= 1e-12


def test_the_forward_pass_is_the_prox_and_has_its_derivatives():
    network = rough(RidgeRegulariser(3, weak=0.6, tol=1e-11))
    y, cotangent = 0.5 * randn(SHAPE, seed=3).requires_grad_(), randn(SHAPE, seed=8)
    assert (
        relative(network(y, 0.2).detach(), LearnedProximal(network, sigma=0.2, tol=1e-11).denoise(y.detach())) <= 1e-9
    )

    def loss(values, image):
        return (cotangent * torch.func.functional_call(network, values, (image, 0.2))).sum()

    values = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
    slopes = torch.autograd.grad(loss(values, y), [*values.values(), y])
    for k, (name, point) in enumerate([*values.items(), ("y", y)]):
        step = 1e-4 * randn(tuple(point.shape), seed=k)
        with torch.no_grad():
            up, down = (
                loss(values, point + s) if name == "y" else loss({**values, name: point + s}, y) for s in (step, -step)
            )
        assert float((slopes[k] * step).sum()) == pytest.approx(float(up - down) / 2, rel=1e-5, abs=1e-11), name


# ---- solvers


def blurred(batch=(2,)):
    A = Blur(SHAPE, torch.tensor([[0.1, 0.2, 0.1], [0.1, 0.2, 0.1], [0.0, 0.1, 0.1]]), dtype=DOUBLE)
    return L2(A, A(randn((*batch, *SHAPE), seed=12)) + 0.05 * randn((*batch, *SHAPE), seed=13))


def holds(certificate, part):
    (found,) = [a for a in certificate.assumptions if part in a.statement]
    return found.holds


@pytest.mark.parametrize("name", ["conv", "ridge", "patches", "regulariser"])
def test_the_objective_never_rises_in_proximal_gradients_with_a_legal_step(name):
    f, g = blurred(), prior(name, tol=1e-9)
    solver = ProximalGradient(step_size=0.99 / float(f.lipschitz()), accelerate=False, tol=0, max_iter=1)
    state, values = solver.init(f, g, f.start()), []
    for _ in range(12):
        state = solver.step(f, g, state)
        values.append(f.value(state.x) + g.value(state.x))
    history = torch.stack(values)
    assert bool((history[1:] <= history[:-1] + 1e-9).all())
    assert bool((history[-1] < history[0]).all())


def test_two_solvers_one_minimum_and_what_the_certificate_says():
    f, g = blurred(), prior("regulariser", 1.5, tol=1e-7)
    results = [solve(solver, f, g, noise=0.05) for solver in (ProximalGradient(tol=1e-5), ADMM(rho=1.5, tol=1e-5))]
    assert [r.status for r in results] == ["converged"] * 2
    assert relative(results[0].x, results[1].x) <= 1e-3
    x = results[0].x
    assert relative(f.grad(x), -g.grad(x)) <= 1e-3
    for result in results:
        c = result.certificate
        assert holds(c, "proximal operator") is True
        assert holds(c, "0 < alpha < 1") is True
        assert relative(c.objective, f.value(x) + g.value(x)) <= 1e-5
    assert holds(results[1].certificate, "1 / (prox step) > |A^T A|") is True
    weak = solve(ADMM(rho=0.2, max_iter=5), f, prior("regulariser", 0.2)).certificate
    assert holds(weak, "1 / (prox step) > |A^T A|") is False
    assert any("steps of" in a.reason for a in weak.assumptions)


def test_in_a_sum_with_a_constraint():
    A = blurred().A
    f = L2(A, A(randn(SHAPE, seed=12) + 0.3))
    g = prior("regulariser", 0.5)
    result = solve(ADMM(rho=1.0, tol=1e-3), f, Sum(NonNegative(), g))
    x = result.x
    assert result.status == "converged"
    assert float(x.min()) == 0
    slope = f.grad(x) + g.grad(x)  # what the constraint holds against: zero where x > 0, else it points inwards
    assert float(slope[x > 1e-2].abs().max()) <= 0.01
    assert float(slope[x == 0].min()) >= -0.01


def test_denoising_is_the_prox():
    """With A = I the minimiser of 1/2 |x - y|^2 + lam R is prox_{lam R}(y)."""
    y = 0.5 * randn(SHAPE, seed=14)
    g = prior("ridge", 0.5)
    found = solve(ProximalGradient(tol=1e-9, max_iter=100), L2(Identity(SHAPE, dtype=DOUBLE), y), g)
    assert relative(found.x, g.prox(y, 1.0)) <= 1e-7


@pytest.mark.parametrize(
    "name",
    ["blur-1d", "cone", "lifted-fan", "from-functions-complex", "vstack", "mask", "random-projection", "blur-one"],
)
def test_the_method_takes_every_operator(name):
    """Images of one to three axes, real and complex, down to a single pixel."""
    A = OPERATORS[name](torch.float32)
    y = A(randn((2, *A.domain_shape), A.domain_dtype, 1).abs().to(A.domain_dtype))
    result = reconstruct(Scan(A, y), "lpn", strength=0.03, max_iter=4)
    assert result.x.shape == (2, *A.domain_shape)
    assert bool(result.x.isfinite().all())
    assert result.certificate.objective.shape == (2,)
    assert holds(result.certificate, "proximal operator") is True


def test_the_method_needs_a_proximal_network():
    with pytest.raises(InputError, match="no pretrained weights 'nothing'"):
        reconstruct(Scan(Identity(SHAPE), torch.ones(SHAPE)), "lpn", network="nothing")


# ---- weights


@pytest.fixture
def folder(tmp_path):
    net = ConvexConv(3, 2)
    write(tmp_path, net.state_dict(), architecture="convex-conv", arguments=net.arguments)
    return tmp_path


def write(folder, weights, **said):
    save_file({name: t.contiguous() for name, t in weights.items()}, folder / "toy.safetensors")
    content = (folder / "toy.safetensors").read_bytes()
    card = {"sha256": hashlib.sha256(content).hexdigest(), "sigma_range": [0.1, 0.1], **said}
    (folder / "toy.json").write_text(json.dumps(card))


def test_pretrained_networks_come_as_priors(folder):
    g = load_pretrained("toy", folder)
    assert isinstance(g, LearnedProximal)
    x = torch.rand(12, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(g.prox(x, 1.0), ConvexConv(3, 2)(x))
    assert g.card["architecture"] == "convex-conv"
    assert g.value(x).shape == ()
    assert not any(p.requires_grad for p in g.parameters())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f, net: write(f, net.state_dict(), architecture="convex-ridge", arguments={}), "does not fit"),
        (lambda f, net: write(f, net.state_dict(), architecture="convex-conf", arguments={}), "'convex-conf'"),
        (
            lambda f, net: write(
                f, net.state_dict(), architecture="convex-conv", arguments={**net.arguments, "width": 4}
            ),
            "does not fit",
        ),
        (
            lambda f, net: write(
                f,
                {k: t + (math.nan if k == "last" else 0) for k, t in net.state_dict().items()},
                architecture="convex-conv",
                arguments=net.arguments,
            ),
            r"not finite \(last\)",
        ),
    ],
)
def test_weights_that_will_not_do_are_named(folder, damage, words):
    damage(folder, ConvexConv(3, 2))
    with pytest.raises(InputError, match=words) as error:
        load_pretrained("toy", folder)
    assert "\n" not in str(error.value)


SHIPPED = sorted(path.stem for path in WEIGHTS.glob("lpn-*.safetensors"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_are_proxes(name):
    g = load_pretrained(name)
    network = g.network.double()
    side = getattr(network, "side", None) or 12
    x = 0.3 + 0.2 * randn((side,) * network.ndim, seed=1)
    sigma = torch.tensor([float(g.sigma)], dtype=DOUBLE)
    u, w = randn(x.shape, seed=2), randn(x.shape, seed=3)
    h = 1e-4

    def pushed(d):
        def f(v):
            return network.proximal(v[None], torch.ones(1, dtype=DOUBLE), sigma, tol=1e-13, max_iter=1000)[0]

        return (f(x + h * d) - f(x - h * d)) / (2 * h)

    Ju, Jw = pushed(u), pushed(w)
    assert float((Ju * w).sum()) == pytest.approx(float((u * Jw).sum()), rel=1e-5, abs=1e-6)
    assert float((Ju * u).sum()) > 0


def test_the_shipped_map_of_laplace_is_a_soft_threshold():
    g = load_pretrained("lpn-laplace")
    y = torch.linspace(-3.4, 3.4, 681)
    soft = y.sign() * (y.abs() - 1).clamp(min=0)
    error = (g.prox(y, 1.0) - soft).abs()
    assert float(error.max()) <= 0.09
    assert float(error.square().mean().sqrt()) <= 0.03
    x = torch.linspace(-2.4, 2.4, 193, dtype=DOUBLE)[:, None]
    exact = LearnedProximal(g.network.double(), tol=1e-9, max_iter=1000)
    low, high, _ = exact.bounds(x)
    assert float((high - low).max()) <= 1e-6
    assert float((low - low.min() - x[:, 0].abs()).abs().max()) <= 0.06
