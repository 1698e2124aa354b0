"""Optimizers: how a gradient changes the parameters. The formulas and conventions are PyTorch's.

    SGD         w <- w - lr g
    Momentum    v <- mu v + g,   w <- w - lr v           (v starts at 0, so the first v is g)
    Nesterov    v <- mu v + g,   w <- w - lr (g + mu v)

The learning rate `lr` is Nielsen's eta. His and most textbooks' momentum is v <- mu v - eta g; w <- w + v, which is the
same as long as eta is constant: here a change of the learning rate acts on the whole velocity at once, there only on
what is added from then on. Nesterov's gradient "at the point looked ahead to" is here taken at the present point, with
the parameters understood as already looked ahead (Sutskever et al., 2013).

Weight decay adds `weight_decay` w to the gradient: the derivative of the penalty ½ weight_decay Σ w². Nielsen's L2
regularization with lambda (chapter 3) is `weight_decay = lambda / n`, with n the number of training examples, on the
weights alone; biases go into a group without it:

    SGD([{"params": weights, "weight_decay": lmbda / n}, {"params": biases}], lr=0.5)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from .mode import mode
from .tensor import Array, Tensor, last_change, tick

Direction: TypeAlias = tuple[Array, Array | None]
"""What `direction()` returns: the direction of a step, and the new velocity."""

_RETURNS = (
    "direction() returns the direction, of the parameter's shape, and the new velocity: one array (np.stack joins "
    "several), or None"
)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with Python's numbers for NumPy's: a float64 would make a float64 of every float32 it meets."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}


class _Group(dict[str, Any]):
    """A group's parameters and options; an option that is set later becomes a plain number too."""

    def __setitem__(self, key: str, value: Any) -> None:
        if mode.observer is not None:
            mode.observer.setting(key)
        super().update(_plain({key: value}))

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value


class Optimizer:
    """What all optimizers share: groups of parameters with options of their own, weight decay, state.

    Args:
        params: the parameters; or groups, dicts with "params" and whatever options differ from the defaults.
        lr: the learning rate, a number >= 0.
        weight_decay: see the module; a number >= 0.
        options: those of a subclass, with their defaults; numbers >= 0.

    Attributes:
        groups: a dict for every group with "params", "lr", "weight_decay" and the optimizer's other options. They are
            read at every step, and may be changed between steps.

    Raises:
        ValueError: an option out of its range, no parameters, or one parameter twice.
        TypeError: something that is not a Tensor that requires gradients.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        *,
        options: Mapping[str, float] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"{self}: takes lr and weight_decay, got {', '.join(unknown)}; momentum is an option of Momentum and "
                "Nesterov, and a subclass passes its own as super().__init__(params, lr, options={...})"
            )
        given: list[Any] = self._listed(params)
        if not any(isinstance(item, Mapping) for item in given):
            given = [{"params": given}]
        defaults = {"lr": lr, "weight_decay": weight_decay, **(options or {})}
        self.groups: list[dict[str, Any]] = []
        for group in given:
            if not isinstance(group, Mapping) or "params" not in group or group.keys() - defaults.keys() != {"params"}:
                got = f"one of {', '.join(map(str, group))}" if isinstance(group, Mapping) else type(group).__name__
                raise TypeError(f"{self}: a group is a dict of 'params' and {', '.join(defaults)}; got {got}")
            self.groups.append(_Group(_plain({**defaults, **group, "params": self._listed(group["params"])})))
        self.state: dict[Tensor, Array] = {}
        self._check(self.groups)

    def _listed(self, params: Any) -> list[Any]:
        if hasattr(params, "parameters") or not isinstance(params, Iterable):
            remedy = "its" if hasattr(params, "parameters") else "a network's"
            raise TypeError(f"{self}: expected parameters, got {params!r:.60}; pass {remedy} .parameters()")
        return [params] if isinstance(params, Tensor | Mapping) else list(params)

    def _check(self, groups: Iterable[Mapping[str, Any]]) -> None:
        for group in groups:
            for option, value in group.items():
                limit = 1 if option == "momentum" else math.inf
                if option != "params" and not (isinstance(value, int | float) and 0 <= value < limit):
                    raise ValueError(f"{self}: expected 0 <= {option} < {limit}, got {value!r}")
            for p in group["params"]:
                if not isinstance(p, Tensor) or not p.requires_grad or p.op is not None:
                    raise TypeError(f"{self}: parameters are leaf Tensors that require gradients, got {p!r:.80}")
        members = self._members()
        if not members:
            raise ValueError(f"{self}: got no parameters; pass network.parameters(), and a generator only once")
        if len(set(members)) < len(members):
            raise ValueError(f"{self}: a parameter is in two groups, or twice in one; it would be changed twice a step")

    def _members(self) -> list[Tensor]:
        return [p for group in self.groups for p in group["params"]]

    def __repr__(self) -> str:
        return type(self).__name__

    def direction(self, gradient: Array, velocity: Array | None, options: Mapping[str, Any]) -> Direction:
        """Return the direction d of the step w <- w - lr d, and the new velocity; changes none of its arguments."""
        raise TypeError(f"{self}: define direction(), or use SGD, Momentum or Nesterov")

    def change(self, p: Any, gradient: Any, velocity: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return what a step takes from the parameter, and the new velocity: a formula, of arrays or of Tensors."""
        if options["weight_decay"]:
            gradient = gradient + options["weight_decay"] * p
        result = self.direction(gradient, velocity, options)
        if type(result) is not tuple or len(result) != 2:
            raise TypeError(f"{self}: {_RETURNS}, got {type(result).__name__}")
        direction, velocity = result
        return options["lr"] * direction, velocity

    def step(self) -> None:
        """Change every parameter that has a gradient, in place."""
        if mode.observer is not None and mode.observer.stepping(self):
            return
        state, now = self.state, tick()
        for group in self.groups:
            for p in group["params"]:
                if p._grad is None:
                    continue
                change, velocity = self.change(p._array, p._grad._array, state.get(p), group)
                if getattr(change, "shape", None) != p._array.shape:
                    raise TypeError(f"{self}: {_RETURNS}, got one of shape {np.shape(change)} for {p._array.shape}")
                if velocity is not None:
                    if not isinstance(velocity, np.ndarray | np.generic):  # of 0-d arrays NumPy makes scalars
                        raise TypeError(f"{self}: {_RETURNS}, got a velocity that is a {type(velocity).__name__}")
                    state[p] = np.asarray(velocity)
                p._array -= change
                last_change(p)[0] = now

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None, so that the next backward pass begins anew."""
        if mode.observer is not None:
            mode.observer.cleared(self._members())
        for group in self.groups:
            for p in group["params"]:
                p._grad = None

    def state_dict(self) -> dict[str, Any]:
        """What a later run needs to continue identically: the groups' options, and velocities by parameter number."""
        return {
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in self.groups],
            "velocity": {i: self.state[p].copy() for i, p in enumerate(self._members()) if p in self.state},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned: all of it, or after a ValueError nothing."""
        groups, velocity, members = state["groups"], state["velocity"], self._members()
        if [set(g) for g in groups] != [set(g) - {"params"} for g in self.groups]:
            raise ValueError(f"{self}: the saved groups have the options {groups}; they belong to another optimizer")
        for i, array in velocity.items():
            p = members[int(i)] if 0 <= int(i) < len(members) else None
            fits = p is not None and np.shape(array)[max(np.ndim(array) - p.ndim, 0) :] == p.shape  # or several in one
            if not fits or type(array) is not np.ndarray or array.dtype.kind not in "biuf":
                what = f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"
                raise ValueError(f"{self}: the saved velocity {i}, {what}, belongs to another network")
        restored = {members[int(i)]: np.array(array, members[int(i)].dtype) for i, array in velocity.items()}
        updated = [_plain({**group, **saved}) for group, saved in zip(self.groups, groups, strict=True)]
        self._check(updated)
        for group, options in zip(self.groups, updated, strict=True):
            group.update(options)
        self.state = restored


class SGD(Optimizer):
    """Stochastic gradient descent, w <- w - lr g; Nielsen's chapter 1.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([0.5], dtype=float32, requires_grad=True)
    """

    def direction(self, gradient: Array, velocity: Array | None, options: Mapping[str, Any]) -> Direction:
        """The gradient itself."""
        return gradient, None


class Momentum(SGD):
    """Classical momentum, v <- mu v + g; w <- w - lr v; Nielsen's chapter 3. `momentum` is mu, 0 <= mu < 1."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay, options={"momentum": momentum})

    def direction(self, gradient: Array, velocity: Array | None, options: Mapping[str, Any]) -> Direction:
        """The new velocity, mu v + g."""
        velocity = gradient.copy() if velocity is None else options["momentum"] * velocity + gradient
        return velocity, velocity


