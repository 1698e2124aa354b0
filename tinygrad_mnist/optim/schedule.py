"""Learning rates that change from epoch to epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .optimizer import Optimizer


class StepLR:
    """A learning rate that steps down: lr = first lr * gamma^(epoch // step_size), for every group.

    Call `step()` after each epoch. Making the schedule changes nothing. Of a group that is added to the optimizer later
    the first rate is the one that it is added with.

    Args:
        optimizer: whose groups' "lr" it sets.
        step_size: epochs between steps, >= 1.
        gamma: the factor, > 0; 0.5 halves.

    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.optim import SGD
    >>> optimizer = SGD([Tensor([1.0], requires_grad=True)], lr=8.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> [schedule.rate(8.0, epoch) for epoch in range(5)]
    [8.0, 8.0, 4.0, 4.0, 2.0]
    """

    def __init__(self, optimizer: Optimizer, step_size: int | np.integer[Any], gamma: float = 0.1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"StepLR: expected an optimizer, got {optimizer!r:.60}")
        self.optimizer = optimizer
        self.step_size, self.gamma = _steps(step_size, gamma)
        self.epoch = 0
        self.first = [group["lr"] for group in optimizer.groups]

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's."""
        return _rate(first, epoch, self.step_size, self.gamma)

    def step(self) -> None:
        """Go on to the next epoch."""
        self._go_to(self.epoch + 1, self._all_first(), self.step_size, self.gamma)

    def _all_first(self) -> list[float]:
        """The first rates, with those of the groups that have been added."""
        return self.first + [group.first_lr for group in self.optimizer._groups[len(self.first) :]]

    def _go_to(self, epoch: int, first: list[float], step_size: int, gamma: float) -> None:
        """Set everything, here and in the optimizer; or nothing, after an error."""
        groups = self.optimizer._groups
        rates = [
            group.checked("lr", _rate(rate, epoch, step_size, gamma)) for group, rate in zip(groups, first, strict=True)
        ]
        self.epoch, self.first, self.step_size, self.gamma = epoch, first, step_size, gamma
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """All that the rates depend on: the epoch, the first rates, step_size and gamma."""
        return {"epoch": self.epoch, "first": self._all_first(), "step_size": self.step_size, "gamma": self.gamma}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned, and set the rates in the optimizer; or after a ValueError nothing.

        The state's step_size and gamma replace those of the schedule, as in PyTorch; a state of a former version has
        neither, and leaves them.
        """
        epoch, first, count = state["epoch"], list(state["first"]), len(self.optimizer.groups)
        if len(first) != count:
            raise ValueError(f"StepLR: the saved schedule has {len(first)} groups, expected {count}")
        if not _is_whole(epoch, 0) or not all(isinstance(rate, int | float) and 0 <= rate < math.inf for rate in first):
            raise ValueError(f"StepLR: the saved schedule is damaged: epoch {epoch!r:.60}, first rates {first}")
        settings = _steps(state.get("step_size", self.step_size), state.get("gamma", self.gamma))
        self._go_to(int(epoch), list(map(float, first)), *settings)


def _rate(first: float, epoch: int, step_size: int, gamma: float) -> float:
    try:
        return first * gamma ** (epoch // step_size)
    except OverflowError:
        return math.inf


def _steps(step_size: Any, gamma: Any) -> tuple[int, float]:
    """The two numbers of a schedule, if they are what they should be."""
    if not _is_whole(step_size, 1):
        raise ValueError(f"StepLR: expected a whole number step_size >= 1, got {step_size!r}")
    if not isinstance(gamma, int | float | np.number) or not 0 < gamma < math.inf:
        raise ValueError(f"StepLR: expected gamma > 0, got {gamma!r}")
    return int(step_size), float(gamma)


def _is_whole(x: Any, least: int) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool) and bool(x >= least)
