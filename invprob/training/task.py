"""What a trainer trains: a network, what it sees at a step, and what is minimised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from invprob.training.settings import TrainingSettings

__all__ = ["Movable", "Task", "plain"]


class Movable(Protocol):
    """All that a trainer knows of a batch; a tensor is one, too: complex ones stay complex, integers integers."""

    def to(self, weight: Tensor, /) -> Self:
        """Return the batch in the precision and on the device of a network's weights."""


B = TypeVar("B", bound=Movable)


class Task(ABC, Generic[B]):
    """A network and the risk that it minimises; a function of its settings.

    Whoever writes `build`, `batches`, `predict` and `loss` can train by `Trainer(MyTask(settings))`, whatever a batch
    is and whatever the network takes: `docs/training.md` has an example. `B` is the type of the batches. All that is
    random must follow from the seed and the step, or a resumed run would not be the same.
    """

    stored: torch.dtype = torch.float32  # of the weights in the file that ships

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the untrained network with real weights, the first ones drawn from the seed."""

    @abstractmethod
    def batches(self, first: int, last: int) -> Callable[[int], B]:
        """Return the function from a step to the slots `first` .. `last` of its batch."""

    @abstractmethod
    def predict(self, network: nn.Module, batch: B) -> Tensor:
        """Return the network's answer to a batch.

        Call `network(...)` and nothing else of it: among several processes it is wrapped, so that gradients are shared.
        """

    @abstractmethod
    def loss(self, answer: Tensor, batch: B, step: int) -> Tensor:
        """Return what the network's answer to a batch costs, 0-d."""

    def penalty(self, network: nn.Module, batch: B) -> Tensor | float:
        """Return what the network itself costs."""
        del network, batch
        return 0.0

    def project(self, network: nn.Module) -> None:
        """Bring the weights back to where they may be, after a step."""
        del network

    def notes(self, answer: Tensor, batch: B, step: int) -> str:
        """Return words on the state of the training that go into the log."""
        del answer, batch, step
        return ""

    def quality(self, network: Any) -> Mapping[str, Any]:
        """Return what can be measured of a network on what it was not trained on; nothing unless a task knows how."""
        del network
        return {}

    def words(self, quality: Mapping[str, Any]) -> str:
        """Return what `quality` found in one line: its numbers and its groups of numbers, by their names."""
        parts = []
        for key, value in plain(quality).items():
            if isinstance(value, Mapping):
                parts.append(f"{key}: {', '.join(_numbers(value))}")
            else:
                parts += _numbers({key: value})
        return "; ".join(parts)

    def samples(self, network: Any) -> Tensor | None:
        """Return a picture of what a network does, (H, W) or (3, H, W) in [0, 1]; None where there is none."""
        del network
        return None

    def card(self, network: Any, quality: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a card says of the network and of what `quality` found, in values that JSON has."""
        return {"what": type(self).__name__, "architecture": type(network).__name__, "quality": plain(quality)}


def plain(value: Any) -> Any:
    """Return a value with numbers and lists in place of its tensors, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, Tensor) else value


def _numbers(values: Mapping[str, Any]) -> list[str]:
    """Return the numbers among some values with their names, to six digits."""
    return [f"{name} {value:.6g}" for name, value in values.items() if isinstance(value, int | float)]
