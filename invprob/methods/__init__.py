"""Named recipes from a scan to a result, with sensible defaults and honest status."""

from invprob.methods.gauss_newton import gauss_newton as gauss_newton
from invprob.methods.lpn import lpn as lpn
from invprob.methods.plug_and_play import gs_pnp as gs_pnp
from invprob.methods.plug_and_play import pnp as pnp
from invprob.methods.plug_and_play import red as red
from invprob.methods.progress import Progress as Progress
from invprob.methods.progress import Recipe as Recipe
from invprob.methods.recipes import direct as direct
from invprob.methods.recipes import fbp as fbp
from invprob.methods.recipes import least_squares as least_squares
from invprob.methods.recipes import tikhonov as tikhonov
from invprob.methods.recipes import tv as tv
from invprob.methods.reconstruct import find_recipe as find_recipe
from invprob.methods.reconstruct import progress as progress
from invprob.methods.reconstruct import reconstruct as reconstruct
from invprob.methods.reconstruct import settings_of as settings_of
from invprob.methods.restoration import sobolev_tv as sobolev_tv
from invprob.methods.restoration import wavelet as wavelet
from invprob.methods.restoration import wiener as wiener
