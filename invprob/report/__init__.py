"""One page that shows a result and says whether to trust it."""

from invprob.report.page import save_report as save_report
