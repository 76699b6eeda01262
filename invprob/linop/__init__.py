"""Operators and their algebra, and the linear algebra that they and the solvers stand on."""

from invprob.grid import Channels as Channels
from invprob.linop.adapters import as_scipy as as_scipy
from invprob.linop.linear import Bound as Bound
from invprob.linop.linear import Coarser as Coarser
from invprob.linop.linear import LinearOperator as LinearOperator
from invprob.linop.nonlinear import Chain as Chain
from invprob.linop.nonlinear import Linearised as Linearised
from invprob.linop.operator import DataKind as DataKind
from invprob.linop.operator import Operator as Operator
from invprob.linop.operator import Place as Place
from invprob.linop.operator import Shape as Shape
from invprob.linop.stacked import VStack as VStack
from invprob.linop.stacked import vstack as vstack
