"""The denoising U-Net, tiles without seams, and weights with cards."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from invprob import metrics
from invprob.errors import InputError
from invprob.priors import load_pretrained
from invprob.priors.networks import DenoisingUNet, denoise_tiled, fast_bf16
from invprob.priors.networks.tiling import _tiles


def network(seed=0, **settings):
    """An untrained network that does something: its tail, zero at the start, is random."""
    net = DenoisingUNet(**{"channels": (8, 16), "blocks": 1, **settings})
    with torch.no_grad():
        for weight in (net.tail.weight, *(p for p in net.parameters() if p.ndim == 1)):
            weight.copy_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    return net.eval()


def noise(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_it_starts_as_the_identity_without_touching_the_global_generator():
    before = torch.get_rng_state()
    net = DenoisingUNet()
    assert torch.equal(before, torch.get_rng_state())
    x = noise(2, 20, 24)
    assert torch.equal(net(x, 0.1), x)
    assert 0.5e6 < sum(p.numel() for p in net.parameters()) < 2e6
    same, other = DenoisingUNet(generator=0), DenoisingUNet(generator=1)
    assert torch.equal(net.head.weight, same.head.weight)
    assert not torch.equal(net.head.weight, other.head.weight)


@pytest.mark.parametrize("shape", [(16, 16), (1, 1), (5, 31), (2, 33, 17), (2, 3, 12, 9)])
def test_any_size_and_any_batch(shape):
    x = noise(*shape)
    out = network()(x, 0.1)
    assert out.shape == x.shape
    assert out.isfinite().all()


def test_items_do_not_know_their_neighbours():
    net, x, sigma = network(), noise(3, 2, 22, 27), noise(3, 2, seed=2)
    alone = torch.stack([torch.stack([net(x[i, j], sigma[i, j]) for j in range(2)]) for i in range(3)])
    assert torch.allclose(net(x, sigma), alone, atol=1e-6)
    assert not torch.allclose(net(x, sigma), net(x, 0.5 * sigma), atol=1e-4), "the noise level matters"


def test_without_bias_it_is_positively_homogeneous():
    x = noise(21, 30).double()
    free, biased = network().double(), network(bias=True).double()
    assert torch.allclose(free(1000 * x, 1000 * 0.1), 1000 * free(x, 0.1), rtol=1e-10)
    assert not torch.allclose(biased(1000 * x, 1000 * 0.1), 1000 * biased(x, 0.1), rtol=1e-3)


def test_colour_by_the_same_recipe():
    net = network(colours=3)
    assert net(noise(4, 3, 18, 18), torch.full((4,), 0.1)).shape == (4, 3, 18, 18)
    with pytest.raises(ValueError, match=r"expected an image \(\*batch, 3, H, W\)"):
        net(noise(18, 18), 0.1)


def test_precision_of_the_image_is_kept_and_gradients_flow():
    net = network()
    assert net(noise(16, 16).double(), 0.1).dtype == torch.float64
    double = network().double()
    x = noise(8, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: double(t, 0.2), x)


@pytest.mark.parametrize(("channels", "unshuffle"), [((4,), 1), ((4, 8), 1), ((4, 8), 2), ((4, 8, 8), 2)])
def test_nothing_beyond_the_reach_matters(channels, unshuffle):
    net = network(channels=channels, unshuffle=unshuffle).double()
    size = 2 * net.reach + 4 * net.multiple
    x = noise(size, size).double()
    y = x.clone()
    y[size // 2, size // 2] += 1
    rows = (net(x, 0.1) != net(y, 0.1)).nonzero()[:, 0]
    assert len(rows)
    assert (rows - size // 2).abs().max() <= net.reach
    assert (rows - size // 2).abs().max() > net.reach / 2, "the bound is not an empty one"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: network()(noise(8, 8) + 0j, 0.1), "denoises real images"),
        (lambda: network()(noise(8), 0.1), r"expected an image \(\*batch, H, W\)"),
        (lambda: network()(noise(2, 8, 8), torch.ones(3)), r"one per item \(2,\)"),
        (lambda: DenoisingUNet(()), "channels"),
        (lambda: DenoisingUNet((8,), 0), "at least 1"),
        (lambda: denoise_tiled(network(), noise(8, 8), 0.1, tile=64, overlap=40), "at most half of tile"),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "multiple"),
    [(500, 128, 32, 16), (129, 128, 64, 16), (1000, 100, 50, 7), (64, 64, 0, 16), (333, 64, 0, 16), (97, 32, 10, 16)],
)
def test_tiles_cover_everything_once(length, tile, overlap, multiple):
    total = torch.zeros(length, dtype=torch.float64)
    for (start, stop), weight in _tiles(length, tile, overlap, multiple):
        assert start % multiple == 0
        assert stop - start <= tile
        assert len(weight) == stop - start
        total[start:stop] += weight
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


@pytest.mark.parametrize("shape", [(300, 260), (2, 100, 421)])
def test_tiled_is_as_whole(shape):
    net, x = network(seed=3, channels=(8, 16, 16), blocks=2), noise(*shape)
    whole = denoise_tiled(net, x, 0.1, tile=4096, bf16=False)
    tiled = denoise_tiled(net, x, 0.1, tile=192, overlap=96, bf16=False)
    assert float((whole - x).square().mean()) > 1e-3, "the network does something"
    assert (metrics.psnr(tiled, whole, data_range=1.0) > 60).all()
    without = denoise_tiled(net, x, 0.1, tile=192, overlap=0, bf16=False)
    assert (metrics.psnr(without, whole, data_range=1.0) < metrics.psnr(tiled, whole, data_range=1.0) - 10).all()


class Blurring(torch.nn.Module):
    """A denoiser that looks at 4 pixels around each and no further."""

    def forward(self, x, sigma):
        del sigma
        return torch.nn.functional.conv2d(x[:, None], torch.ones(1, 1, 9, 9) / 81, padding=4)[:, 0]


def test_seams_of_a_denoiser_that_sees_so_far_are_none():
    x = noise(2, 150, 211)
    whole = Blurring()(x, 0.1)
    near, far = (denoise_tiled(Blurring(), x, 0.1, tile=64, overlap=n, bf16=False) for n in (16, 4))
    assert float((near - whole).abs().max()) < 1e-5
    assert float((far - whole).abs().max()) > 1e-3, "an overlap too small shows"


def test_bfloat16_is_close_where_it_is_wanted():
    net, x = network(), noise(64, 64)
    full, half = (denoise_tiled(net, x, 0.1, bf16=bf16) for bf16 in (False, True))
    assert half.dtype == torch.float32
    assert 0 < (half - full).norm() / (full - x).norm() < 0.03
    automatic = denoise_tiled(net, x, 0.1)
    assert torch.equal(automatic, half if fast_bf16() else full)
    assert not fast_bf16("meta")


@pytest.fixture
def folder(tmp_path):
    net = network(seed=5)
    save_file({name: t.contiguous() for name, t in net.state_dict().items()}, tmp_path / "toy.safetensors")
    card = {
        "architecture": "denoising-unet",
        "arguments": net.arguments,
        "sigma_range": [0.0, 0.3],
        "sha256": hashlib.sha256((tmp_path / "toy.safetensors").read_bytes()).hexdigest(),
    }
    (tmp_path / "toy.json").write_text(json.dumps(card))
    return tmp_path


def test_pretrained_weights_are_those_that_were_saved(folder):
    D = load_pretrained("toy", folder)
    x = noise(2, 30, 20)
    assert torch.equal(D(x, 0.1), network(seed=5)(x, 0.1))
    assert torch.allclose(D.denoise(x, 0.1), D(x, 0.1), atol=0.02)
    assert D.sigma_range == (0.0, 0.3)
    assert not D.training
    assert not any(p.requires_grad for p in D.parameters())


def change_card(folder, **changes):
    card = json.loads((folder / "toy.json").read_text()) | changes
    (folder / "toy.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "toy.safetensors").write_bytes(b"x"), "SHA-256"),
        (lambda f: change_card(f, arguments={"channels": [8, 8], "blocks": 1}), "does not fit"),
        (lambda f: change_card(f, arguments={"size": 3}), "does not fit"),
        (lambda f: change_card(f, architecture="os:system"), "does not fit"),
        (lambda f: (f / "toy.json").unlink(), "card .* cannot be read"),
        (lambda f: (f / "toy.json").write_text("{"), "card .* cannot be read"),
        (lambda f: (f / "toy.json").write_text("[]"), "lacks"),
        (lambda f: (f / "toy.json").write_text('{"sha256": ""}'), "lacks architecture"),
    ],
)
def test_damaged_weights_are_one_sentence(folder, damage, words):
    damage(folder)
    with pytest.raises(InputError, match=words) as error:
        load_pretrained("toy", folder)
    assert "\n" not in str(error.value)


def test_unknown_names_say_what_is_there(folder, tmp_path_factory):
    with pytest.raises(InputError, match=r"'toi'.*there is toy"):
        load_pretrained("toi", folder)
    with pytest.raises(InputError, match="there are none: train one"):
        load_pretrained("toy", tmp_path_factory.mktemp("empty"))
    with pytest.raises(InputError, match="no pretrained weights"):
        load_pretrained("../toy", folder)
    with pytest.raises(InputError, match="no pretrained weights"):
        load_pretrained("no such weights")
