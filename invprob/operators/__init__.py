"""The physics: operators from images to measurements."""

from invprob.operators.fan_beam import FanBeam as FanBeam
from invprob.operators.parallel_beam import ParallelBeam as ParallelBeam
from invprob.transforms import Gradient as Gradient
from invprob.transforms import Identity as Identity
