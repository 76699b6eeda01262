"""Named recipes from a scan to a result, which choose what is not given and say how they ended."""

from invprob.methods.coloured_noise import sobolev_tv as sobolev_tv
from invprob.methods.diffusion_sampling import daps as daps
from invprob.methods.diffusion_sampling import dds as dds
from invprob.methods.diffusion_sampling import diffpir as diffpir
from invprob.methods.diffusion_sampling import dps as dps
from invprob.methods.diffusion_sampling import flower as flower
from invprob.methods.diffusion_sampling import mcg as mcg
from invprob.methods.direct_images import direct as direct
from invprob.methods.direct_images import fbp as fbp
from invprob.methods.direct_images import wiener as wiener
from invprob.methods.entry import find_recipe as find_recipe
from invprob.methods.entry import progress as progress
from invprob.methods.entry import reconstruct as reconstruct
from invprob.methods.entry import settings_of as settings_of
from invprob.methods.learned_proximal import lpn as lpn
from invprob.methods.nonlinear_least_squares import gauss_newton as gauss_newton
from invprob.methods.normal_equations import least_squares as least_squares
from invprob.methods.normal_equations import tikhonov as tikhonov
from invprob.methods.plug_and_play import gs_pnp as gs_pnp
from invprob.methods.plug_and_play import pnp as pnp
from invprob.methods.plug_and_play import red as red
from invprob.methods.reporting import Progress as Progress
from invprob.methods.reporting import Recipe as Recipe
from invprob.methods.reporting import direct_result as direct_result
from invprob.methods.total_variation import tv as tv
from invprob.methods.wavelet_sparsity import wavelet as wavelet
