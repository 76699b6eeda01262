"""The algorithms: each is a frozen dataclass of settings with `init` and a pure `step`."""

from invprob.solvers.admm import ADMM as ADMM
from invprob.solvers.base import Solver as Solver
from invprob.solvers.base import State as State
from invprob.solvers.conjugate_gradient import ConjugateGradient as ConjugateGradient
from invprob.solvers.constrained import CSALSA as CSALSA
from invprob.solvers.gauss_newton import GaussNewton as GaussNewton
from invprob.solvers.gradient import GradientDescent as GradientDescent
from invprob.solvers.hqs import HQS as HQS
from invprob.solvers.primal_dual import PrimalDual as PrimalDual
from invprob.solvers.proximal_gradient import ProximalGradient as ProximalGradient
