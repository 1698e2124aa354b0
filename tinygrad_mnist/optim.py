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

import inspect
import math
from collections.abc import Iterable, KeysView, Mapping, Set
from typing import Any, ClassVar

import numpy as np

from .convert import described
from .mode import mode
from .tensor import Array, Tensor, last_change, tick

_SIGNATURE = (
    "direction(self, gradient, state, options) returns the direction alone, an array of the parameter's shape, and "
    'keeps arrays for the next step by name, as in state["velocity"] = velocity'
)

_set = dict.__setitem__  # found sooner than by super(), at every step of every parameter


class State(dict[str, Array]):
    """What an optimizer keeps for one parameter from step to step: arrays by name.

    They have the parameter's dtype, so that nothing promotes float32: what is put in is converted, and a number, such
    as a count of steps, becomes an array of shape (). Anything else is refused with a TypeError.

    >>> state = State(np.dtype(np.float32))
    >>> state["steps"] = state.get("steps", 0) + 1
    >>> state
    {'steps': array(1., dtype=float32)}
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __setitem__(self, name: str, value: Any) -> None:
        if type(value) is not np.ndarray or value.dtype is not self.dtype or type(name) is not str:
            self.check(name, value)
            value = np.asarray(value, self.dtype)
        if (len(self) > 1 or name not in self) and any(value is kept for kept in self.values()):
            value = value if self.get(name) is value else value.copy()  # two names, and two arrays to change in place
        _set(self, name, value)

    @staticmethod
    def check(name: Any, value: Any) -> None:
        """Raise a TypeError for what is no array of real numbers, and no number."""
        if type(name) is not str:
            raise TypeError(f"an optimizer's state: expected a name, got {name!r:.60}; write state['velocity'] = ...")
        is_array = isinstance(value, np.ndarray | np.generic | int | float) and not isinstance(value, np.ma.MaskedArray)
        if not is_array or np.asarray(value).dtype.kind not in "biuf":
            what = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(
                f"an optimizer's state: expected an array or a number as {name!r}, got a {what}; keep several arrays "
                "under several names"
            )

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several entries."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> State:  # type: ignore[override, misc]
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> Array:
        """The entry of this name; if there is none, it is set first."""
        if name not in self:
            self[name] = default
        return self[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return State, (self.dtype,), None, None, iter(self.items())


class _States(dict[Tensor, State]):
    """The state of each parameter, empty at first."""

    def __missing__(self, p: Tensor) -> State:
        state = State(p.dtype)
        super().__setitem__(p, state)
        return state

    def __setitem__(self, p: Tensor, entries: Mapping[str, Any]) -> None:
        state = State(p.dtype)
        state.update(entries)
        super().__setitem__(p, state)


class _Group(dict[str, Any]):
    """A group's parameters, a tuple, and its options: a dict that checks whatever is set, and loses and gains no key.

    Args:
        optimizer: the optimizer, in words.
        taken: the parameters of all its groups, which they share.
        options: every option, with its value.
        params: the parameters.

    Attributes:
        first_lr: the learning rate that the group began with.
    """

    def __init__(self, optimizer: str, taken: set[Tensor], options: Mapping[str, Any], params: Any) -> None:
        self.optimizer, self.taken = optimizer, taken
        super().__init__(params=(), **options)
        self._take({"params": params, **options})
        self.first_lr = self["lr"]

    def _take(self, given: Mapping[str, Any]) -> None:
        """Set what is given: all of it, or after an error nothing."""
        values = {name: self.checked(name, value) for name, value in given.items()}
        if "params" in values:
            self.taken.difference_update(self["params"])
            self.taken.update(values["params"])
        super().update(values)

    def checked(self, name: str, value: Any) -> Any:
        """A value as it may be set: of an option a plain number, as a float64 would make a float64 of every float32."""
        if name == "params":
            return self._parameters(value)
        if name not in self:
            raise TypeError(f"{self.optimizer}: a group is a dict of {_names(self)}; got one of {name}")
        number = value.item() if isinstance(value, np.generic) else value
        limit = 1 if name == "momentum" else math.inf
        if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number < limit:
            raise ValueError(f"{self.optimizer}: expected 0 <= {name} < {limit}, got {number!r:.60}")
        return float(number) if isinstance(number, float) else number

    def _parameters(self, given: Any) -> tuple[Tensor, ...]:
        members = tuple(_in_order(self.optimizer, given))
        for p in members:
            if not isinstance(p, Tensor) or not p.requires_grad or p.op is not None:
                got = f"{described(p)}{f', the result of {p.op.name}' if isinstance(p, Tensor) and p.op else ''}"
                raise TypeError(f"{self.optimizer}: parameters are leaf Tensors that require gradients, got {got}")
        if len(set(members)) < len(members) or any(p in self.taken and p not in set(self["params"]) for p in members):
            raise ValueError(
                f"{self.optimizer}: a parameter is in two groups, or twice in one; it would be changed twice a step"
            )
        if self["params"] and not members:
            raise ValueError(_no_parameters(self.optimizer))
        return members

    def update(self, *args: Any, **kwargs: Any) -> None:
        given = dict(*args, **kwargs)
        if mode.observer is not None and given:
            mode.observer.changing(f"sets {next(iter(given))!r} of an optimizer")
        self._take(given)

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __ior__(self, other: Any) -> _Group:  # type: ignore[override, misc]
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else self.checked(name, default)

    def _refuse(self, *args: Any) -> Any:
        raise TypeError(f"{self.optimizer}: a group keeps {_names(self)}; set a value, as in groups[0]['lr'] = 0.1")

    __delitem__ = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _group_again, (vars(self), dict(self))


def _group_again(attributes: dict[str, Any], values: dict[str, Any]) -> _Group:
    """A copy of a group, whose parameters are among those taken already."""
    group = _Group.__new__(_Group)
    vars(group).update(attributes)
    dict.update(group, values)
    return group


def _names(options: Iterable[str]) -> str:
    return f"'params' and {', '.join(name for name in options if name != 'params')}"


def _no_parameters(optimizer: str) -> str:
    return f"{optimizer}: got no parameters; pass network.parameters(), and a generator only once"


def _in_order(optimizer: str, params: Any) -> list[Any]:
    """Parameters, or groups of them, as a list; a TypeError for what has none, or has them in no order."""
    if hasattr(params, "parameters") or not isinstance(params, Iterable):
        remedy = "its" if hasattr(params, "parameters") else "a network's"
        raise TypeError(f"{optimizer}: expected parameters, got {params!r:.60}; pass {remedy} .parameters()")
    if isinstance(params, Set) and not isinstance(params, KeysView):
        raise TypeError(f"{optimizer}: expected parameters in their order, got a {type(params).__name__}; pass a list")
    return [params] if isinstance(params, Tensor | Mapping) else list(params)


class Optimizer:
    """What all optimizers share: groups of parameters with options of their own, weight decay, state.

    One of your own is a formula, `direction`; what it keeps from step to step for a parameter are arrays by name:

    >>> class Averaged(Optimizer):
    ...     def direction(self, gradient, state, options):
    ...         state["mean"] = 0.5 * state.get("mean", 0) + 0.5 * gradient
    ...         return state["mean"]

    Args:
        params: the parameters, in a list or another order; or groups, dicts with "params" and whatever options differ
            from the defaults.
        lr: the learning rate, a number >= 0.
        weight_decay: see the module; a number >= 0.
        options: those of a subclass, with their defaults; numbers >= 0.

    Attributes:
        groups: a dict for every group with "params", "lr", "weight_decay" and the optimizer's other options. They are
            read at every step, and may be set between steps, where they are checked as here. `add_group` adds one.
        state: for each parameter the arrays that its formula keeps, a `State`.

    Raises:
        ValueError: an option out of its range, no parameters, or one parameter twice.
        TypeError: something that is not a Tensor that requires gradients, or an option that there is none of.
    """

    keeps_velocity: ClassVar[bool] = False
    """Whether the state is a "velocity" of the parameter's shape: all that former checkpoints hold."""

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
        given: list[Any] = _in_order(str(self), params)
        if not any(isinstance(item, Mapping) for item in given):
            given = [{"params": given}]
        self._defaults = {"lr": lr, "weight_decay": weight_decay, **(options or {})}
        self._taken: set[Tensor] = set()
        self._groups = tuple(map(self._group, given))
        if not self._taken:
            raise ValueError(_no_parameters(str(self)))
        self.state: dict[Tensor, State] = _States()

    @property
    def groups(self) -> tuple[dict[str, Any], ...]:
        """The groups, in the order in which they were given and added."""
        return self._groups

    def add_group(self, group: Mapping[str, Any]) -> None:
        """Add a group, a dict of "params" and whatever options differ from the defaults; after an error nothing.

        A schedule of the optimizer takes the group's rate, as it is now, for that of its first epoch.
        """
        if mode.observer is not None:
            mode.observer.changing("adds a group to an optimizer")
        added = self._group(group)
        if not added["params"]:
            raise ValueError(_no_parameters(str(self)))
        self._groups = (*self._groups, added)

    def _group(self, given: Any) -> _Group:
        defaults = self._defaults
        if not isinstance(given, Mapping) or "params" not in given or given.keys() - defaults.keys() != {"params"}:
            got = f"one of {', '.join(map(str, given))}" if isinstance(given, Mapping) else type(given).__name__
            raise TypeError(f"{self}: a group is a dict of {_names(defaults)}; got {got}")
        options = {name: given.get(name, default) for name, default in defaults.items()}
        return _Group(str(self), self._taken, options, given["params"])

    def _members(self) -> list[Tensor]:
        return [p for group in self._groups for p in group["params"]]

    def __repr__(self) -> str:
        return type(self).__name__

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """Return the direction d of the step w <- w - lr d, for one parameter.

        It is called once a step with the gradient, weight decay included, which it leaves as it is; with the state,
        empty at first, where it may keep arrays and numbers; and with the options of the parameter's group.
        """
        raise TypeError(f"{self}: define direction(), or use SGD, Momentum or Nesterov")

    def change(self, p: Any, gradient: Any, state: State, options: Mapping[str, Any]) -> Any:
        """Return what a step takes from the parameter, lr d: a formula, of arrays or of Tensors."""
        if options["weight_decay"]:
            gradient = gradient + options["weight_decay"] * p
        try:
            direction = self.direction(gradient, state, options)
        except Exception as error:
            if list(inspect.signature(self.direction).parameters)[1:2] != ["velocity"]:
                raise
            raise TypeError(f"{self}: {_SIGNATURE}; this one takes a velocity ({error})") from None
        if getattr(direction, "shape", None) != p.shape:
            shape = getattr(direction, "shape", None)
            got = f"a {type(direction).__name__}" if shape is None else f"one of shape {shape} for {p.shape}"
            raise TypeError(f"{self}: {_SIGNATURE}; got {got}")
        for name, kept in state.items():
            if kept is gradient:  # a formula that goes on in place would write into p.grad
                state[name] = gradient.copy()
        return options["lr"] * direction

    def step(self) -> None:
        """Change every parameter that has a gradient, in place."""
        if mode.observer is not None and mode.observer.stepping(self):
            return
        state, now = self.state, tick()
        for group in self._groups:
            for p in group["params"]:
                if p._grad is not None:
                    p._array -= self.change(p._array, p._grad._array, state[p], group)
                    last_change(p)[0] = now

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None, so that the next backward pass begins anew."""
        if mode.observer is not None:
            mode.observer.cleared(self._members())
        for group in self._groups:
            for p in group["params"]:
                p._grad = None

    def state_dict(self) -> dict[str, Any]:
        """What a later run needs to continue identically, a copy: options, and arrays by the parameter's *position*.

        As in PyTorch, positions are all that an optimizer knows of its parameters: a later one must be given them in
        the same order. `train.save` goes by the names that the model has for them.
        """
        members = self._members()
        return {
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in self._groups],
            "shapes": [list(p.shape) for p in members],
            "state": {
                i: {name: array.copy() for name, array in self.state[p].items()}
                for i, p in enumerate(members)
                if self.state.get(p)
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` returned: all of it, or after a ValueError nothing."""
        groups, members = state["groups"], self._members()
        if [set(g) for g in groups] != [set(g) - {"params"} for g in self._groups]:
            raise ValueError(f"{self}: the saved groups have the options {groups}; they belong to another optimizer")
        options = [
            {name: group.checked(name, value) for name, value in saved.items()}
            for group, saved in zip(self._groups, groups, strict=True)
        ]
        for group in self._groups:
            group.checked("params", group["params"])
        shapes = [list(p.shape) for p in members]
        if (saved := [list(shape) for shape in state.get("shapes", shapes)]) != shapes:
            raise ValueError(f"{self}: the saved parameters have the shapes {saved}, these {shapes}; name the same")
        restored = _States()
        for i, arrays in (state["state"] if "state" in state else self._of_velocities(state["velocity"])).items():
            p = members[int(i)] if 0 <= int(i) < len(members) else None
            for name, array in arrays.items():
                unfit = p is None or (self.keeps_velocity and name == "velocity" and np.shape(array) != p.shape)
                if unfit or type(array) is not np.ndarray or array.dtype.kind not in "biuf":
                    what = f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"
                    raise ValueError(f"{self}: the saved {name} {i}, {what}, belongs to another network")
                restored[members[int(i)]][name] = array.astype(members[int(i)].dtype)
        for group, values in zip(self._groups, options, strict=True):
            group.update(values)
        self.state = restored

    def _of_velocities(self, velocities: Mapping[Any, Any]) -> dict[Any, dict[str, Any]]:
        """The state by name of a former one, in which each parameter had one array, its velocity."""
        if velocities and not self.keeps_velocity:
            raise ValueError(
                f"{self}: the saved state is of a former version, one array for a parameter, and has no names; restore "
                "the model alone, or set optimizer.state[parameter] = {name: array}"
            )
        return {i: {"velocity": array} for i, array in velocities.items()}


class SGD(Optimizer):
    """Stochastic gradient descent, w <- w - lr g; Nielsen's chapter 1.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([0.5], dtype=float32, requires_grad=True)
    """

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The gradient itself."""
        return gradient


class Momentum(SGD):
    """Classical momentum, v <- mu v + g; w <- w - lr v; Nielsen's chapter 3. `momentum` is mu, 0 <= mu < 1."""

    keeps_velocity = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay, options={"momentum": momentum})

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The new velocity, mu v + g."""
        v = options["momentum"] * state["velocity"] + gradient if "velocity" in state else gradient.copy()
        state["velocity"] = v
        return v


class Nesterov(Momentum):
    """Nesterov momentum, v <- mu v + g; w <- w - lr (g + mu v): the gradient is that of where v leads."""

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The gradient plus mu times the new velocity: g + mu v."""
        return gradient + options["momentum"] * super().direction(gradient, state, options)


class StepLR:
    """A learning rate that steps down: lr = first lr * gamma^(epoch // step_size), for every group.

    Call `step()` after each epoch. Making the schedule changes nothing. Of a group that is added to the optimizer later
    the first rate is the one that it is added with.

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
