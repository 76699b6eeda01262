"""How strong the prior should be: the discrepancy principle, and data held out."""

from invprob.tuning.strength import DiscrepancySearch as DiscrepancySearch
from invprob.tuning.strength import HeldOutSearch as HeldOutSearch
from invprob.tuning.strength import Search as Search
from invprob.tuning.strength import hold_out as hold_out
