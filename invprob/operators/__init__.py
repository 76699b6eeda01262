"""The physics: operators from images to measurements."""

from invprob.operators.ct.astra_geometry import from_astra as from_astra
from invprob.operators.ct.astra_geometry import to_astra as to_astra
from invprob.operators.ct.cone_beam import ConeBeam as ConeBeam
from invprob.operators.ct.fan_beam import FanBeam as FanBeam
from invprob.operators.ct.parallel_beam import ParallelBeam as ParallelBeam
from invprob.operators.image.blur import Blur as Blur
from invprob.operators.image.downsample import Downsample as Downsample
from invprob.operators.image.greyscale import Greyscale as Greyscale
from invprob.operators.image.mask import Mask as Mask
from invprob.operators.image.noise_level import estimate_noise as estimate_noise
from invprob.operators.image.random_projection import RandomProjection as RandomProjection
from invprob.operators.mri.cartesian import CartesianMRI as CartesianMRI
from invprob.operators.mri.non_cartesian import NonCartesianMRI as NonCartesianMRI
from invprob.operators.mri.trajectory import radians_per_pixel as radians_per_pixel
from invprob.operators.radar.arrays import turntable as turntable
from invprob.operators.radar.arrays import x_array as x_array
from invprob.operators.radar.near_field import NearFieldMIMO as NearFieldMIMO
from invprob.operators.radar.planar_sar import PlanarSAR as PlanarSAR
from invprob.transforms import Component as Component
from invprob.transforms import Frequencies as Frequencies
from invprob.transforms import Gradient as Gradient
from invprob.transforms import Identity as Identity
from invprob.transforms import SobolevMetric as SobolevMetric
from invprob.transforms import Total as Total
from invprob.transforms import Wavelet as Wavelet
