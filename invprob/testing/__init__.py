"""The laws that operators, functionals and denoisers keep, for a user's own ones, too: `testing.check(A)`."""

from invprob.testing.examination import check as check
from invprob.testing.examination import examine as examine
from invprob.testing.report import Law as Law
from invprob.testing.report import LawError as LawError
from invprob.testing.report import Report as Report
