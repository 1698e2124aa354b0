"""Groups of parameters with options of their own, which are checked whenever they are set."""

from __future__ import annotations

import math
from collections.abc import Iterable, KeysView, Mapping, Set
from typing import Any

import numpy as np

from tinygrad_mnist.convert import described, in_one_line, is_real
from tinygrad_mnist.mode import changed
from tinygrad_mnist.tensor import Tensor


class Group(dict[str, Any]):
    """A group's parameters, a tuple, and its options: a dict that checks whatever is set, and loses and gains no key.

    Args:
        optimizer: the optimizer, in words.
        taken: the parameters of all its groups, which they share.
        kinds: of options that are no plain numbers: see `Optimizer.kinds`.
        options: every option, with its value.
        params: the parameters.
        own: whether the optimizer is of the user's own, who is then told how an option may have other values.

    Attributes:
        first_lr: the learning rate that the group began with.
        scheduled: a learning rate that a schedule set when it was made, and what it was before; for the next schedule.
    """

    def __init__(
        self,
        optimizer: str,
        taken: set[Tensor],
        kinds: Mapping[str, str],
        options: Mapping[str, Any],
        params: Any,
        own: bool = False,
    ) -> None:
        self.optimizer, self.own, self.taken, self.kinds = optimizer, own, taken, dict(kinds)
        self.scheduled: tuple[float, float] | None = None
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
            raise TypeError(f"{self.optimizer}: a group is a dict of {names(self)}; got one of {name}")
        kind = self.kinds.get(name, "number")
        if kind == "shares":
            if not isinstance(value, list | tuple) or len(value) != 2:
                raise ValueError(
                    f"{self.optimizer}: expected two numbers as {name}, (0.9, 0.999), got {in_one_line(value)}"
                )
            return tuple(self._number(f"{name}[{i}]", each, 1) for i, each in enumerate(value))
        if kind == "flag":
            if not isinstance(value, bool | np.bool):
                raise ValueError(f"{self.optimizer}: expected {name} to be True or False, got {in_one_line(value)}")
            return bool(value)
        if kind == "text":
            if not isinstance(value, str):
                raise ValueError(f"{self.optimizer}: expected {name} to be a text, got {in_one_line(value)}")
            return value
        if kind not in ("number", "share", "real"):
            known = "'share', 'shares', 'flag', 'real' or 'text'"
            raise TypeError(f"{self.optimizer}: expected kinds[{name!r}] to be {known}, got {in_one_line(kind)}")
        if kind == "real":
            return self._number(name, value, math.inf, least=-math.inf)
        return self._number(name, value, 1 if kind == "share" else math.inf)

    def _number(self, name: str, value: Any, limit: float, least: float = 0) -> float:
        number = value.item() if isinstance(value, np.generic) else value
        real = isinstance(number, int | float) and is_real(number)  # no whole number that no float can hold
        if not real or not math.isfinite(number) or not least <= number < limit:
            plain = self.own and name.partition("[")[0] not in ("lr", "weight_decay", *self.kinds)
            remedy = _own_kind(name, number) if plain else ""
            expected = f"{least} <= {name} < {limit}" if least == 0 else f"{name} to be a finite number"
            raise ValueError(f"{self.optimizer}: expected {expected}, got {in_one_line(number)}{remedy}")
        return float(number) if isinstance(number, float) else number

    def _parameters(self, given: Any) -> tuple[Tensor, ...]:
        members = tuple(in_order(self.optimizer, given))
        for p in members:
            if not isinstance(p, Tensor) or not p.requires_grad or p.op is not None:
                got = f"{described(p)}{f', the result of {p.op.name}' if isinstance(p, Tensor) and p.op else ''}"
                raise TypeError(f"{self.optimizer}: parameters are leaf Tensors that require gradients, got {got}")
        if len(set(members)) < len(members) or any(p in self.taken and p not in set(self["params"]) for p in members):
            raise ValueError(
                f"{self.optimizer}: a parameter is in two groups, or twice in one; it would be changed twice a step"
            )
        if self["params"] and not members:
            raise ValueError(no_parameters(self.optimizer))
        return members

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several at once: all of them, or after an error nothing."""
        given = dict(*args, **kwargs)
        self._take(given)
        changed(f"sets {', '.join(map(repr, given))} of an optimizer", self)

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __ior__(self, other: Any) -> Group:  # type: ignore[override, misc]
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value of an option; there is no other way to have a new one than a subclass."""
        return self[name] if name in self else self.checked(name, default)

    def _refuse(self, *args: Any) -> Any:
        raise TypeError(f"{self.optimizer}: a group keeps {names(self)}; set a value, as in groups[0]['lr'] = 0.1")

    __delitem__ = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _group_again, (vars(self), dict(self))


def _group_again(attributes: dict[str, Any], values: dict[str, Any]) -> Group:
    """A copy of a group, whose parameters are among those taken already."""
    group = Group.__new__(Group)
    vars(group).update(attributes)
    dict.update(group, values)
    return group


def _own_kind(name: str, value: Any) -> str:
    """How the author of an optimizer allows a value that is no number of at least 0."""
    kinds = {bool: ("True or False", "flag"), tuple: ("two shares", "shares"), list: ("two shares", "shares")}
    kinds |= {str: ("a text", "text"), int: ("any number", "real"), float: ("any number", "real")}
    words, kind = kinds.get(type(value), ("", ""))
    return words and f'; an option that is {words} is said to be so in the class: kinds = {{"{name}": "{kind}"}}'


def names(options: Iterable[str]) -> str:
    """What a group holds, in words."""
    return f"'params' and {', '.join(name for name in options if name != 'params')}"


def no_parameters(optimizer: str) -> str:
    """What is said of a group without any."""
    return (
        f"{optimizer}: got no parameters; pass network.parameters(), which are Tensors with requires_grad=True, and a "
        "generator only once"
    )


def in_order(optimizer: str, params: Any) -> list[Any]:
    """Parameters, or groups of them, as a list; a TypeError for what has none, or has them in no order."""
    if hasattr(params, "parameters") or not isinstance(params, Iterable):
        remedy = "its" if hasattr(params, "parameters") else "a network's"
        raise TypeError(f"{optimizer}: expected parameters, got {in_one_line(params)}; pass {remedy} .parameters()")
    if isinstance(params, Set) and not isinstance(params, KeysView):
        raise TypeError(f"{optimizer}: expected parameters in their order, got a {type(params).__name__}; pass a list")
    return [params] if isinstance(params, Tensor | Mapping) else list(params)
