"""Many items in bounded memory: chunk by chunk from a scan file to a result file."""

from invprob.stack.joined import JoinedResults as JoinedResults
from invprob.stack.reconstruction import StackEvent as StackEvent
from invprob.stack.reconstruction import StackReconstruction as StackReconstruction
from invprob.stack.reconstruction import reconstruct_stack as reconstruct_stack
from invprob.stack.workers import ClusterReconstruction as ClusterReconstruction
