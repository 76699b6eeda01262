"""Plug-and-play: denoisers of every kind as priors, against closed forms; what the certificate says of them."""

import math

import numpy as np
import pytest
import torch
from cases import DOUBLE, bent, smoothed, soft
from laws import dense, dense_map, randn, relative
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor, nn

from invprob.certificate import Certificate
from invprob.fidelities import L2, L1Fidelity
from invprob.functional import Functional, Zero
from invprob.linalg import per_item
from invprob.loop import iterate, solve
from invprob.operators import Blur, Gradient, Identity, Mask
from invprob.priors import (
    L1,
    RED,
    Averaged,
    Box,
    Denoiser,
    Equivariant,
    GradientStepDenoiser,
    Magnitude,
    NonNegative,
    PerItem,
    Sum,
    Tikhonov,
    TotalVariation,
)
from invprob.priors.jacobian import expansion
from invprob.priors.networks import DenoisingUNet, PretrainedDenoiser
from invprob.solvers import ADMM, HQS, GradientDescent, PrimalDual, ProximalGradient

SHAPE = (6, 5)
G = Gradient(SHAPE, dtype=DOUBLE)
TIGHT = {"max_iter": 3000, "tol": 1e-10}


def wiener(v: Tensor, sigma: Tensor) -> Tensor:
    """(I + sigma^2 G^T G)^-1 v, the best linear denoiser of a Gaussian image: a prox with lam tau = sigma^2."""
    L = dense(G).mT @ dense(G)
    level = per_item(sigma**2, v.flatten(-2), 1)[..., None] if sigma.ndim else sigma**2
    M = torch.eye(30, dtype=DOUBLE) + level * L
    flat = v.flatten(-2)[..., None]
    return torch.linalg.solve(M.to(flat), flat)[..., 0].unflatten(-1, SHAPE)


def blurred(seed: int = 1, batch: tuple[int, ...] = ()) -> L2:
    A = Blur(SHAPE, torch.tensor([[0.1, 0.2, 0.1], [0.1, 0.2, 0.3], [0.0, 0.1, 0.1]]), dtype=DOUBLE)
    return L2(A, A(randn((*batch, *SHAPE), seed=seed)) + 0.05 * randn((*batch, *SHAPE), seed=seed + 1))


def weighted(batch: tuple[int, ...] = ()) -> L2:
    """A well-conditioned problem: every pixel by itself."""
    A = Mask(randn(SHAPE, seed=40).abs() + 0.5, dtype=DOUBLE)
    return L2(A, A(randn((*batch, *SHAPE), seed=41)))


class Net(nn.Module):
    """A small network that wants (B, C, H, W) and sigma (B,), and notes what it was given."""

    sigma_range = (0.01, 0.3)

    def __init__(self, channels: int = 1, dtype: torch.dtype = DOUBLE) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(0.1 * torch.randn(channels, channels, 3, 3, dtype=dtype, generator=generator))
        self.seen: tuple[torch.Size, torch.Size] | None = None

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.seen = (x.shape, sigma.shape)
        return x - torch.tanh(nn.functional.conv2d(x, self.weight, padding=1)) * (1 + sigma[:, None, None, None])


def holds(certificate: Certificate, part: str) -> bool | None:
    (found,) = [a for a in certificate.assumptions if part in a.statement]
    return found.holds


# ---- a denoiser that is a prox


@pytest.mark.parametrize(
    "solver",
    [ADMM(**TIGHT), ADMM(rho=0.5, **TIGHT), ProximalGradient(**TIGHT), ProximalGradient(accelerate=False, **TIGHT),
     PrimalDual(**TIGHT)],
    ids=["admm", "admm-rho", "fista", "pgd", "primal-dual"],
)  # fmt: skip
def test_a_wiener_filter_solves_tikhonovs_problem(solver):
    """D = (I + lam tau L)^-1 is the prox of lam/2 |G x|^2, whatever the step."""
    f = blurred()
    result = solve(solver, f, Denoiser(wiener, lam=0.3))
    K, C = dense(f.A), dense(G)
    expected = torch.linalg.solve(K.mT @ K + 0.3 * C.mT @ C, K.mT @ f.y.flatten()).reshape(SHAPE)
    assert result.status == "converged"
    assert relative(result.x, expected) <= 1e-7
    c = result.certificate
    assert c.lipschitz == pytest.approx(1.0, rel=1e-3)  # of constants, which it leaves as they are
    assert 0 < c.residual_lipschitz < 1
    assert 0 < float(c.contraction) < 1
    assert holds(c, "non-expansive") is None
    assert not any("depend on the step" in a.statement for a in c.assumptions)


def test_a_soft_threshold_is_l1():
    f = blurred(batch=(2,))
    for solver in (ADMM(**TIGHT), ProximalGradient(**TIGHT)):
        ours, theirs = (solve(solver, f, g) for g in (Denoiser(soft, 0.01), L1(0.01)))
        assert relative(ours.x, theirs.x) <= 1e-9


