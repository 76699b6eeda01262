"""The knowledge: what images are like, as functionals with a value, a gradient or a prox."""

from invprob.priors.base import Prior as Prior
from invprob.priors.combinators import Analysis as Analysis
from invprob.priors.combinators import Sum as Sum
from invprob.priors.denoiser import Denoiser as Denoiser
from invprob.priors.denoiser_functions import Averaged as Averaged
from invprob.priors.denoiser_functions import Equivariant as Equivariant
from invprob.priors.denoiser_functions import PerItem as PerItem
from invprob.priors.diffusion import DiffusionPrior as DiffusionPrior
from invprob.priors.empirical import EmpiricalPrior as EmpiricalPrior
from invprob.priors.gaussian import GaussianMixture as GaussianMixture
from invprob.priors.gaussian import StationaryField as StationaryField
from invprob.priors.gradient_step import GradientStepDenoiser as GradientStepDenoiser
from invprob.priors.grey_levels import GreyLevels as GreyLevels
from invprob.priors.learned_proximal import LearnedProximal as LearnedProximal
from invprob.priors.magnitude import Magnitude as Magnitude
from invprob.priors.networks.pretrained import load_pretrained as load_pretrained
from invprob.priors.nuclear_norm import NuclearNorm as NuclearNorm
from invprob.priors.red import RED as RED
from invprob.priors.score import ScorePrior as ScorePrior
from invprob.priors.simple import L1 as L1
from invprob.priors.simple import Box as Box
from invprob.priors.simple import GroupL1 as GroupL1
from invprob.priors.simple import NonNegative as NonNegative
from invprob.priors.tikhonov import Tikhonov as Tikhonov
from invprob.priors.total_variation import TotalVariation as TotalVariation
from invprob.priors.wavelet import WaveletL1 as WaveletL1
