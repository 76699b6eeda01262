"""Tools of both families: identity, finite differences."""

from invprob.transforms.gradient import Gradient as Gradient
from invprob.transforms.identity import Identity as Identity
