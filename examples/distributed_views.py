"""Views shared by processes
=========================

One reconstruction by several processes: each projects its share of the views, and the solver knows nothing of it.

`torchrun --nproc-per-node=4 examples/distributed_views.py` starts four of them, on one machine or (`--nnodes`) many;
without torchrun the script starts two. Every process holds the image and the data; the work of the projector is what is
shared, and after every A^H y the images of all are added up.
"""

import math
import os
import sys
import tempfile
from itertools import pairwise

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from invprob import phantoms, solve
from invprob.fidelities import L2
from invprob.linop import LinearOperator
from invprob.operators import ParallelBeam
from invprob.priors import TotalVariation
from invprob.solvers import PrimalDual

SIZE, VIEWS, BINS = 48, 30, 71


class SharedViews(LinearOperator):
    """A = (A_1; ...; A_n), of which process k computes A_k: A x is gathered, A^H y = sum_k A_k^H y_k is added up."""

    nonnegative = True

    def __init__(self, angles: torch.Tensor, rank: int, ranks: int) -> None:
        super().__init__((SIZE, SIZE), (len(angles), BINS), dtype=torch.float64)
        cuts = [len(angles) * k // ranks for k in range(ranks + 1)]
        self.counts = [stop - start for start, stop in pairwise(cuts)]
        self.views = slice(cuts[rank], cuts[rank + 1])
        self.own = ParallelBeam((SIZE, SIZE), angles[self.views], BINS, dtype=torch.float64)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.own(x)
        if len(self.counts) == 1:
            return own
        parts = [own.new_empty(*x.shape[:-2], count, BINS) for count in self.counts]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts, dim=-2)

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        x = self.own.adjoint(y[..., self.views, :])
        if len(self.counts) > 1:
            dist.all_reduce(x)
        return x


def reconstructed(rank: int, ranks: int) -> torch.Tensor:
    """Reconstruct a phantom by total variation; nothing in here knows of other processes."""
    A = SharedViews(torch.arange(VIEWS) * math.pi / VIEWS, rank, ranks)
    phantom = phantoms.shepp_logan(radius=SIZE / 2).image((SIZE, SIZE)).double()
    y = A(phantom)
    return solve(PrimalDual(), L2(A, y), TotalVariation(lam=0.5), max_iter=60).x


def work(rank: int, ranks: int, meeting: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    x = reconstructed(rank, ranks)
    if rank == 0:
        alone = reconstructed(0, 1)
        difference = float((x - alone).norm() / alone.norm())
        print(f"{ranks} processes: {difference:.1e} from what one finds")
        assert difference < 1e-6
    dist.destroy_process_group()


if __name__ == "__main__":
    if "RANK" in os.environ:  # torchrun says who is who, and where all meet
        work(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env://")
    else:
        if sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(work, (2, f"file://{folder}/meeting"), nprocs=2)
