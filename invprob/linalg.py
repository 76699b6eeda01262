"""Linear algebra per item of the batch, by one name: arithmetic, iterations and normal equations of `linop`.

Every tolerance is relative, so that scaling the input scales the output; nothing here adds an epsilon.
`ndim` is the number of trailing axes that make one item.
"""

from invprob.linop.diagonal import Diagonal as Diagonal
from invprob.linop.items import choose as choose
from invprob.linop.items import inner as inner
from invprob.linop.items import item_axes as item_axes
from invprob.linop.items import length as length
from invprob.linop.items import norm as norm
from invprob.linop.items import per_item as per_item
from invprob.linop.items import ratio as ratio
from invprob.linop.krylov import CGResult as CGResult
from invprob.linop.krylov import Map as Map
from invprob.linop.krylov import collatz_wielandt as collatz_wielandt
from invprob.linop.krylov import conjugate_gradient as conjugate_gradient
from invprob.linop.krylov import power_iteration as power_iteration
from invprob.linop.normal import NormalSystem as NormalSystem
from invprob.linop.normal import NormalTerm as NormalTerm
from invprob.linop.normal import TermLike as TermLike
from invprob.linop.normal import solve_normal as solve_normal
