"""What ties an image to its data: f = phi o A for a bound pair (A, y)."""

from invprob.fidelities.base import Fidelity as Fidelity
from invprob.fidelities.base import QuadraticFidelity as QuadraticFidelity
from invprob.fidelities.least_squares import L2 as L2
from invprob.fidelities.least_squares import HalfSquaredDistance as HalfSquaredDistance
