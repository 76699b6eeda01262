"""What ties an image to its data: f = phi o A for a bound pair (A, y)."""

from invprob.fidelities.base import Fidelity as Fidelity
from invprob.fidelities.base import Misfit as Misfit
from invprob.fidelities.base import QuadraticFidelity as QuadraticFidelity
from invprob.fidelities.least_squares import L2 as L2
from invprob.fidelities.least_squares import HalfSquaredDistance as HalfSquaredDistance
from invprob.fidelities.multiple import Multiple as Multiple
from invprob.fidelities.poisson import KullbackLeibler as KullbackLeibler
from invprob.fidelities.poisson import Poisson as Poisson
from invprob.fidelities.robust import AbsoluteDistance as AbsoluteDistance
from invprob.fidelities.robust import BallIndicator as BallIndicator
from invprob.fidelities.robust import L1Fidelity as L1Fidelity
from invprob.fidelities.robust import L2Ball as L2Ball
from invprob.fidelities.sobolev import HalfSquaredSobolev as HalfSquaredSobolev
from invprob.fidelities.sobolev import SobolevL2 as SobolevL2
from invprob.fidelities.sobolev import estimate_s as estimate_s
from invprob.fidelities.transmission import TransmissionLikelihood as TransmissionLikelihood
from invprob.fidelities.transmission import TransmissionPoisson as TransmissionPoisson
