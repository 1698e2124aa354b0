"""Learning rates that change from epoch to epoch.

    StepLR              steps down every few epochs
    CosineLR            half a cosine, from the first rate down
    LinearLR            a straight line, up from a fraction: warm-up
    LambdaLR            any function of the epoch
    ReduceLROnPlateau   lower where the validation accuracy no longer improves: Nielsen's chapter 3
    SequentialLR        one after the other: warm-up, then another

`schedule.step(epoch)` comes after each epoch, with its record: `train.fit` does so. Those that do not look at the
record ignore it, and take a plain `schedule.step()` too. Options have PyTorch's names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinygrad_mnist.convert import in_one_line, is_real, is_whole
from tinygrad_mnist.mode import changed

from .optimizer import Optimizer
from .state import saved_parts


class Schedule:
    """What all schedules share: the first rates, the epoch, and their state. One of your own is a formula, `rate`.

    >>> class Root(Schedule):
    ...     def rate(self, first, epoch):
    ...         return first / (1 + epoch) ** 0.5

    Making a schedule sets the rates of epoch 0, which with most are those that are there. Of a group that is added to
    the optimizer later the first rate is the one that it is added with.

    Args:
        optimizer: whose groups' "lr" it sets.
        settings: of a subclass: numbers and texts by name, which `checked` checks. They become attributes. So are
            settings the numbers and texts that a subclass has set as its attributes before.

    Attributes:
        epoch: how many epochs are over.
        first: the rate of each group that epoch 0 is computed from.
    """

    keeps: ClassVar[tuple[str, ...]] = ()
    """Attributes which change from step to step and belong to the state, beside the epoch and the settings."""

    _saved_without_settings: ClassVar[bool] = False  # by a former version

    def __init__(self, optimizer: Optimizer, **settings: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._kind}: expected an optimizer, got {in_one_line(optimizer)}")
        settings = {name: value for name, value in vars(self).items() if self._is_setting(name, value)} | settings
        self.optimizer = optimizer
        self.settings = tuple(settings)
        vars(self).update(settings | self.checked(settings))
        self.epoch = 0
        groups = optimizer._groups
        self.first = [_unscheduled(group) for group in groups]
        self._begin()
        for group, first in zip(groups, self.first, strict=True):
            group.scheduled = (group["lr"], first)

    def _is_setting(self, name: str, value: Any) -> bool:
        """Whether an attribute that was set before `__init__` is one: a number, a text or a list of them."""
        if isinstance(value, list | tuple):
            return all(self._is_setting(name, item) for item in value)
        return name not in self.keeps and not name.startswith("_") and isinstance(value, bool | int | float | str)

    if not TYPE_CHECKING:  # which knows all attributes that there are

        def __getattr__(self, name: str) -> Any:
            """Refuse an attribute that there is none of; nothing else comes here."""
            what = f"{type(self).__name__}: has no attribute {name!r}"
            if "optimizer" not in vars(self):
                what += (
                    "; its __init__ has to call super().__init__(optimizer), with its settings set before or passed on"
                )
            raise AttributeError(what, name=name, obj=self)

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are kept; a ValueError for one that is not what it should be."""
        return dict(settings)

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's: to be defined by a subclass."""
        raise TypeError(
            f"{self._kind}: define rate(self, first, epoch), which returns the rate of an epoch, counted from 0"
        )

    def step(self, record: Any = None) -> None:
        """Go on to the next epoch.

        Args:
            record: of the epoch that is over, a `train.Epoch`; ignored by schedules that do not look at it.
        """
        self._change({"epoch": self.epoch + 1, "first": self._all_first()})

    def _begin(self) -> None:
        """Set the rates of epoch 0."""
        self._change({"epoch": 0})

    def _change(self, values: Mapping[str, Any], apply: bool = True) -> None:
        """Set attributes, and the rates that follow from them in the optimizer; or nothing, after an error."""
        before = dict(vars(self))
        try:
            vars(self).update(values)
            groups = self.optimizer._groups
            firsts = self._all_first()
            rates = [self._checked_rate(f) for f in firsts]
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        changed(f"steps a {self._kind}", self.optimizer)  # also where that leaves the rates as they are
        for group, rate in zip(groups, rates, strict=True):
            if apply and group["lr"] != rate:
                group["lr"] = rate
            group.scheduled = None

    def _checked_rate(self, first: float) -> float:
        rate = self._rate(first)
        if not is_rate(rate):
            raise ValueError(f"{self._kind}: expected rate({first:g}, {self.epoch}) to be a number >= 0, got {rate!r}")
        return rate

    def _rate(self, first: float) -> float:
        try:
            return float(self.rate(first, self.epoch))
        except OverflowError:
            return math.inf

    def _all_first(self) -> list[float]:
        """The first rates, with those of the groups that have been added."""
        return self.first + [group.first_lr for group in self.optimizer._groups[len(self.first) :]]

    def state_dict(self) -> dict[str, Any]:
        """All that the rates depend on: the epoch, the first rates, the settings, and what is kept."""
        values = {name: getattr(self, name) for name in (*self.settings, *self.keeps)}
        return {"epoch": self.epoch, "first": self._all_first(), **values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned, and set the rates in the optimizer; or after a ValueError nothing.

        The state's settings replace those of the schedule, as in PyTorch; what a state lacks, as one of a former
        version may, stays.
        """
        self._load(state, apply=True)

    def _load(self, state: Mapping[str, Any], apply: bool) -> None:
        epoch, first = saved_parts(self._kind, state, epoch=object, first=list | tuple)
        count = len(self.optimizer._groups)
        if len(first) != count:
            raise ValueError(f"{self._kind}: the saved schedule has {len(first)} groups, expected {count}")
        if not is_whole(epoch, 0) or not all(map(is_rate, first)):
            raise ValueError(
                f"{self._kind}: the saved schedule is damaged: epoch {in_one_line(epoch)}, first rates {first}"
            )
        if unknown := state.keys() - self.state_dict().keys():
            raise ValueError(
                f"{self._kind}: the saved schedule has {', '.join(sorted(unknown))}; it is of another kind"
            )
        if self.settings and not (set(self.settings) & set(state) or self._saved_without_settings):
            raise ValueError(f"{self._kind}: the saved schedule has no {self.settings[0]}; it is of another kind")
        given = {name: state.get(name, getattr(self, name)) for name in self.settings}
        settings = given | self.checked(given)
        kept = {name: self._kept(name, state[name]) for name in self.keeps if name in state}
        self._change({**settings, **kept, "epoch": int(epoch), "first": list(map(float, first))}, apply)

    def _kept(self, name: str, value: Any) -> Any:
        """A value of `keeps`; a ValueError for what it cannot be."""
        return value

    def _whole(self, settings: Mapping[str, Any], name: str, least: int) -> int:
        if not is_whole(value := settings[name], least):
            raise ValueError(f"{self._kind}: expected a whole number {name} >= {least}, got {in_one_line(value)}")
        return int(value)

    def _number(
        self, settings: Mapping[str, Any], name: str, least: float | None = None, below: float = math.inf
    ) -> float:
        """A setting >= `least`, or above 0 if there is none, and smaller than `below`."""
        value = settings[name]
        if not is_real(value) or not (value > 0 if least is None else value >= least) or not value < below:
            limit = ("> 0" if least is None else f">= {least}") + (f" and < {below}" if below < math.inf else "")
            raise ValueError(f"{self._kind}: expected {name} {limit}, got {in_one_line(value)}")
        return float(value)

    @property
    def _kind(self) -> str:
        return type(self).__name__  # errors begin with it: `str` would show all options

    def _words(self) -> list[str]:
        return [f"{name}={_shown(getattr(self, name))}" for name in self.settings]

    def __repr__(self) -> str:
        rates = ", ".join(f"{group['lr']:.6g}" for group in self.optimizer._groups)
        return f"{self._kind}({', '.join([self.optimizer._kind, *self._words()])}; epoch {self.epoch}, lr {rates})"


class StepLR(Schedule):
    """A learning rate that steps down: lr = first lr * gamma^(epoch // step_size), for every group.

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
    >>> schedule
    StepLR(SGD, step_size=2, gamma=0.5; epoch 0, lr 8)
    """

    step_size: int
    gamma: float
    _saved_without_settings = True

    def __init__(self, optimizer: Optimizer, step_size: int | np.integer[Any], gamma: float = 0.1) -> None:
        super().__init__(optimizer, step_size=step_size, gamma=gamma)

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The two numbers, if they are what they should be."""
        return {"step_size": self._whole(settings, "step_size", 1), "gamma": self._number(settings, "gamma")}

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's."""
        return first * self.gamma ** (epoch // self.step_size)


class CosineLR(Schedule):
    """Half a cosine: lr = eta_min + (first lr - eta_min) (1 + cos(pi epoch / T_max)) / 2, from then on eta_min.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017; PyTorch's CosineAnnealingLR,
    whose rate rises again after T_max.

    Args:
        optimizer: whose groups' "lr" it sets.
        T_max: after how many epochs the rate is eta_min, >= 1; so give as many as you train.
        eta_min: the last rate, >= 0.
    """

    T_max: int
    eta_min: float

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:  # noqa: N803
        super().__init__(optimizer, T_max=T_max, eta_min=eta_min)

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The two numbers, if they are what they should be."""
        return {"T_max": self._whole(settings, "T_max", 1), "eta_min": self._number(settings, "eta_min", least=0)}

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's."""
        share = min(epoch / self.T_max, 1.0)
        return self.eta_min + (first - self.eta_min) * (1 + math.cos(math.pi * share)) / 2


class LinearLR(Schedule):
    """A straight line, for a warm-up: from first lr * start_factor to first lr * end_factor in total_iters epochs.

    Args:
        optimizer: whose groups' "lr" it sets.
        start_factor: of epoch 0, >= 0.
        end_factor: of epoch total_iters and all after it, >= 0.
        total_iters: how many epochs that takes, >= 1.
    """

    start_factor: float
    end_factor: float
    total_iters: int

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        super().__init__(optimizer, start_factor=start_factor, end_factor=end_factor, total_iters=total_iters)

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The three numbers, if they are what they should be."""
        factors = {name: self._number(settings, name, least=0) for name in ("start_factor", "end_factor")}
        return {**factors, "total_iters": self._whole(settings, "total_iters", 1)}

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's."""
        share = min(epoch, self.total_iters) / self.total_iters
        return first * (self.start_factor + (self.end_factor - self.start_factor) * share)


class LambdaLR(Schedule):
    """Any function of the epoch: lr = first lr * lr_lambda(epoch), epochs counted from 0.

    Its state has no functions: it is restored into a schedule that was made with the same one.

    Args:
        optimizer: whose groups' "lr" it sets.
        lr_lambda: called with the epoch, returns the factor, >= 0.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        if not callable(lr_lambda):
            raise TypeError(
                f"{self._kind}: expected a function of the epoch as lr_lambda, got {in_one_line(lr_lambda)}"
            )
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's."""
        factor = self.lr_lambda(epoch)
        if not is_rate(factor):
            raise ValueError(
                f"{self._kind}: expected lr_lambda({epoch}) to be a number >= 0, got {in_one_line(factor)}"
            )
        return first * float(factor)

    def _words(self) -> list[str]:
        return [f"lr_lambda={getattr(self.lr_lambda, '__qualname__', type(self.lr_lambda).__name__)}"]


def _unscheduled(group: Any) -> float:
    """A group's rate, as it was before another schedule was made of it that has not gone on yet."""
    set_, first = group.scheduled or (None, None)
    return first if set_ == group["lr"] and first is not None else group["lr"]


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def is_rate(x: Any) -> bool:
    """Whether it can be a learning rate."""
    return is_real(x) and 0 <= x < math.inf
