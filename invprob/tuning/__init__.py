"""How strong the prior should be: the discrepancy principle, and data held out."""

from invprob.tuning.strength import HELD_OUT as HELD_OUT
from invprob.tuning.strength import DiscrepancySearch as DiscrepancySearch
from invprob.tuning.strength import HeldOutSearch as HeldOutSearch
from invprob.tuning.strength import Search as Search
