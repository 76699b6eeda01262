"""Methods against phantoms: which one for which problem, and how sure that is."""

from invprob.benchmark.plan import Method as Method
from invprob.benchmark.plan import Suite as Suite
from invprob.benchmark.plan import full as full
from invprob.benchmark.plan import quick as quick
from invprob.benchmark.plan import registered as registered
from invprob.benchmark.plan import standard as standard
from invprob.benchmark.problems import PROBLEMS as PROBLEMS
from invprob.benchmark.problems import Problem as Problem
from invprob.benchmark.results import Entry as Entry
from invprob.benchmark.results import Results as Results
from invprob.benchmark.results import Verdict as Verdict
from invprob.benchmark.suite_runs import measure_all as measure_all
