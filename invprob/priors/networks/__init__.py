"""Architectures as plain `nn.Module`s, and the weights that ship with the package."""

from invprob.priors.networks.denoising_unet import DenoisingUNet as DenoisingUNet
from invprob.priors.networks.precision import fast_bf16 as fast_bf16
from invprob.priors.networks.pretrained import PretrainedDenoiser as PretrainedDenoiser
from invprob.priors.networks.pretrained import load_pretrained as load_pretrained
from invprob.priors.networks.tiling import denoise_tiled as denoise_tiled
