"""Pictures of any item, and one page that shows a result and says whether to trust it."""

from invprob.report.comparison import save_comparison as save_comparison
from invprob.report.page import save_report as save_report
from invprob.report.picture import Picture as Picture
from invprob.report.picture import show as show
from invprob.report.watching import watch as watch