def test_with_a_fixed_sigma_the_answer_depends_on_the_step_and_that_is_said():
    f = blurred()
    found = [solve(ADMM(rho=rho, **TIGHT), f, Denoiser(wiener, sigma=0.5)) for rho in (0.2, 2.0)]
    assert relative(found[0].x, found[1].x) > 0.1
    for result, rho in zip(found, (0.2, 2.0), strict=True):
        assert relative(result.x, solve(ADMM(**TIGHT), f, Denoiser(wiener, lam=0.25 * rho)).x) <= 1e-7
        assert holds(result.certificate, "does not depend on the step") is False


def test_the_contraction_is_measured():
    """x <- c (x - tau (x - y)) comes nearer by c (1 - tau) a step, every item at its own pace."""
    f = L2(Identity(SHAPE, dtype=DOUBLE), randn((2, *SHAPE), seed=3))
    factors = torch.tensor([0.9, 0.5], dtype=DOUBLE).reshape(2, 1, 1)
    solver = ProximalGradient(step_size=0.1, accelerate=False, max_iter=40, tol=0)
    c = solve(solver, f, Denoiser(lambda v, sigma: factors.expand_as(v) * v, sigma=0.1)).certificate
    assert c.contraction.tolist() == pytest.approx([0.81, 0.45], rel=1e-2)
    assert c.lipschitz == pytest.approx(0.9, rel=0.01)
    assert c.residual_lipschitz == pytest.approx(0.5, rel=0.01)
    assert solve(ProximalGradient(max_iter=3), f, Denoiser(wiener, 0.1)).certificate.contraction is None
    assert solve(ProximalGradient(), f, L1(0.1)).certificate.contraction is None


def test_in_a_sum_with_a_constraint():
    f = blurred()
    result = solve(ADMM(**TIGHT), f, Sum(Denoiser(wiener, lam=0.3), NonNegative()))
    expected = solve(ADMM(**TIGHT), f, Sum(Tikhonov(0.3, G), NonNegative()))
    assert relative(result.x, expected.x) <= 1e-6
    assert result.certificate.lipschitz is not None


# ---- how a denoiser is called


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_networks_see_one_batch_axis_and_a_channel(batch):
    net = Net()
    v = randn((*batch, *SHAPE), seed=2)
    with torch.no_grad():
        x = Denoiser(net, sigma=0.2).prox(v, 1.0)
        assert net.seen == ((math.prod(batch), 1, *SHAPE), (math.prod(batch),))
        expected = net(v.reshape(-1, 1, *SHAPE), torch.full((math.prod(batch),), 0.2, dtype=DOUBLE)).reshape(v.shape)
        assert torch.equal(x, expected)
        lam = torch.rand(batch, dtype=DOUBLE)
        several = Denoiser(net, lam=lam).prox(v, 0.3)
        for k in np.ndindex(*batch):
            assert relative(several[k], Denoiser(net, lam=float(lam[k])).prox(v[k], 0.3)) <= 1e-12


def test_channels():
    v = randn((2, 3, 8, 7), seed=3)
    colour = Net(3)
    Denoiser(colour, sigma=0.1, ndim=3).prox(v, 1.0)
    assert colour.seen[0] == (2, 3, 8, 7)
    row = Denoiser(Net(1), sigma=0.1)
    assert row.prox(v, 1.0).shape == v.shape


