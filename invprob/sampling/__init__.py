"""Draws from the posterior: one loop over a prior that undoes noise, and a table of methods."""

from invprob.sampling.measurement import Measurement as Measurement
from invprob.sampling.particles import twisted as twisted
from invprob.sampling.posterior import concluded as concluded
from invprob.sampling.posterior import sample as sample
from invprob.sampling.posterior import sampler as sampler
from invprob.sampling.presets import PRESETS as PRESETS
from invprob.sampling.presets import Preset as Preset
from invprob.sampling.sampler import Sampler as Sampler
from invprob.sampling.sampler import SamplerState as SamplerState
