"""How strong the prior should be: the discrepancy principle, and data held out."""

from invprob.tuning.searches import DiscrepancySearch as DiscrepancySearch
from invprob.tuning.searches import HeldOutSearch as HeldOutSearch
from invprob.tuning.searches import Search as Search