def test_this_packages_networks_are_called_with_items():
    net = DenoisingUNet((4, 8), 1).double()
    nn.init.normal_(net.tail.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    v = randn((2, 3, 12, 10), seed=4)
    with torch.no_grad():
        for D in (net, Equivariant(net), Averaged(net, 0.3)):
            g = Denoiser(D, sigma=torch.full((2, 3), 0.1, dtype=DOUBLE))
            assert relative(g.prox(v, 1.0), D(v, torch.full((2, 3), 0.1, dtype=DOUBLE))) == 0
            assert relative(g.prox(v, 1.0)[1, 2], Denoiser(D, sigma=0.1).prox(v[1, 2], 1.0)) <= 1e-12
    result = solve(HQS(max_iter=3, steps=3), L2(Identity((12, 10), dtype=DOUBLE), v), Denoiser(net, lam=1e-3))
    assert bool(result.x.isfinite().all())


def test_trained_weights_as_a_prior():
    net = DenoisingUNet((4, 8), 1)
    nn.init.normal_(net.tail.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    D = PretrainedDenoiser(net, {"sigma_range": [0.0, 0.3]}).eval().requires_grad_(False)
    v = randn((2, 40, 36), torch.float32, seed=5)
    g = Denoiser(D, sigma=0.1)
    with torch.no_grad():  # in tiles, and half the precision where that is faster
        assert relative(g.prox(v, 1.0), net(v, 0.1)) <= 2e-2
    z = v.clone().requires_grad_()
    assert g.prox(z, 1.0).requires_grad
    complexes = torch.complex(v, v.flip(-1))
    assert relative(Denoiser(D, sigma=0.1 * 2**0.5).prox(complexes, 1.0).real, g.prox(v, 1.0)) <= 2e-2
    f = L2(Identity((40, 36)), v)
    inside, outside = (solve(HQS(sigma_min=s, sigma_max=0.4), f, Denoiser(D, lam=0.01)) for s in (0.1, 0.35))
    assert holds(inside.certificate, "trained for") is True
    assert holds(outside.certificate, "trained for") is False
    assert inside.certificate.lipschitz > 0
    gradient = GradientStepDenoiser(D, 0.1, 0.05)
    with torch.no_grad():
        exact = 0.05 * (v.double() - net(v, 0.05).double()).square().sum((-2, -1))
        assert relative(gradient.value(v).double(), exact) <= 1e-6
    values = objectives(ProximalGradient(backtracking=True, max_iter=20, tol=0), f, gradient, v)
    assert bool((values[1:] <= values[:-1] * (1 + 1e-6)).all())


def test_functions_of_arrays_are_called_per_item():
    seen = []

    def chambolle(image: np.ndarray, sigma: float) -> np.ndarray:
        seen.append((type(image), image.shape, sigma))
        return denoise_tv_chambolle(image, weight=sigma, eps=1e-10, max_num_iter=2000)

    v = randn((2, *SHAPE), seed=6).abs()
    wrapped = Denoiser(PerItem(chambolle), sigma=torch.tensor([0.1, 0.4], dtype=DOUBLE)).prox(v, 1.0)
    assert seen == [(np.ndarray, SHAPE, 0.1), (np.ndarray, SHAPE, 0.4)]
    for k, t in enumerate((0.1, 0.4)):
        assert relative(wrapped[k], TotalVariation(t, tol=1e-9).prox(v[k], 1.0)) <= 1e-3
    single = Denoiser(PerItem(chambolle), sigma=0.1).prox(v.float(), 1.0)
    assert single.dtype == torch.float32
    assert Denoiser(PerItem(chambolle), sigma=0.1).prox(v[:0], 1.0).shape == (0, *SHAPE)


def test_an_answer_in_arrays_is_taken_for_what_it_is():
    g = Denoiser(lambda v, sigma: np.clip(np.asarray(v), 0, 1) * (1 - np.asarray(sigma)), sigma=0.25)
    v = randn((2, *SHAPE), seed=7)
    for _ in range(2):
        assert relative(g.prox(v, 1.0), 0.75 * v.clamp(0, 1)) <= 1e-15

    def spoils(image: np.ndarray, sigma: float) -> np.ndarray:
        image *= 0
        return image

    before = v.clone()
    assert not bool(Denoiser(PerItem(spoils), sigma=0.1).prox(v, 1.0).any())
    assert torch.equal(v, before)


def test_bm3d():
    bm3d = pytest.importorskip("bm3d")
    clean = (torch.arange(32 * 32).reshape(32, 32) % 32 > 15).double()
    noisy = clean + 0.1 * randn((32, 32), seed=8)
    x = Denoiser(PerItem(bm3d.bm3d), sigma=0.1).prox(noisy, 1.0)
    assert float((x - clean).square().mean()) < 0.2 * float((noisy - clean).square().mean())


# ---- scale and complex images


def test_scale_is_the_units_of_the_denoiser():
    def clipped(v: Tensor, sigma: Tensor) -> Tensor:  # knows images in [0, 1] only
        return (v - per_item(sigma, v, 2)).clamp(0, 1)

    v = 50 * randn((3, *SHAPE), seed=9)
    found = Denoiser(clipped, sigma=10.0, scale=100.0).prox(v, 1.0)
    assert relative(found, (v - 10).clamp(0, 100)) <= 1e-14
    sizes = torch.tensor([1.0, 10.0, 100.0], dtype=DOUBLE)
    each = Denoiser(clipped, sigma=0.1 * sizes, scale=sizes).prox(v, 1.0)
    for k, c in enumerate(sizes.tolist()):
        assert relative(each[k], (v[k] - 0.1 * c).clamp(0, c)) <= 1e-14


@pytest.mark.parametrize("kind", [DOUBLE, torch.complex128])
@pytest.mark.parametrize("how", ["parts", "magnitude"])
def test_with_the_largest_value_as_scale_any_denoiser_is_homogeneous(kind, how):
    def crooked(v: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(v) + v**2 * per_item(sigma, v, 2)

    v = randn((2, *SHAPE), kind, seed=10)
    for D in (crooked, Net()):
        if isinstance(D, nn.Module):
            D.requires_grad_(False)
        at = [Denoiser(D, sigma=0.1 * c, scale="max", complex_as=how).prox(c * v, 1.0) / c for c in (1.0, 1e-6, 3e7)]
        assert relative(at[1], at[0]) <= 1e-12
        assert relative(at[2], at[0]) <= 1e-12
        fixed = [Denoiser(D, sigma=0.1 * c, complex_as=how).prox(c * v, 1.0) / c for c in (1.0, 10.0)]
        assert relative(fixed[1], fixed[0]) > 1e-3
        g = Denoiser(D, sigma=0.1, scale="max", complex_as=how)
        loud = torch.stack([v[0], 1e6 * v[1]])
        assert relative(g.prox(loud, 1.0)[0], g.prox(v[0], 1.0)) <= 1e-12
        assert not bool(g.prox(torch.zeros_like(v), 1.0).any())


def test_complex_images():
    v = randn((2, *SHAPE), torch.complex128, seed=11)
    net, level = Net(), torch.full((2,), 0.1, dtype=DOUBLE)
    with torch.no_grad():
        parts = torch.complex(*(net(t[:, None], level)[:, 0] for t in (v.real, v.imag)))
        # sigma^2 = E|n|^2, of which each part has half
        assert relative(Denoiser(net, sigma=0.1 * 2**0.5).prox(v, 1.0), parts) <= 1e-14
        assert relative(Denoiser(net, sigma=level * 2**0.5).prox(v, 1.0), parts) <= 1e-14
        modulus = Denoiser(net, sigma=0.1, complex_as="magnitude").prox(v, 1.0)
        expected = net(v.abs()[:, None], level)[:, 0].clamp(min=0)
        assert relative(modulus.abs(), expected) <= 1e-14
        assert bool(((modulus * v.conj()).real >= 0).all())
        assert float((modulus * v.conj()).imag.abs().max()) <= 1e-14

        pair = Net(2)
        maps = (lambda z: torch.stack([z.real, z.imag], -3), lambda t: torch.complex(t[..., 0, :, :], t[..., 1, :, :]))
        mapped = Denoiser(pair, sigma=0.1, complex_as=maps).prox(v, 1.0)
        assert pair.seen == ((2, 2, *SHAPE), (2,))
        assert torch.equal(mapped, maps[1](pair(maps[0](v), level)))
    assert torch.equal(Denoiser(soft, sigma=0.3).prox(v, 1.0), soft(v, torch.tensor(0.3, dtype=DOUBLE)))
    apart = Denoiser(soft, sigma=0.3 * 2**0.5, complex_as="parts").prox(v, 1.0)
    assert relative(apart, torch.complex(*(soft(t, torch.tensor(0.3)) for t in (v.real, v.imag)))) <= 1e-7


def test_magnitude():
    v = randn((2, *SHAPE), torch.complex128, seed=12)
    v[0, 0, 0] = 0
    disc = Magnitude(Box(0.0, 0.7)).prox(v, 1.0)
    assert relative(disc, v * (0.7 / v.abs()).nan_to_num(1.0, 1.0, 1.0).clamp(max=1)) <= 1e-14
    assert relative(Magnitude(L1(0.5)).prox(v, 0.3), L1(0.5).prox(v, 0.3)) <= 1e-14
    assert torch.equal(Magnitude(TotalVariation(0.5)).value(v), TotalVariation(0.5).value(v.abs()))
    flat = Magnitude(TotalVariation(100.0, tol=1e-9)).prox(v, 1.0)
    assert float((flat.abs() - v.abs().mean((-2, -1), keepdim=True)).abs().max()) <= 1e-3
    assert bool(flat[0, 0, 0].real > 0)  # where there is no phase it is 1
    real = Magnitude(L1(0.5)).prox(v.real, 0.3)
    assert relative(real, L1(0.5).prox(v.real, 0.3)) <= 1e-14
    below = Magnitude(Denoiser(lambda t, sigma: t - 10, sigma=1.0)).prox(v, 1.0)
    assert not bool(below.any())


# ---- wrappers


def test_equivariant():
    def skew(v: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(v + 0.3 * v.roll(1, -1) - 0.2 * v.roll(1, -2)) * (1 - per_item(sigma, v, 2))

    v, sigma = randn((2, 6, 5), seed=13), torch.tensor(0.2, dtype=DOUBLE)
    mean, pair, one = Equivariant(skew), Equivariant(skew, "pair"), Equivariant(skew, "one")
    turns = [(k, flipped) for k in range(4) for flipped in (False, True)]

    def there(t: Tensor, k: int, flipped: bool) -> Tensor:
        t = t.rot90(k, (-2, -1))
        return t.flip(-1) if flipped else t

    def back(t: Tensor, k: int, flipped: bool) -> Tensor:
        return (t.flip(-1) if flipped else t).rot90(-k, (-2, -1))

    assert relative(skew(there(v, *turns[2]), sigma), there(skew(v, sigma), *turns[2])) > 0.1
    chosen = set()
    for turn in turns:
        assert relative(mean(there(v, *turn), sigma), there(mean(v, sigma), *turn)) <= 1e-14
    assert relative(pair(v, sigma), (skew(v, sigma) + skew(v.mT, sigma).mT) / 2) <= 1e-14
    for seed in range(40):
        w = randn((6, 5), seed=seed)
        answer = one(w, sigma)
        assert torch.equal(answer, one(w.clone(), sigma))
        errors = [relative(back(skew(there(w, *turn), sigma), *turn), answer) for turn in turns]
        assert min(errors) <= 1e-14
        chosen.add(int(np.argmin(errors)))
    assert len(chosen) == 8
    assert Denoiser(Equivariant(Net()), sigma=0.1).prox(v, 1.0).shape == v.shape
    arrays = Equivariant(PerItem(lambda a, s: np.roll(a, 1, 1)))
    assert relative(arrays(v, sigma), Equivariant(lambda t, s: t.roll(1, -1))(v, sigma)) <= 1e-14


def test_averaged():
    v, sigma = randn((2, *SHAPE), seed=14), torch.tensor(0.2, dtype=DOUBLE)
    assert relative(Averaged(bent, 0.25)(v, sigma), 0.75 * v + 0.25 * bent(v, sigma)) <= 1e-15
    # a rotation is non-expansive and turns for ever; averaged with the identity it comes to rest
    f = Zero()
    start = randn((4, 4), seed=15)

    def turned(t: Tensor, sigma: Tensor) -> Tensor:
        return t.rot90(1, (-2, -1))

    solver = ProximalGradient(step_size=1.0, accelerate=False, max_iter=200, tol=1e-8)
    assert solve(solver, f, Denoiser(turned, sigma=0.1), x0=start).status == "max_iter"
    rest = solve(solver, f, Denoiser(Averaged(turned), sigma=0.1), x0=start)
    assert rest.status == "converged"
    assert relative(rest.x, sum(start.rot90(k, (-2, -1)) for k in range(4)) / 4) <= 1e-6


# ---- what it expands


@pytest.mark.parametrize("kind", [DOUBLE, torch.float32, torch.complex128])
def test_the_lipschitz_constant_of_a_linear_map(kind):
    M = randn((30, 30), kind, seed=16) / 5
    x = randn(SHAPE, kind, seed=17)

    def D(v: Tensor) -> Tensor:
        return (M @ v.flatten()).reshape(SHAPE)

    true = [float(torch.linalg.matrix_norm(m, 2)) for m in (M, torch.eye(30, dtype=kind) - M)]
    found = expansion(D, x, steps=20)
    assert found.derivative
    assert found.denoiser == pytest.approx(true[0], rel=0.05)
    assert found.residual == pytest.approx(true[1], rel=0.05)
    assert found.denoiser <= true[0] * (1 + 1e-5)
    assert found.residual <= true[1] * (1 + 1e-5)


def test_the_lipschitz_constant_without_a_derivative():
    S = 0.2 * (randn((30, 30), seed=18) + randn((30, 30), seed=18).mT)
    x = randn(SHAPE, seed=19)

    def D(v: Tensor) -> Tensor:
        return torch.from_numpy((S.numpy() @ v.detach().numpy().ravel()).reshape(SHAPE))

    found = expansion(D, x, steps=60)
    assert not found.derivative
    assert found.denoiser == pytest.approx(float(torch.linalg.matrix_norm(S, 2)), rel=0.05)
    assert found.residual == pytest.approx(float(torch.linalg.matrix_norm(torch.eye(30) - S, 2)), rel=0.05)
    kink = expansion(lambda v: torch.from_numpy(np.sign(v.numpy())), torch.zeros(SHAPE, dtype=DOUBLE), steps=3)
    assert kink.denoiser > 100  # a jump has no Lipschitz constant


def test_a_network_is_judged_by_its_jacobian_and_a_batch_by_its_worst_item():
    net, sigma = Net(), torch.tensor(0.1, dtype=DOUBLE)
    x = torch.stack([10 * randn(SHAPE, seed=20), 0.1 * randn(SHAPE, seed=21)])
    g = Denoiser(net, sigma=0.1)
    each = []
    for item in x:
        J = torch.autograd.functional.jacobian(lambda v: g.prox(v, 1.0), item).reshape(30, 30)
        each.append([float(torch.linalg.matrix_norm(m, 2)) for m in (J, torch.eye(30, dtype=DOUBLE) - J)])
    found = g.expansion(x, sigma)
    assert found.denoiser == pytest.approx(max(e[0] for e in each), rel=0.05)
    assert found.residual == pytest.approx(max(e[1] for e in each), rel=0.05)
    assert Denoiser(net, sigma=0.1, power_steps=0).expansion(x, sigma) is None
    large = Denoiser(net, sigma=0.1).expansion(randn((150, 140), seed=22), sigma)
    assert net.seen[0][-2:] == (128, 128)
    assert large.derivative


def test_the_trained_range_is_looked_at_in_the_units_of_the_denoiser():
    f = L2(Identity(SHAPE, dtype=DOUBLE), 100 * randn(SHAPE, seed=23))
    for sigma, scale, inside in ((0.1, 1.0, True), (0.5, 1.0, False), (10.0, 100.0, True), (10.0, 1.0, False)):
        g = Denoiser(Averaged(Net(), 0.5), sigma=sigma, scale=scale, power_steps=0)
        c = solve(ADMM(max_iter=2), f, g).certificate
        assert holds(c, "trained for") is inside
        assert c.lipschitz is None
    schedule = solve(HQS(sigma_max=20.0, sigma_min=5.0), f, Denoiser(Net(), lam=1.0, scale=100.0, power_steps=0))
    assert holds(schedule.certificate, "trained for") is True


# ---- what fails is named


@pytest.mark.parametrize(
    ("D", "told"),
    [
        (lambda v, s: v * torch.nan, r"finite numbers and returned NaN in 30 of 30"),
        (lambda v, s: v[..., 1:], r"given \(6, 5\) torch.float64 and returned \(6, 4\)"),
        (lambda v, s: v.float(), r"returned \(6, 5\) torch.float32"),
        (lambda v, s: np.asarray(v)[1:], r"given an array \(6, 5\) torch.float64 and returned \(5, 5\)"),
        (PerItem(lambda v, s: v > 0), "returned .* bool"),
        (Equivariant(lambda v, s: v.numpy()), "ndarray: wrap a numpy function in PerItem"),
        (Averaged(lambda v, s: v[..., :1]), "returned"),
        (nn.Flatten(), "positional|takes"),
    ],
)
def test_a_bad_answer_is_named_in_one_line(D, told):
    with pytest.raises((ValueError, TypeError), match=told) as caught:
        solve(ADMM(max_iter=3), L2(Identity(SHAPE, dtype=DOUBLE), randn(SHAPE)), Denoiser(D, sigma=0.1))
    assert "\n" not in str(caught.value)


def test_bad_settings():
    for settings, told in (
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": "largest"}, "'max'"),
        ({"complex_as": "polar"}, "complex_as must be"),
        ({"power_steps": -1}, "power_steps"),
    ):
        for make in (lambda **s: Denoiser(soft, sigma=0.1, **s), lambda **s: RED(soft, **s)):
            with pytest.raises(ValueError, match=told):
                make(**settings)
    with pytest.raises(ValueError, match="theta"):
        Averaged(soft, 0.0)
    with pytest.raises(ValueError, match="'mean', 'pair' or 'one'"):
        Equivariant(soft, "all")
    with pytest.raises(TypeError, match=r"weights are torch.float32 and the image is torch.float64.*prior.to"):
        Denoiser(Net(dtype=torch.float32), sigma=0.1).prox(randn(SHAPE), 1.0)
    assert Denoiser(Net(dtype=torch.float32), sigma=0.1).to(DOUBLE).prox(randn(SHAPE), 1.0).dtype == DOUBLE
    with pytest.raises(TypeError, match="autograd sees none"):
        GradientStepDenoiser(lambda v, s: v.detach() * 0.5).grad(randn(SHAPE))
    with pytest.raises(AttributeError) as caught:
        Denoiser(lambda v, s: v.ravell(), sigma=0.1).prox(randn(SHAPE), 1.0)
    assert caught.value.__notes__ == ["the denoiser was given tensors: wrap a function of numpy arrays in PerItem"]


@pytest.mark.parametrize("solver", [ADMM(), ProximalGradient(accelerate=False), ProximalGradient(), HQS(max_iter=400)])
@pytest.mark.parametrize("expands", [lambda v, s: 1.5 * v, lambda v, s: -3 * v + v.roll(1, -1)])
def test_an_expansive_denoiser_is_caught(solver, expands):
    """Where the data see nothing, nothing holds the image but the denoiser."""
    A = Mask(torch.tensor([[1.0], [0.0], [1.0], [0.0], [1.0], [0.0]]).expand(SHAPE), dtype=DOUBLE)
    f = L2(A, A(randn(SHAPE, seed=24)))
    start = randn(SHAPE, seed=25)
    result = solve(solver, f, Denoiser(expands, lam=0.1), x0=start, max_iter=3000)
    assert result.status == "diverged"
    assert bool(result.x.isfinite().all())
    assert float(result.x.abs().max()) <= 1e3 * float(start.abs().max())
    assert holds(result.certificate, "non-expansive") is False
    assert result.certificate.lipschitz > 1.4


def test_a_neighbour_that_diverges_does_no_harm():
    def picky(v: Tensor, sigma: Tensor) -> Tensor:
        big = v.abs().amax((-2, -1), keepdim=True) > 100
        return torch.where(big, 3 * v, 0.9 * v)

    A = Identity(SHAPE, dtype=DOUBLE)
    y = torch.stack([1e4 * randn(SHAPE, seed=26), randn(SHAPE, seed=27)])
    result = solve(ADMM(tol=1e-8), L2(A, y), Denoiser(picky, lam=0.1))
    assert result.item_status == ("diverged", "converged")
    assert relative(result.x[1], solve(ADMM(tol=1e-8), L2(A, y[1]), Denoiser(picky, lam=0.1)).x) <= 1e-10


# ---- RED


def test_red_with_a_symmetric_linear_denoiser_is_tikhonov():
    """grad = lam (I - D) x, so x = (A^T A + lam (I - D))^-1 A^T y."""
    f = weighted()
    K, M = dense(f.A), dense_map(lambda v: smoothed(v, torch.tensor(0.1)), SHAPE, DOUBLE)
    expected = torch.linalg.solve(K.mT @ K + 0.4 * (torch.eye(30, dtype=DOUBLE) - M), K.mT @ f.y.flatten())
    for symmetric in (True, False):
        g = RED(smoothed, 0.4, 0.1, symmetric=symmetric, residual_lipschitz=1.0)
        result = solve(GradientDescent(max_iter=5000, tol=1e-11), f, g)
        assert result.status == "converged"
        assert relative(result.x.flatten(), expected) <= 1e-7
        assert holds(result.certificate, "Jacobian is symmetric") is (True if symmetric else None)
        assert holds(result.certificate, "Lip(I - D) <= 1") is None
        assert (result.certificate.objective is None) is not symmetric
        swapped = solve(ProximalGradient(accelerate=False, max_iter=5000, tol=1e-11), f, g)
        assert relative(swapped.x.flatten(), expected) <= 1e-7
    with pytest.raises(TypeError, match="RED has no value; it has grad"):
        RED(smoothed).value(f.y)


def test_red_says_when_its_step_rests_on_a_wrong_bound():
    result = solve(GradientDescent(max_iter=3), blurred(), RED(lambda v, s: -2 * v, 0.1))
    assert holds(result.certificate, "Lip(I - D) <= 2") is False
    assert result.certificate.residual_lipschitz == pytest.approx(3.0, rel=0.05)


# ---- gradient steps


def test_the_gradient_step_denoiser_is_exact():
    x = randn((2, *SHAPE), seed=28)
    g = GradientStepDenoiser(Net(), lam=torch.tensor([0.5, 2.0], dtype=DOUBLE), sigma=0.2)
    with torch.no_grad():
        slope = g.grad(x)
        assert not slope.requires_grad
        d = randn(x.shape, seed=29)
        h = 1e-5
        numeric = (g.value(x + h * d) - g.value(x - h * d)) / (2 * h)
        assert relative((slope * d).sum((-2, -1)), numeric) <= 1e-8
        scale = torch.tensor([0.5, 2.0], dtype=DOUBLE).reshape(2, 1, 1)
        assert relative(g.gradient_step(x), x - slope / scale) <= 1e-14
    # linear: g = 1/2 |(I - N) x|^2 and its gradient (I - N)^T (I - N) x
    R = torch.eye(30, dtype=DOUBLE) - dense_map(lambda v: smoothed(v, torch.tensor(0.1)), SHAPE, DOUBLE)
    linear = GradientStepDenoiser(smoothed, 0.7)
    assert relative(linear.grad(x[0]).flatten(), 0.7 * R.mT @ R @ x[0].flatten()) <= 1e-12
    z = x.clone().requires_grad_()
    (second,) = torch.autograd.grad((linear.grad(z) * d).sum(), z)
    assert relative(second.flatten(1), 0.7 * d.flatten(1) @ R.mT @ R) <= 1e-12
    found = linear.expansion(x[0], linear.sigma)
    assert found.derivative
    hessian = R.mT @ R  # of g; the step denoises with I minus it
    assert found.residual == pytest.approx(float(torch.linalg.matrix_norm(hessian, 2)), rel=0.02)
    own = float(torch.linalg.matrix_norm(torch.eye(30, dtype=DOUBLE) - hessian, 2))
    assert found.denoiser == pytest.approx(own, rel=0.02)


def objectives(solver: ProximalGradient, f: Functional, g: Functional, x0: Tensor) -> Tensor:
    return torch.stack([f.value(s.state.x) + g.value(s.state.x) for s in iterate(solver, f, g, x0=x0)]).double()


@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
@pytest.mark.parametrize("step", [None, 100.0])
def test_the_objective_never_rises(dtype, step):
    net = Net(dtype=dtype).requires_grad_(False)
    net.weight.mul_(8)  # far from a denoiser
    A = Blur((16, 16), torch.ones(3, 3) / 9, dtype=dtype)
    y = A(randn((3, 16, 16), dtype, seed=30))
    f, g = L2(A, y), GradientStepDenoiser(net, torch.tensor([0.01, 0.1, 3.0], dtype=dtype), 0.1)
    solver = ProximalGradient(backtracking=True, step_size=step, max_iter=80, tol=0)
    values = objectives(solver, f, g, y)
    assert bool((values[1:] <= values[:-1] * (1 + 1e-6)).all())
    assert bool((values[-1] < values[0]).all())
    if step:
        fixed = objectives(ProximalGradient(step_size=step, accelerate=False, max_iter=80, tol=0), f, g, y)
        assert bool((fixed[1:] > fixed[:-1] * 1.01).any())  # without the search it does rise
    result = solve(solver, f, g, x0=y)
    assert holds(result.certificate, "never rises") is True
    assert holds(result.certificate, "gradient of the prior is exact") is True
    assert result.certificate.lipschitz > 0
    assert relative(result.certificate.objective.double(), f.value(result.x) + g.value(result.x)) <= 1e-6
    assert relative(result.certificate.objective.double(), values[-1]) <= 1e-5


def test_backtracking_reaches_the_minimum_and_a_batch_its_own_steps():
    """A convex potential: 1/2 |(I - N) x|^2 for linear N, with its closed form."""
    f = weighted((2,))
    lam = torch.tensor([0.5, 5.0], dtype=DOUBLE)
    K = dense(f.A)
    R = torch.eye(30, dtype=DOUBLE) - dense_map(lambda v: smoothed(v, torch.tensor(0.1)), SHAPE, DOUBLE)
    g = GradientStepDenoiser(smoothed, lam)
    for settings in ({}, {"accelerate": True}, {"step_size": 1e3}):
        result = solve(ProximalGradient(backtracking=True, max_iter=20000, tol=1e-11, **settings), f, g)
        assert result.status == "converged"
        for k in range(2):
            exact = torch.linalg.solve(K.mT @ K + lam[k] * R.mT @ R, K.mT @ f.y[k].flatten())
            assert relative(result.x[k].flatten(), exact) <= 1e-5
    classic = solve(ProximalGradient(backtracking=True, step_size=50.0, **TIGHT), f, L1(0.1))
    assert relative(classic.x, solve(ProximalGradient(**TIGHT), f, L1(0.1)).x) <= 1e-6
    pnp = solve(ProximalGradient(backtracking=True, step_size=1.0, **TIGHT), f, Denoiser(wiener, 0.3))
    assert relative(pnp.x, solve(ADMM(**TIGHT), f, Denoiser(wiener, 0.3)).x) <= 1e-6
    with pytest.raises(ValueError, match="step_size must be positive"):
        solve(ProximalGradient(backtracking=True, step_size=-1.0), f, g)
    with pytest.raises(TypeError, match="needs the value of RED"):
        solve(ProximalGradient(backtracking=True), f, RED(smoothed))


# ---- half-quadratic splitting


def test_hqs_is_its_recursion():
    """On a diagonal problem: v = (w y + rho z) / (w + rho), z = D(v, sigma), by hand in numpy."""
    A = Mask(torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0]).expand(SHAPE), dtype=DOUBLE)
    y = randn((2, *SHAPE), seed=31)
    lam = torch.tensor([0.02, 0.3], dtype=DOUBLE)
    result = solve(HQS(max_iter=5, steps=5, sigma_max=0.8, sigma_min=0.05), L2(A, y), Denoiser(soft, lam=lam))
    a = np.array([1.0, 0.0, 2.0, 0.5, 1.0])
    for k in range(2):
        z = np.zeros(SHAPE)
        for sigma in np.geomspace(0.8, 0.05, 5):
            rho = float(lam[k]) / sigma**2
            v = (a * y[k].numpy() + rho * z) / (a**2 + rho)
            z = np.sign(v) * np.maximum(np.abs(v) - sigma**2, 0)
        assert relative(result.x[k], torch.from_numpy(z)) <= 1e-12
    assert result.certificate.fixed_point_residual.isfinite().all()
    assert bool(result.history["residual"][-1].isfinite().all())


def test_hqs_settles_where_sigma_stays():
    """Its fixed point minimises the smoothed problem: x = D(v), v = argmin f + rho/2 |v - x|^2."""
    f, lam = blurred(), 0.3
    result = solve(
        HQS(max_iter=3000, steps=4, sigma_max=2.0, sigma_min=0.5, tol=1e-11, x_tol=1e-12), f, Denoiser(wiener, lam)
    )
    assert result.status == "converged"
    rho = lam / 0.25
    K, M = dense(f.A), torch.eye(30, dtype=DOUBLE) + 0.25 * dense(G).mT @ dense(G)
    H = K.mT @ K
    exact = torch.linalg.solve((H + rho * torch.eye(30)) @ M - rho * torch.eye(30), K.mT @ f.y.flatten())
    assert relative(result.x.flatten(), exact) <= 1e-7
    assert holds(result.certificate, "sigma stays") is True
    short = solve(HQS(), f, Denoiser(wiener, lam))
    assert short.status == "max_iter"
    assert int(short.n_iter) == 8
    assert holds(short.certificate, "sigma stays") is False


def test_hqs_keeps_to_its_levels():
    seen = []

    def note(v: Tensor, sigma: Tensor) -> Tensor:
        seen.append(float(sigma))
        return v

    solve(HQS(max_iter=6, steps=4, sigma_max=0.8, sigma_min=0.1), blurred(), Denoiser(note, lam=0.01, power_steps=0))
    assert seen == pytest.approx([0.8, 0.4, 0.2, 0.1, 0.1, 0.1])
    assert HQS(steps=1, max_iter=1, sigma_min=0.1).sigma(0) == pytest.approx(0.1)


def test_hqs_refuses_what_it_cannot_do():
    f = blurred()
    for bad, told in (
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_min": 1.0}, "sigma_max"),
        ({"steps": 0}, "steps"),
        ({"x_tol": 0.0}, "x_tol"),
    ):
        with pytest.raises(ValueError, match=told):
            HQS(**bad)
    for g in (Denoiser(soft, sigma=0.1), L1(0.1), Denoiser(soft, lam=0.0)):
        with pytest.raises(TypeError, match="HQS lowers the noise level"):
            solve(HQS(), f, g)
    with pytest.raises(TypeError, match="L1Fidelity is not quadratic"):
        solve(HQS(), L1Fidelity(f.A, f.y), Denoiser(soft, lam=0.1))
