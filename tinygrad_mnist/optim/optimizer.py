"""What all optimizers share: groups, state, the step; a formula of one's own is a subclass."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.mode import changed, mode
from tinygrad_mnist.tensor import Array, Tensor, last_change, tick

from .group import Group, in_order, names, no_parameters
from .state import State, States, saved_parts

_SIGNATURE = (
    "direction(self, gradient, state, options) returns the direction alone, an array of the parameter's shape, and "
    'keeps arrays for the next step by name, as in state["velocity"] = velocity'
)


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
        options: those of a subclass, with their defaults; numbers >= 0, if `kinds` says nothing else.

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

    kinds: ClassVar[Mapping[str, str]] = {"momentum": "share"}
    """Options that are no numbers >= 0: a "share", >= 0 and < 1; "shares", two of them; a "flag", True or False; a
    "real", any finite number; a "text". A subclass says so of its own: `kinds = {"beta": "real", "mode": "text"}`."""

    decouples_decay: ClassVar[bool] = False
    """Whether weight decay is no part of the gradient but of the direction, past the formula: see `AdamW`."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        *,
        options: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"{self._kind}: takes lr and weight_decay, got {', '.join(unknown)}; momentum is an option of Momentum "
                "and Nesterov, and a subclass passes its own as super().__init__(params, lr, options={...})"
            )
        given: list[Any] = in_order(self._kind, params)
        if not any(isinstance(item, Mapping) for item in given):
            given = [{"params": given}]
        self._defaults = {"lr": lr, "weight_decay": weight_decay, **(options or {})}
        self._taken: set[Tensor] = set()
        self._groups = tuple(map(self._group, given))
        if not self._taken:
            raise ValueError(no_parameters(self._kind))
        self.state: dict[Tensor, State] = States()

    if not TYPE_CHECKING:  # which knows all attributes that there are

        def __getattr__(self, name: str) -> Any:
            """Refuse an attribute that there is none of; nothing else comes here."""
            what = f"{type(self).__name__}: has no attribute {name!r}"
            if "state" not in vars(self):
                what += "; its __init__ has to call super().__init__(params, lr, options={...})"
            raise AttributeError(what, name=name, obj=self)

    @property
    def groups(self) -> tuple[dict[str, Any], ...]:
        """The groups, in the order in which they were given and added."""
        if mode.observer is not None:
            mode.observer.looking(self)
        return self._groups

    def add_group(self, group: Mapping[str, Any]) -> None:
        """Add a group, a dict of "params" and whatever options differ from the defaults; after an error nothing.

        A schedule of the optimizer takes the group's rate, as it is now, for that of its first epoch.
        """
        added = self._group(group)
        if not added["params"]:
            raise ValueError(no_parameters(self._kind))
        self._groups = (*self._groups, added)

    def _group(self, given: Any) -> Group:
        defaults = self._defaults
        if not isinstance(given, Mapping) or "params" not in given or given.keys() - defaults.keys() != {"params"}:
            got = f"one of {', '.join(map(str, given))}" if isinstance(given, Mapping) else type(given).__name__
            raise TypeError(f"{self._kind}: a group is a dict of {names(defaults)}; got {got}")
        options = {name: given.get(name, default) for name, default in defaults.items()}
        own = not type(self).__module__.startswith(f"{__package__}.")
        return Group(self._kind, self._taken, self.kinds, options, given["params"], own)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        changed(f"sets the attribute {name!r} of an optimizer", self)

    def _members(self) -> list[Tensor]:
        return [p for group in self._groups for p in group["params"]]

    @property
    def _kind(self) -> str:
        return type(self).__name__  # errors begin with it: `str` would show all options

    def __repr__(self) -> str:
        groups = [
            ", ".join([f"{k}={v!r}" for k, v in group.items() if k != "params"] + [_count(group["params"])])
            for group in self._groups
        ]
        if len(groups) == 1:
            return f"{self._kind}({groups[0]})"
        return "\n".join([f"{self._kind}(", *(f"  group {i}: {text}" for i, text in enumerate(groups)), ")"])

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """Return the direction d of the step w <- w - lr d, for one parameter.

        It is called once a step with the gradient, weight decay included, which it leaves as it is; with the state,
        empty at first, where it may keep arrays and numbers; and with the options of the parameter's group.
        """
        raise TypeError(f"{self._kind}: define direction(), or use SGD, Momentum, Adam or another of optim")

    def change(self, p: Any, gradient: Any, state: State, options: Mapping[str, Any]) -> Any:
        """Return what a step takes from the parameter, lr d: a formula, of arrays or of Tensors."""
        decay = options["weight_decay"]
        if decay and not self.decouples_decay:
            gradient = gradient + decay * p
        try:
            direction = self.direction(gradient, state, options)
        except Exception as error:
            if list(inspect.signature(self.direction).parameters)[1:2] != ["velocity"]:
                raise
            raise TypeError(f"{self._kind}: {_SIGNATURE}; this one takes a velocity ({error})") from None
        if getattr(direction, "shape", None) != p.shape:
            shape = getattr(direction, "shape", None)
            got = f"a {type(direction).__name__}" if shape is None else f"one of shape {shape} for {p.shape}"
            raise TypeError(f"{self._kind}: {_SIGNATURE}; got {got}")
        for name, kept in state.items():
            if kept is gradient:  # a formula that goes on in place would write into p.grad
                state[name] = gradient.copy()
        if decay and self.decouples_decay:
            direction = direction + decay * p
        return options["lr"] * direction

    def step(self) -> None:
        """Change every parameter that has a gradient, in place."""
        if mode.observer is not None and mode.observer.stepping(self):
            return
        state, now = self.state, tick()
        for group in self._groups:
            for p in group["params"]:
                if p._grad is not None:
                    change = self.change(p._array, p._grad._array, state[p], group)
                    p._array -= change if type(change) is not Tensor else change._array  # of a formula with a Tensor
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
        """Take over what `state_dict()` returned: all of it, or after a ValueError nothing.

        That of parameters which are frozen (`requires_grad = False`) by now too: it waits until they train again.
        """
        former = isinstance(state, Mapping) and "state" not in state and "velocity" in state
        groups, kept = saved_parts(
            self._kind, state, groups=list | tuple, **{"velocity" if former else "state": Mapping}
        )
        members = self._members()
        kept = self._of_velocities(kept) if former else kept
        if not all(isinstance(x, Mapping) for x in (*groups, *kept.values())):
            raise ValueError(f"{self._kind}: expected groups and state that hold dicts, as state_dict() returns them")
        if [set(g) for g in groups] != [set(g) - {"params"} for g in self._groups]:
            raise ValueError(
                f"{self._kind}: the saved groups have the options {groups}; they belong to another optimizer"
            )
        options = [
            {name: group.checked(name, value) for name, value in saved.items()}
            for group, saved in zip(self._groups, groups, strict=True)
        ]
        shapes = [list(p.shape) for p in members]
        if (saved := [list(shape) for shape in state.get("shapes", shapes)]) != shapes:
            raise ValueError(
                f"{self._kind}: the saved parameters have the shapes {saved}, these {shapes}; name the same"
            )
        restored = States()
        for i, arrays in kept.items():
            if not str(i).isdecimal():
                raise ValueError(
                    f"{self._kind}: expected the positions of parameters in the state, got {in_one_line(i)}"
                )
            p = members[int(i)] if int(i) < len(members) else None
            for name, array in arrays.items():
                unfit = p is None or (self.keeps_velocity and name == "velocity" and np.shape(array) != p.shape)
                if unfit or type(array) is not np.ndarray or array.dtype.kind not in "biuf":
                    what = f"{getattr(array, 'dtype', type(array).__name__)} of shape {np.shape(array)}"
                    raise ValueError(f"{self._kind}: the saved {name} {i}, {what}, belongs to another network")
                restored[members[int(i)]][name] = array.astype(members[int(i)].dtype)
        for group, values in zip(self._groups, options, strict=True):
            group.update(values)
        self.state = restored

    def _of_velocities(self, velocities: Mapping[Any, Any]) -> dict[Any, dict[str, Any]]:
        """The state by name of a former one, in which each parameter had one array, its velocity."""
        if velocities and not self.keeps_velocity:
            raise ValueError(
                f"{self._kind}: the saved state is of a former version, one array for a parameter, and has no names; "
                "restore the model alone, or set optimizer.state[parameter] = {name: array}"
            )
        return {i: {"velocity": array} for i, array in velocities.items()}


def _count(params: Sized) -> str:
    return f"{len(params)} parameter{'' if len(params) == 1 else 's'}"
