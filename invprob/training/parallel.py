"""Several processes, each with a share of every batch, as torchrun starts them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from invprob.errors import InputError

__all__ = ["Team"]


@dataclass(frozen=True)
class Team:
    """This process and the others: its `rank` among `size`; a context manager that connects them."""

    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls) -> Team:
        """Return the place that torchrun's variables RANK and WORLD_SIZE give this process; alone without them."""
        try:
            return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
        except ValueError as error:
            raise InputError(f"RANK and WORLD_SIZE must be whole numbers, as torchrun sets them ({error})") from error

    def __enter__(self) -> Self:
        if self.size > 1:
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, rank=self.rank, world_size=self.size)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self.size > 1:
            if error is None:  # threads of gloo that still hold tensors as Python ends would abort the process
                distributed.barrier()
            distributed.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def device(self, wanted: str) -> torch.device:
        """Return where this process computes; InputError for a GPU that is not there."""
        if wanted == "cuda" and not torch.cuda.is_available():
            raise InputError("device: there is no GPU that torch can use; choose cpu or auto")
        if wanted == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())

    def share(self, batch: int) -> range:
        """Return the slots of a batch that are this process's; InputError if the batch cannot be shared evenly."""
        if batch % self.size:
            raise InputError(f"batch ({batch}) must be a multiple of the number of processes ({self.size})")
        part = batch // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network whose gradients are the average over all processes."""
        return network if self.size == 1 else DistributedDataParallel(network)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether any of the processes says yes, so that all end at the same step."""
        if self.size == 1:
            return flag
        said = torch.tensor(float(flag), device=device)
        distributed.all_reduce(said, op=distributed.ReduceOp.MAX)
        return bool(said > 0)
