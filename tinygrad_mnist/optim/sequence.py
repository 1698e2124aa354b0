"""Schedules one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tinygrad_mnist.convert import in_one_line, is_whole

from .optimizer import Optimizer
from .schedule import Schedule
from .state import saved_parts


class SequentialLR(Schedule):
    """One schedule after the other: a warm-up, then another.

    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.optim import SGD, CosineLR, LinearLR
    >>> optimizer = SGD([Tensor([1.0], requires_grad=True)], lr=8.0)
    >>> warm_up = LinearLR(optimizer, start_factor=0.25, total_iters=2)
    >>> schedule = SequentialLR(optimizer, [warm_up, CosineLR(optimizer, T_max=4)], milestones=[2])
    >>> [round(schedule.rate(8.0, epoch), 3) for epoch in range(7)]
    [2.0, 5.0, 8.0, 6.828, 4.0, 1.172, 0.0]

    Args:
        optimizer: whose groups' "lr" it sets.
        schedulers: schedules of this optimizer that have not begun; each begins with the rates that the optimizer had
            before the first of them was made.
        milestones: at which epochs the second and further ones begin, which count from there.
    """

    milestones: list[int]

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> None:
        if not isinstance(schedulers, list | tuple) or not isinstance(milestones, list | tuple):
            given = f"{in_one_line(schedulers)} and {in_one_line(milestones)}"
            raise TypeError(f"{self._kind}: expected a list of schedules and one of milestones, got {given}")
        parts = list(schedulers)
        for part in parts:
            if not isinstance(part, Schedule) or isinstance(part, SequentialLR):
                raise TypeError(f"{self._kind}: expected schedules, and no sequence of them, got {in_one_line(part)}")
            if part.optimizer is not optimizer or part.epoch:
                why = "has gone on already" if part.epoch else "is of another optimizer"
                raise ValueError(f"{self._kind}: {part._kind} {why}; make all its schedules anew, of one optimizer")
        if not parts or len(set(map(id, parts))) < len(parts):
            raise ValueError(f"{self._kind}: expected one schedule or more, each once, got {len(parts)}")
        self.schedulers = parts
        super().__init__(optimizer, milestones=list(milestones))

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The milestones, if there is one between any two schedules."""
        given = settings["milestones"]
        if not isinstance(given, list) or not all(is_whole(m, 1) for m in given):
            raise ValueError(f"{self._kind}: expected milestones >= 1, whole numbers, got {in_one_line(given)}")
        if len(given) != len(self.schedulers) - 1 or any(a >= b for a, b in pairwise(given)):
            raise ValueError(
                f"{self._kind}: expected {len(self.schedulers) - 1} rising milestones for {len(self.schedulers)} "
                f"schedules, got {given}"
            )
        return {"milestones": list(map(int, given))}

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's."""
        number = self._running(epoch)
        return self.schedulers[number].rate(first, epoch - ([0, *self.milestones][number]))

    def _running(self, epoch: int) -> int:
        """Which schedule an epoch belongs to."""
        return sum(epoch >= milestone for milestone in self.milestones)

    def step(self, record: Any = None) -> None:
        """Go on to the next epoch: the schedule that runs does, or the next one begins."""
        epoch = self.epoch + 1
        part = self.schedulers[self._running(epoch)]
        if epoch in self.milestones:
            part._change({"first": self._all_first()})
        else:
            part.step(record)
        self.epoch, self.first = epoch, self._all_first()

    def _begin(self) -> None:
        """All parts begin with the same rates."""
        for part in reversed(self.schedulers):  # the first one's stay
            part._change({"first": list(self.first)})

    def state_dict(self) -> dict[str, Any]:
        """The epoch, the first rates, the milestones, and the states of all parts."""
        return {**super().state_dict(), "schedulers": [part.state_dict() for part in self.schedulers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned, and set the rates in the optimizer; or after a ValueError nothing."""
        (saved,) = saved_parts(self._kind, state, schedulers=list | tuple)
        before = [dict(vars(part)) for part in self.schedulers]
        if len(saved) != len(self.schedulers):
            raise ValueError(
                f"{self._kind}: the saved schedule has {len(saved)} parts, expected {len(self.schedulers)}"
            )
        try:
            for part, values in zip(self.schedulers, saved, strict=True):
                part._load(values, apply=False)
            super().load_state_dict(state)
        except BaseException:
            for part, values in zip(self.schedulers, before, strict=True):
                vars(part).clear()
                vars(part).update(values)
            raise

    def _words(self) -> list[str]:
        return [*(f"{part._kind}({', '.join(part._words())})" for part in self.schedulers), *super()._words()]
