"""Learned priors: a prox beside the published formulation of it, and the denoiser beside BM3D."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import large
import peers
import torch
from report import Absent, Fact, Finding, Ratio
from timing import race
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, softplus

from invprob import metrics
from invprob.phantoms import training_images
from invprob.priors import load_pretrained
from invprob.priors.networks import ConvexConv

BATCH, SIGMA = 16, 0.1


def prox(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare the gradient of a convex potential in one pass with autograd's through the potential, as published."""
    network = ConvexConv(8 if quick else 64, 6).eval()
    network.project()
    y = torch.rand(BATCH, 32 if quick else 128, 32 if quick else 128, generator=torch.Generator().manual_seed(0))
    section = f"learned prox {BATCH} x {y.shape[-1]}^2"
    calls: dict[str, Callable[[], Tensor]] = {
        "invprob": partial(_lean, network, y),
        "autograd": partial(_published, network, y),
    }
    far = float((calls["invprob"]() - calls["autograd"]()).detach().abs().max())
    yield Fact(section, "difference of the two", far, limit=1e-5)
    ms = race(calls, patience=patience)
    yield Ratio(section, "one prox", ms["invprob"], "autograd", ms["autograd"], target=1.0)
    used = {name: _memory(call) for name, call in calls.items()}
    yield Fact(section, "memory relative to autograd's", used["invprob"] / used["autograd"], limit=0.4)


def _lean(network: ConvexConv, y: Tensor) -> Tensor:
    with torch.no_grad():
        f: Tensor = network(y)
    return f


def _published(network: ConvexConv, y: Tensor) -> Tensor:
    """Return grad psi by autograd, with a graph for second derivatives (Fang, Buchanan & Sulam 2024)."""
    x = y.clone().requires_grad_()
    (f,) = torch.autograd.grad(_potential(network, x), x, create_graph=True)
    return f


def _potential(network: ConvexConv, y: Tensor) -> Tensor:
    image, z, factor = y[:, None], torch.zeros(()), 1
    for k in range(network.layers):
        stride = network.strides[k]
        seen = avg_pool2d(image, factor) if factor > 1 else image
        a = conv2d(seen, _plain(network.skips[k]), stride=stride, padding=1) + network.biases[k][:, None, None]
        if k:
            a = a + conv2d(z, _plain(network.weights[k - 1]), stride=stride, padding=1)
        z, factor = softplus(a, network.beta), factor * stride
    return (z * network.last[0][:, None, None]).sum() + 0.5 * network.mu * y.square().sum()


def _plain(weight: Tensor) -> Tensor:
    """Return the weight as torch lays it out by default."""
    return weight.clone(memory_format=torch.contiguous_format)


def _memory(call: Callable[[], object]) -> int:
    """Return the bytes that a call takes at most; of a thread of its own, whose memory nothing has used before."""
    before = large.forget()
    work = threading.Thread(target=call)
    work.start()
    work.join()
    return large.peak() - before


def denoise(*, quick: bool, patience: float) -> Iterator[Finding]:
    """Compare the shipped denoiser with BM3D (Dabov, Foi, Katkovnik & Egiazarian 2007) on a generated image."""
    clean = training_images(1, 64 if quick else 256, 0, kinds={"leaves": 1.0})[0]
    noisy = clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    section, D = f"denoise {clean.shape[-1]}^2", load_pretrained("denoiser")
    try:
        bm3d = peers.load("bm3d")
    except peers.NotInstalledError as error:
        yield Absent(section, "bm3d", str(error))
        return
    array = noisy.double().numpy()
    ms = race(
        {"invprob": partial(D.denoise, noisy, SIGMA), "bm3d": partial(bm3d.bm3d, array, SIGMA)}, patience=patience
    )
    found = {"invprob": D.denoise(noisy, SIGMA), "bm3d": torch.from_numpy(bm3d.bm3d(array, SIGMA))}
    yield Ratio(section, "one image", ms["invprob"], "bm3d", ms["bm3d"], target=15.0)
    for name, image in found.items():
        yield Fact(section, f"PSNR of {name}", float(metrics.psnr(image.to(clean), clean, data_range=1.0)), "dB")
