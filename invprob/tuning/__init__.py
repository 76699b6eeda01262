"""How strong the prior should be: searches, and scores that need no truth."""

from invprob.tuning.choice import Choice as Choice
from invprob.tuning.searches import MinimumSearch as MinimumSearch
