"""Architectures as plain `nn.Module`s, and the weights that ship with the package."""

from invprob.priors.networks.convex import ConvexPotential as ConvexPotential
from invprob.priors.networks.convex import ProximalNetwork as ProximalNetwork
from invprob.priors.networks.convex_conv import ConvexConv as ConvexConv
from invprob.priors.networks.convex_scalar import ConvexScalar as ConvexScalar
from invprob.priors.networks.denoising_unet import DenoisingUNet as DenoisingUNet
from invprob.priors.networks.diffusion_unet import DiffusionUNet as DiffusionUNet
from invprob.priors.networks.patches import PatchAverage as PatchAverage
from invprob.priors.networks.precision import fast_bf16 as fast_bf16
from invprob.priors.networks.pretrained import PretrainedDenoiser as PretrainedDenoiser
from invprob.priors.networks.pretrained import load_pretrained as load_pretrained
from invprob.priors.networks.ridge import ConvexRidge as ConvexRidge
from invprob.priors.networks.ridge import RidgeRegulariser as RidgeRegulariser
from invprob.priors.networks.tiling import denoise_tiled as denoise_tiled
from invprob.priors.networks.volume_unet import VolumeUNet as VolumeUNet
