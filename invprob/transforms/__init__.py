"""Tools of both families: identity, finite differences, wavelets, the metric of Sobolev spaces."""

from invprob.transforms.components import Component as Component
from invprob.transforms.components import Total as Total
from invprob.transforms.frequencies import Frequencies as Frequencies
from invprob.transforms.gradient import Gradient as Gradient
from invprob.transforms.identity import Identity as Identity
from invprob.transforms.sobolev_metric import SobolevMetric as SobolevMetric
from invprob.transforms.wavelet import Wavelet as Wavelet