class Nesterov(Momentum):
    """Nesterov momentum, v <- mu v + g; w <- w - lr (g + mu v): the gradient is that of where v leads."""

    def direction(self, gradient: Array, velocity: Array | None, options: Mapping[str, Any]) -> Direction:
        """The gradient plus mu times the new velocity: g + mu v."""
        velocity, _ = super().direction(gradient, velocity, options)
        return gradient + options["momentum"] * velocity, velocity


class StepLR:
    """A learning rate that steps down: lr = first lr * gamma^(epoch // step_size), for every group.

    Call `step()` after each epoch. Making the schedule changes nothing.

    Args:
        optimizer: whose groups' "lr" it sets.
        step_size: epochs between steps, >= 1.
        gamma: the factor, > 0; 0.5 halves.

    >>> optimizer = SGD([Tensor([1.0], requires_grad=True)], lr=8.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> [schedule.rate(8.0, epoch) for epoch in range(5)]
    [8.0, 8.0, 4.0, 4.0, 2.0]
    """

    def __init__(self, optimizer: Optimizer, step_size: int | np.integer[Any], gamma: float = 0.1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"StepLR: expected an optimizer, got {optimizer!r:.60}")
        if not isinstance(step_size, int | np.integer) or step_size < 1:
            raise ValueError(f"StepLR: expected a whole number step_size >= 1, got {step_size!r}")
        if not isinstance(gamma, int | float | np.number) or not 0 < gamma < math.inf:
            raise ValueError(f"StepLR: expected gamma > 0, got {gamma!r}")
        self.optimizer, self.step_size, self.gamma = optimizer, int(step_size), float(gamma)
        self.epoch = 0
        self.first = [group["lr"] for group in optimizer.groups]

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0), from the first epoch's."""
        return first * self.gamma ** (epoch // self.step_size)

    def step(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        for group, first in zip(self.optimizer.groups, self.first, strict=True):
            group["lr"] = self.rate(first, self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """The epoch and the first rates."""
        return {"epoch": self.epoch, "first": list(self.first)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        epoch, first = int(state["epoch"]), [float(rate) for rate in state["first"]]
        if len(first) != len(self.first):
            raise ValueError(f"StepLR: the saved schedule has {len(first)} groups, expected {len(self.first)}")
        if epoch < 0 or not all(0 <= rate < math.inf for rate in first):
            raise ValueError(f"StepLR: the saved schedule is damaged: epoch {epoch}, first rates {first}")
        self.epoch, self.first = epoch, first
