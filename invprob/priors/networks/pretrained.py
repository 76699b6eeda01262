"""Weights that come with a card, checked against it before they are used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from invprob.errors import InputError, printable
from invprob.linop.doors import takes_arrays
from invprob.priors.networks.convex import ProximalNetwork
from invprob.priors.networks.convex_conv import ConvexConv
from invprob.priors.networks.convex_scalar import ConvexScalar
from invprob.priors.networks.denoising_unet import DenoisingUNet
from invprob.priors.networks.diffusion_unet import DiffusionUNet
from invprob.priors.networks.ridge import ConvexRidge, RidgeRegulariser
from invprob.priors.networks.tiling import denoise_tiled
from invprob.priors.networks.volume_unet import VolumeUNet

if TYPE_CHECKING:
    from invprob.priors.learned_proximal import LearnedProximal

__all__ = ["ARCHITECTURES", "WEIGHTS", "PretrainedDenoiser", "load_pretrained"]

WEIGHTS = Path(__file__).parents[1] / "weights"
ARCHITECTURES: Mapping[str, type[nn.Module]] = {  # what a card may name
    "denoising-unet": DenoisingUNet,
    "volume-unet": VolumeUNet,
    "diffusion-unet": DiffusionUNet,
    "ridge-regulariser": RidgeRegulariser,
    "convex-ridge": ConvexRidge,
    "convex-conv": ConvexConv,
    "convex-scalar": ConvexScalar,
}


class PretrainedDenoiser(nn.Module):
    """A denoiser D(x, sigma) with trained weights and their card.

    x `(*batch, *item)` real with values on the scale [0, 1], `ndim` item axes; sigma a number or `(*batch,)` in the
    same units, trained for the range `sigma_range`. Where autograd is off, images are denoised as by `denoise`.

    Arguments:
        network: the module with its weights.
        card: what is known of them, `sigma_range` among it.
    """

    def __init__(self, network: nn.Module, card: Mapping[str, Any]) -> None:
        super().__init__()
        self.network, self.card = network, dict(card)

    @property
    def colours(self) -> int:
        """Channels of an image: 1 for grey ones, which have no axis for them."""
        return int(self.card.get("arguments", {}).get("colours", 1))

    @property
    def ndim(self) -> int:
        """Axes of an item: 2 of grey images, 3 of those in colour and of volumes."""
        return int(getattr(self.network, "ndim", 2 if self.colours == 1 else 3))

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The noise levels that it was trained for."""
        low, high = self.card["sigma_range"]
        return float(low), float(high)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Return D(x, sigma), differentiable where autograd is on."""
        return self.network(x, sigma) if torch.is_grad_enabled() else self.denoise(x, sigma)

    @takes_arrays
    def denoise(self, x: Tensor, sigma: Tensor | float, *, tile: int = 1024, overlap: int = 128) -> Tensor:
        """Return D(x, sigma) without a graph, in tiles, in bfloat16 where that is faster."""
        return denoise_tiled(self.network, x, sigma, tile=tile, overlap=overlap)


def load_pretrained(name: str, folder: Path | None = None) -> PretrainedDenoiser | LearnedProximal:
    """Return the network of `name`.safetensors with its card `name`.json, in evaluation mode and float32.

    A denoiser can be called as D(x, sigma); a learned proximal network comes as `LearnedProximal` with lam = 1 and the
    largest noise level it was trained for, and has `prox`, `value` and `denoise`; its `network` goes into others.

    Arguments:
        name: of the two files, without their endings, such as "denoiser" or "lpn-natural-like"; or the path of your
            own weights, such as "trained/denoiser.safetensors", beside which their card lies.
        folder: where they lie, None (the default) for the weights that ship with the package.

    `InputError` for a name that is not there, a missing, damaged or foreign file, and weights that are not those of the
    card.
    """
    if folder is None and name.endswith(".safetensors"):
        folder, name = Path(name).parent, Path(name).stem
    folder = WEIGHTS if folder is None else Path(folder)
    known = sorted(path.stem for path in folder.glob("*.safetensors")) if folder.is_dir() else []
    if name not in known:
        there = f"there is {', '.join(known)}" if known else "there are none: train one with `invprob train denoiser`"
        raise InputError(f"no pretrained weights {printable(name)!r} in {printable(folder)}; {there}")
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = (folder / f"{name}.safetensors").read_bytes()
    card = _card(folder / f"{name}.json")
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise InputError(f"{name}.safetensors is not what its card {name}.json describes (SHA-256): get both again")
    try:
        with torch.device("cpu"):
            network = ARCHITECTURES[card["architecture"]](**card["arguments"])
        weights = load(content)
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{name}.safetensors does not fit the network of its card ({printable(error)}): get both again"
        ) from error
    broken = [key for key, weight in weights.items() if not bool(weight.isfinite().all())]
    if broken:
        raise InputError(f"{name}.safetensors holds weights that are not finite ({printable(broken[0])}): get it again")
    network = network.eval().requires_grad_(False)
    if not isinstance(network, ProximalNetwork):
        return PretrainedDenoiser(network, card).eval()
    from invprob.priors.learned_proximal import LearnedProximal  # which is made of these networks

    return LearnedProximal(network, sigma=float(card["sigma_range"][1]), card=card)


def _card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        needed = {"sha256", "architecture", "arguments", "sigma_range"} - set(card)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"the card {printable(path)} cannot be read ({printable(error)}): get it again") from error
    if needed or not isinstance(card, dict):
        raise InputError(f"the card {printable(path)} lacks {', '.join(sorted(needed))}: get it again")
    return card
