"""The physics: operators from images to measurements."""

from invprob.operators.astra_geometry import from_astra as from_astra
from invprob.operators.astra_geometry import to_astra as to_astra
from invprob.operators.blur import Blur as Blur
from invprob.operators.cone_beam import ConeBeam as ConeBeam
from invprob.operators.downsample import Downsample as Downsample
from invprob.operators.fan_beam import FanBeam as FanBeam
from invprob.operators.mask import Mask as Mask
from invprob.operators.noise_level import estimate_noise as estimate_noise
from invprob.operators.parallel_beam import ParallelBeam as ParallelBeam
from invprob.operators.random_projection import RandomProjection as RandomProjection
from invprob.transforms import Gradient as Gradient
from invprob.transforms import Identity as Identity
from invprob.transforms import SobolevMetric as SobolevMetric
from invprob.transforms import Wavelet as Wavelet
