"""compile(step): record what a training step does, then replay it as straight-line NumPy.

While a step is recorded it runs as it always does, and every op that is called on Tensors is noted. The backward pass
is ops of the same table, since its rules are called with Tensors, and so is the optimizer's formula. What comes out is
one list of instructions: forward, backward and update; `program.py` makes a program of it.

A replay must never be wrong. So whatever is not an op is looked after here: numbers that change between steps are read
at each replay (`Option`); what the step refers to is watched, and a change means a new recording (`_Watch`); a value
that is read while recording makes the step run eagerly (`Recorder.read`); and two recordings must agree (`_agree`).
"""

from __future__ import annotations

import contextlib
import copy as copying
import inspect
import linecache
import logging
import os
import random
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import ops
from .backward import _propagate, no_grad
from .define import Op
from .nn import Module
from .optim import Optimizer
from .program import Buffer, Instruction, Number, NumPyText, Program, improve, writes
from .tensor import Array, Tensor, changes, leaf, mode, tick

_PACKAGE = os.path.dirname(__file__) + os.sep
_MISS = object()  # what a replay returns if something is not as it was recorded
_PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic)
_MOST = 16  # variants of a step that are recorded before it is run eagerly
_log = logging.getLogger("tinygrad_mnist")


def compile(step: Callable[..., Any]) -> Compiled:
    """Make a function that does what the step does, sooner: it records the first calls and replays them from then on.

    The step is any function of arrays or Tensors that returns Tensors (also in tuples, lists and dicts) or nothing;
    arrays reach it as Tensors. Typically it is a whole training step: forward, `zero_grad`, `backward` and the
    optimizer's `step`. The same bits come out as from the step itself, given the same number of BLAS threads.

    - Arguments of other shapes, dtypes or strides (the last, smaller batch) are recorded as programs of their own, and
      so is any change of what the step refers to: a module's attributes and its `training`, global names, closures.
    - Parameters, optimizer options (`lr`) and states are read at each call. So schedules work, and so does
      `load_state_dict`.
    - The results are outside any graph, and theirs is memory of their own. Afterwards `.grad` is None.
    - Random numbers are new at each call if an op draws them (from a `Generator` that is one of its parameters).
    - A step that reads values (`.item()`, `bool(t)`, `.data`, NumPy's functions of the values), draws random numbers
      by itself or leaves gradients behind runs eagerly. That is logged once, as a warning of the logger
      `tinygrad_mnist`.
    - What else a step does besides ops (printing, counting, appending to a list) it does only while it is recorded.
    - One thread at a time: others wait.

    Raises:
        RuntimeError: the first two calls do not agree, because the step makes an array or a number anew each time. What
            changes has to be an argument.

    >>> from tinygrad_mnist.optim import SGD
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.25)
    >>> @compile
    ... def step(x):
    ...     cost = ((w - x) ** 2).sum()
    ...     optimizer.zero_grad()
    ...     cost.backward()
    ...     optimizer.step()
    ...     return cost
    >>> [step(np.zeros(2, np.float32)).item() for _ in range(4)]
    [5.0, 1.25, 0.3125, 0.078125]
    """
    return Compiled(step)


class Compiled:
    """A step and the programs recorded of it; made by `compile`.

    Attributes:
        step: the function itself.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        if not callable(step):
            raise TypeError(f"compile: expected a function of arrays or Tensors, got {step!r:.60}")
        self.step = step
        self.__doc__ = step.__doc__
        self.__name__ = self.__qualname__ = getattr(step, "__name__", type(step).__name__)
        self._variants: list[_Variant] = []
        self._lock = threading.RLock()
        self._last: Callable[..., Any] = _no_program
        self._said = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the step returns for these arguments."""
        if not kwargs:
            result = self._last(*args)
            if result is not _MISS:
                return result
        return self._other(args, kwargs)

    @property
    def source(self) -> str:
        """The programs as Python text, one after the other; or why there is none."""
        texts = [v.text.source if v.text else f"# {self.__name__}: {v.eager}\n" for v in self._variants
                 if v.text or v.eager]  # fmt: skip
        return "\n\n".join(texts) or f"# {self.__name__}: no program yet; a step is recorded in its first two calls\n"

    def __repr__(self) -> str:
        return f"compile({self.__name__})"

    def _other(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that the last program is not for."""
        if kwargs:
            bound = inspect.signature(self.step).bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        if mode.observer is not None or kwargs:
            return self.step(*map(_as_tensor, args), **kwargs)
        with self._lock:
            for variant in self._variants:
                if variant.admits(args):
                    break
            else:
                if len(self._variants) >= _MOST:
                    self._say(f"refers to something that changes at every call ({self._variants[-1].change(args)})")
                    return self.step(*map(_as_tensor, args))
                variant = _Variant(self, args)
                self._variants.append(variant)
            try:
                return variant.call(args)
            finally:
                if variant.temporary:
                    self._variants.remove(variant)

    def _say(self, reason: str) -> None:
        if not self._said:
            self._said = True
            _log.warning("compile: %s runs eagerly, as it %s", self.__name__, reason)


def _no_program(*args: Any) -> Any:
    return _MISS


def _as_tensor(x: Any) -> Any:
    return leaf(x) if type(x) is np.ndarray else x


def _layout(x: Array) -> tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]:
    return x.shape, x.dtype, x.strides


# ----------------------------------------------------------------------------------------------------------------------
# Recording


class Option(float):
    """An optimizer's option in the formula of its step: read at each replay where an op takes it as it is.

    A branch that depends on it becomes a condition of the program.
    """

    number: Number
    recorder: Recorder

    def __bool__(self) -> bool:
        value = float(self) != 0
        self.recorder.truths[self.number] = value
        return value

    def _frozen(name: str) -> Any:  # type: ignore[misc] # noqa: N805
        def method(self: Option, *others: Any) -> Any:
            self.recorder.frozen.append(self.number)
            return getattr(float(self), name)(*others)

        return method

    def __pos__(self) -> float:
        """The plain number that an op is given, known to the recorder by its identity."""
        plain = float.__add__(self, 0.0)
        self.recorder.plain[id(plain)] = plain, self.number
        return plain

    __eq__, __ne__, __lt__, __le__, __gt__, __ge__, __int__, __round__ = map(
        _frozen, "__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __int__ __round__".split()
    )
    __hash__ = float.__hash__


@dataclass(eq=False)
class _Slot:
    """A place in an optimizer's state."""

    optimizer: Optimizer
    key: Tensor


class _OpaqueError(Exception):
    """Raised inside a forward function that is not made of ops alone."""


class _Traced(Tensor):
    """A Tensor inside a forward function that is tried out on Tensors, for the ops that it is made of."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.add and method == "reduce":
            return ops.sum(*inputs, **kwargs)
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)  # type: ignore[misc]


class Recorder:
    """One run of a step, and what it did.

    It is the observer of the running thread, told of every op; and its `mode.recorder`, which Tensors and optimizers
    tell what is not an op.
    """

    def __init__(
        self, arguments: list[tuple[str, Any]], names: Mapping[int, str], generators: list[np.random.Generator]
    ) -> None:
        self.names, self.generators = names, generators
        self.instructions: list[Instruction] = []
        self.failed = ""  # why this cannot be replayed
        self.first = False  # whether an optimizer's state begins here: such a step is done once
        self.updated: list[Tensor] = []
        self.stores: list[tuple[Buffer, Buffer]] = []
        self.groups: list[tuple[Optimizer, list[tuple[dict[str, Any], list[Tensor]]]]] = []
        self.numbers: dict[tuple[int, str], Number] = {}
        self.plain: dict[int, tuple[float, Number]] = {}
        self.frozen: list[Number] = []
        self.truths: dict[Number, bool] = {}
        self.sources: list[Buffer] = []  # what was there before the step
        self.outside: dict[int, tuple[Any, Buffer]] = {}  # by the id of what is kept beside it
        self.results: dict[int, tuple[Array, Buffer]] = {}  # likewise
        self.lines: dict[int, tuple[Tensor, str]] = {}  # likewise
        self.gradients: dict[Buffer, Buffer] = {}
        self.expanding: list[Op] = []
        self.errors: dict[str, Any] = {**np.geterr()}
        self.arrays: list[tuple[Array, Array]] = []  # that came without a Tensor, and what they held
        self.inputs: list[Any] = []
        self.given: list[tuple[Tensor, Tensor]] = []  # those of the inputs that stand for a Tensor, and which
        self.arguments: list[Buffer] = []
        for name, x in arguments:
            if isinstance(x, Tensor | np.ndarray):
                array = x._data if isinstance(x, Tensor) else x
                tensor = leaf(array)
                if isinstance(x, Tensor):
                    tensor._requires_grad, tensor.name, tensor._grad = x._requires_grad, x.name, x._grad
                    self.given.append((tensor, x))
                buffer = Buffer("argument", *_layout(array), array, name=name)
                self.outside[id(tensor)] = tensor, buffer
                self.arguments.append(buffer)
                self.inputs.append(tensor)
            else:
                self.inputs.append(x)

    def run(self, step: Callable[..., Any]) -> Any:
        """What the step returns."""
        drawn = _random_states(self.generators)
        mode.observer, mode.recorder = self.observe, self
        try:
            value = step(*self.inputs)
        finally:
            mode.observer = mode.recorder = None
        if drawn != _random_states(self.generators) and not any(i.impure for i in self.instructions):
            self.failed = self.failed or "draws random numbers by itself; make that an op, or pass them as an argument"
        return value

    def stop(self, reason: str) -> None:
        """Let the step go on eagerly, as it cannot be replayed."""
        self.failed = self.failed or reason
        mode.observer = mode.recorder = None

    # --- what Tensors, ops and optimizers tell ---

    def read(self, tensor: Tensor) -> None:
        """A value is looked at."""
        if self.expanding:
            raise _OpaqueError
        self.stop(f"looks at values, which a replay could not ({self._line()}); return the Tensor, and look afterwards")

    def alias(self, tensor: Tensor, of: Tensor) -> None:
        """Another Tensor for the same array has been made."""
        if tensor._data is of._data:
            self.outside[id(tensor)] = tensor, self._buffer(of)
        else:
            self.read(of)

    def observe(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """An op has been called."""
        line = self._line()
        self.lines[id(result)] = result, line
        if self.expanding:
            if op in self.expanding:
                raise _OpaqueError
            result.__class__ = _Traced
        if not self._expand(result, op, inputs, params):
            self._append(op, inputs, result._data, params, line)
        if not self.expanding and self._known(result):
            self._buffer(result).name = op.name
        for x, kept in zip(inputs, result.inputs or (), strict=False):
            if kept is not x:  # the copy of an array, for the backward pass
                self._append(ops.OPS["copy"], (x,), kept._data, {}, line)

    def step(self, optimizer: Optimizer) -> None:
        """The optimizer changes its parameters: its formula is recorded with Tensors, and carried out."""
        if any(p._grad is not None and not self._known(p._grad) for p in optimizer._members()):
            self.stop("uses gradients from before the step; call zero_grad() in it")
            optimizer.step()
            return
        self.groups.append((optimizer, [(group, list(group["params"])) for group in optimizer.groups]))
        for group in optimizer.groups:
            for p in group["params"]:
                if p._grad is not None:
                    self._change(optimizer, group, p, p._grad)

    def _change(self, optimizer: Optimizer, group: dict[str, Any], p: Tensor, gradient: Tensor) -> None:
        buffer, slot = self._buffer(p), None
        name = buffer.root.name or p.name or "parameter"
        gradients = self._buffer(gradient)
        gradients.name = f"d_{name}"
        velocity = None
        if (state := optimizer.state.get(p)) is not None:
            velocity = leaf(state)
            slot = Buffer("outside", *_layout(state), state, source=_Slot(optimizer, p), name=f"v_{name}")
            self.sources.append(slot)
            self.outside[id(velocity)] = velocity, slot
        start = len(self.instructions)
        change = new = None
        with no_grad(), contextlib.suppress(Exception):  # if it raises, it will again below
            change, new = optimizer.change(p, gradient, velocity, self._options(group))
            self._try_others(optimizer, group, [p, gradient, velocity], start)
        if not isinstance(change, Tensor) or not isinstance(new, Tensor | None):
            self.stop(f"has an optimizer, {optimizer}, whose formula is not made of ops")
            change, new = optimizer.change(p._data, gradient._data, state, group)
            change, new = leaf(change), new if new is None else leaf(new)
        if new is not None:
            if slot is None:
                self.first = True
            else:
                self.stores.append((self._buffer(new), slot))
            optimizer.state[p] = new._data
        array = p._data
        output = self._append(ops.OPS["sub"], (p, change), array, {}, self._line(), update=True)
        self.outside[id(p)] = p, output
        array -= change._data
        changes(p)[0] = tick()
        self.updated.append(p)

    def _options(self, group: dict[str, Any], scale: float = 1.0) -> dict[str, Any]:
        options = dict(group)
        for key, value in group.items():
            if type(value) in (int, float):
                number = self.numbers.setdefault((id(group), key), Number(group, key, value))
                other = scale if value == 0 and number not in self.truths else value * scale
                options[key] = option = Option(value if scale == 1 else other)
                option.number, option.recorder = number, self
            elif key != "params":
                self.frozen.append(Number(group, key, value))
        return options

    def _try_others(self, optimizer: Optimizer, group: dict[str, Any], operands: list[Any], start: int) -> None:
        """Find out whether the formula computes with the options themselves, not in ops; then they are frozen.

        With other options the same ops must come with the same numbers.
        """
        recorded, truths, frozen = self.instructions, dict(self.truths), list(self.frozen)
        self.instructions = []
        try:
            copying.copy(optimizer).change(operands[0], operands[1], operands[2], self._options(group, 0.5))
            others = self.instructions
        except Exception:
            others = []
        self.instructions, self.truths, self.frozen = recorded, truths, frozen
        own = recorded[start:]
        if [(i.op, *map(_told_apart, i.inputs)) for i in own] != [(i.op, *map(_told_apart, i.inputs)) for i in others]:
            self.frozen += [number for (owner, _), number in self.numbers.items() if owner == id(group)]

    # --- what it makes of that ---

    def _known(self, tensor: Tensor) -> bool:
        """Whether a Tensor was computed in this step."""
        return id(tensor._data) in self.results

    def _buffer(self, x: Tensor) -> Buffer:
        if id(x) in self.outside:
            return self.outside[id(x)][1]
        if id(x._data) in self.results:
            return self.results[id(x._data)][1]
        if x._requires_grad and x.op is not None:
            self.stop("uses a result with a graph from before the step; compute it in the step, or detach() it")
        return self._new(x, x._data, self.names.get(id(x)) or x.name or "")

    def _new(self, source: Any, array: Array, name: str) -> Buffer:
        tracked = isinstance(source, Tensor) and source._requires_grad
        buffer = Buffer("outside", *_layout(array), array, source=source, name=name, tracked=tracked)
        self.outside[id(source)] = source, buffer
        self.sources.append(buffer)
        if any(isinstance(t, Tensor) and t._grad is source for t, _ in self.outside.values()):
            self.stop("uses gradients from before the step; call zero_grad() in it")
        if source is array:
            self.arrays.append((array, array.copy()))
        return buffer

    def _input(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            return self._buffer(x)
        if isinstance(x, np.ndarray):
            return self.outside[id(x)][1] if id(x) in self.outside else self._new(x, x, "")
        return self.plain[id(x)][1] if id(x) in self.plain else x

    def _append(
        self, op: Op, inputs: tuple[Any, ...], array: Array, params: Mapping[str, Any], line: str, update: bool = False
    ) -> Buffer:
        operands = tuple(map(self._input, inputs))
        shared = (x for x in operands if isinstance(x, Buffer) and np.may_share_memory(array, x.value))
        base = operands[0] if update else next(shared, None)
        if base is not None and not update and not op.view:
            self.stop(f"uses the op {op.name}, which returns memory of its input; define it with view=True")
        if op.name in ("getitem", "scatter") and any(b.dtype == bool for b in operands[1:]):
            self.stop("takes elements by a mask, which are not as many every time; use where()")
        output = Buffer("result", *_layout(array), array, base)
        errors: dict[str, Any] = {**np.geterr()}
        errors = {key: value for key, value in errors.items() if value != self.errors[key]}
        self.instructions.append(Instruction(op, operands, output, params, line, errors, update))
        if not update:
            self.results[id(array)] = array, output
        return output

    def _expand(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> bool:
        """Record in place of an op those that its forward function is made of: x @ weight + bias is two.

        The forward function is called with Tensors to see. What is not made of ops alone, or gives other bits, stays as
        it is; so do a user's own ops, which may do other things besides.
        """
        module = getattr(op.forward, "__module__", None) or ""
        if not module.startswith(__package__) or any(isinstance(v, np.random.Generator) for v in params.values()):
            return False
        traced = []
        for x in inputs:
            if isinstance(x, Tensor | np.ndarray):
                buffer, x = self._input(x), leaf(x._data if isinstance(x, Tensor) else x)
                x.__class__ = _Traced
                self.outside[id(x)] = x, buffer
            traced.append(x)
        start = len(self.instructions)
        self.expanding.append(op)
        made = None
        try:
            with no_grad():
                made = op.forward(*traced, **params)
        except Exception:
            made = None
        finally:
            self.expanding.pop()
        same = (
            isinstance(made, Tensor)
            and len(self.instructions) > start
            and id(made._data) in self.results
            and _layout(made._data) == _layout(result._data)
            and _identical(made._data, result._data)
            and not np.may_share_memory(made._data, result._data)
        )
        if isinstance(made, Tensor) and same:
            result._data = made._data  # so that views of it are views of what was recorded
        else:
            del self.instructions[start:]
        return same

    def _line(self) -> str:
        """The line of the step that is running; in the backward pass, the line whose gradient is computed."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            if frame.f_code is _propagate.__code__ and not self.expanding:
                node, g = frame.f_locals.get("node"), frame.f_locals.get("g")
                if node is not None and id(node) in self.lines:
                    if isinstance(g, Tensor) and self._known(g):
                        self.gradients.setdefault(self._buffer(g), self._buffer(node))
                    return "gradient of " + self.lines[id(node)][1].removeprefix("gradient of ")
            frame = frame.f_back
        code = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}  {code}".rstrip()

    def finish(self, value: Any) -> tuple[Any, Any]:
        """What the step returned, outside the graph; and the same with a `Buffer` for each Tensor."""
        if not all(_identical(a, b) for a, b in self.arrays):
            self.failed = self.failed or "changes an array in place that ops use; make it an argument"
        for tensor, x in self.given:
            x._grad = tensor._grad
        given = [x for x in self.inputs if isinstance(x, Tensor)]
        mine = [t for t, _ in self.outside.values() if isinstance(t, Tensor) and t._grad is not None
                and self._known(t._grad)]  # fmt: skip
        if any(t is x for t in mine for x in given):
            self.failed = self.failed or "leaves a gradient in an argument; return grad(...) instead"
        elif mine and not self.updated:
            self.failed = self.failed or "leaves gradients behind; call optimizer.step() in it, or return grad(...)"
        buffers = self._tree(value) if not self.failed else None
        if self.failed:
            return value, None
        for t in mine:
            t._grad = None
        return _mapped(value, lambda t: t if self._buffer(t).root.source is t else leaf(t._data)), buffers

    def _tree(self, value: Any) -> Any:
        if not _mapped(value, lambda t: None, check=True):
            self.stop(f"returns {type(value).__name__}, and not Tensors, also in tuples, lists and dicts, or None")
            return None
        return _mapped(value, self._buffer)


def _told_apart(x: Any) -> Any:
    return x.layout if isinstance(x, Buffer) else x if isinstance(x, Number) else (type(x), repr(x))


def _mapped(value: Any, function: Callable[[Tensor], Any], check: bool = False) -> Any:
    """The same structure with the function's result for each Tensor; or with `check`, whether it is one."""
    kind = type(value)
    if kind in (tuple, list):
        items = [_mapped(item, function, check) for item in value]
        return all(items) if check else kind(items)
    if kind is dict:
        if check:
            return all(_mapped(item, function, check) and isinstance(key, str) for key, item in value.items())
        return {key: _mapped(item, function) for key, item in value.items()}
    if isinstance(value, Tensor):
        return check or function(value)
    return isinstance(value, _PLAIN) if check else value


def _random_states(generators: list[np.random.Generator]) -> Any:
    """The states of the random number generators in reach, to see whether a step draws from them."""
    states = [str(g.bit_generator.state) for g in generators]
    return random.getstate(), str(np.random.get_state()), states  # noqa: NPY002


# ----------------------------------------------------------------------------------------------------------------------
# What a step refers to


@dataclass(eq=False, slots=True)
class _Watch:
    """A value that the step refers to: `owner.key` or `owner[key]`."""

    owner: Any
    key: Any
    value: Any
    attribute: bool
    path: str

    def holds(self) -> bool:
        """Whether it is still the same."""
        try:
            now = getattr(self.owner, self.key) if self.attribute else self.owner[self.key]
        except (AttributeError, LookupError, ValueError):
            return False
        return now is self.value or (isinstance(now, _PLAIN) and type(now) is type(self.value) and now == self.value)


def _watched(step: Callable[..., Any]) -> tuple[list[_Watch], dict[int, str], list[np.random.Generator]]:
    """All that a step refers to by name: closures, globals, the attributes of modules, the elements of containers.

    With it the path to each Tensor, by id, for names in the program; and the random number generators.
    """
    watches: list[_Watch] = []
    names: dict[int, str] = {}
    generators: list[np.random.Generator] = []
    seen: dict[int, Any] = {}

    def note(owner: Any, key: Any, value: Any, attribute: bool, path: str) -> None:
        if isinstance(value, types.ModuleType | type | types.BuiltinFunctionType | np.ufunc):
            return
        watches.append(_Watch(owner, key, value, attribute, path))
        walk(value, path)

    def walk(value: Any, path: str) -> None:
        if isinstance(value, _PLAIN) or id(value) in seen or len(watches) > 2000:
            return
        seen[id(value)] = value
        if isinstance(value, Tensor):
            names[id(value)] = path.partition(".")[2] or path
        elif isinstance(value, np.random.Generator):
            generators.append(value)
        elif isinstance(value, types.FunctionType):
            function(value)
        elif isinstance(value, types.MethodType):
            walk(value.__self__, path)
            walk(value.__func__, path)
        elif isinstance(value, partial):
            walk([value.func, value.args, value.keywords], path)
        elif isinstance(value, list | tuple | dict):
            if len(value) <= 256:
                length = len(value)
                if not isinstance(value, tuple):
                    watches.append(_Watch(_Sized(value), "length", length, True, path))
                for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                    if isinstance(key, str | int):
                        note(value, key, item, False, f"{path}.{key}")
        elif isinstance(value, np.ndarray | Optimizer | np.random.BitGenerator | Compiled):
            pass
        elif hasattr(value, "__dict__"):
            if isinstance(value, Module):
                watches.append(_Watch(value, "training", value.training, True, f"{path}.training"))
            for key, item in vars(value).items():
                note(value, key, item, True, f"{path}.{key}")
            for name in ("forward", "__call__"):
                walk(getattr(type(value), name, None), path)

    def function(value: types.FunctionType) -> None:
        if value.__code__.co_filename.startswith(_PACKAGE):
            return
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not assigned yet
                note(cell, "cell_contents", cell.cell_contents, True, name)
        for name in _global_names(value.__code__):
            if name in value.__globals__:
                note(value.__globals__, name, value.__globals__[name], False, name)

    walk(step, "")
    return watches, names, generators


class _Sized:
    """The length of a container as an attribute."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def length(self) -> int:
        return len(self.value)


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


# ----------------------------------------------------------------------------------------------------------------------
# Variants of a step


class _Variant:
    """The step for arguments of one kind, while nothing that it refers to changes: first recorded, then replayed."""

    def __init__(self, compiled: Compiled, args: tuple[Any, ...]) -> None:
        self.compiled = compiled
        self.linked = mode.recording
        self.watches, self.names, self.generators = _watched(compiled.step)
        self.arguments = [_kind(x) for x in args]
        self.recorder: Recorder | None = None  # the first one
        self.tree: Any = None
        self.text: NumPyText | None = None
        self.replay: Callable[..., Any] = _no_program
        self.eager = ""  # why it is not replayed
        self.refused = ""
        self.temporary = False

    def admits(self, args: tuple[Any, ...]) -> bool:
        """Whether a call is one of this variant."""
        return not self.change(args)

    def change(self, args: tuple[Any, ...]) -> str:
        """What is not as it was; empty if all is."""
        if self.linked != mode.recording:
            return "no_grad()"
        if len(args) != len(self.arguments) or not all(map(_same_kind, self.arguments, map(_kind, args))):
            return "the arguments"
        changed = next((w.path for w in self.watches if not w.holds()), "")
        if changed or self.recorder is None:
            return changed
        r = self.recorder
        for buffer in r.sources:
            source = buffer.source
            if isinstance(source, Tensor):
                if _layout(source._data) != buffer.layout or source._requires_grad != buffer.tracked:
                    return buffer.name or "a Tensor"
            elif isinstance(source, _Slot):
                state = source.optimizer.state.get(source.key)
                if state is None or _layout(state) != buffer.layout:
                    return buffer.name
        for optimizer, groups in r.groups:
            now = [(group, list(group["params"])) for group in optimizer.groups]
            if len(now) != len(groups) or any(
                a is not b or list(map(id, p)) != list(map(id, q)) for (a, p), (b, q) in zip(now, groups, strict=True)
            ):
                return "the optimizer's groups"
        for number in (*r.numbers.values(), *r.frozen):
            if type(number.owner.get(number.key)) is not type(number.value):
                return number.key
        if any(n.owner[n.key] != n.value for n in r.frozen):
            return "an option of the optimizer"
        if any((n.owner[n.key] != 0) != value for n, value in r.truths.items()):
            return "an option of the optimizer"
        return ""

    def call(self, args: tuple[Any, ...]) -> Any:
        """Replay, or record."""
        step = self.compiled.step
        if self.refused:
            raise RuntimeError(self.refused)
        if self.text is not None:
            result = self.replay(*args)
            if result is _MISS:  # other arrays than before, or gradients from before
                self.replay = self._bind(self.text)
                result = self.replay(*args)
            self.compiled._last = self.replay
            return self._once(args) if result is _MISS else result
        if self.eager:
            return step(*map(_as_tensor, args))
        recorder = Recorder(list(zip(self._argument_names(len(args)), args, strict=True)), self.names, self.generators)
        try:
            result = recorder.run(step)
        except BaseException:
            self.temporary = self.recorder is None
            raise
        result, tree = recorder.finish(result)
        if recorder.failed:
            self.eager = f"runs eagerly, as it {recorder.failed}"
            self.compiled._say(recorder.failed)
        elif recorder.first:
            self.temporary = True
        elif self.recorder is None:
            self.recorder, self.tree = recorder, tree
        else:
            self._compile(recorder, tree)
        return result

    def _argument_names(self, count: int) -> list[str]:
        try:
            names = list(inspect.signature(self.compiled.step).parameters)
        except (TypeError, ValueError):
            names = []
        return [names[i] if i < len(names) else f"argument_{i}" for i in range(count)]

    def _once(self, args: tuple[Any, ...]) -> Any:
        """Run the step itself, as gradients are there from before."""
        result = self.compiled.step(*map(_as_tensor, args))
        assert self.recorder is not None
        for buffer in self.recorder.sources:
            if isinstance(buffer.source, Tensor):
                buffer.source._grad = None
        return _mapped(result, lambda t: t if t.op is None else t.detach())

    def _compile(self, second: Recorder, tree: Any) -> None:
        first = self.recorder
        assert first is not None
        try:
            _agree(first, second, self.tree, tree)
        except _DiffersError as difference:
            self.refused = f"compile: {self.compiled.__name__} cannot be replayed: {difference}"
            raise RuntimeError(self.refused) from None
        tensors = {buffer: t for t, buffer in first.outside.values() if buffer.root.source is t}
        self.tree = _returned(self.tree, tensors)
        program = Program(first.arguments, first.instructions, _leaves(self.tree), first.stores, first.gradients)
        improve(program, writes)
        shown = ", ".join(f"{b.name} {b.dtype} {b.shape}" for b in first.arguments)
        self.text = NumPyText(program, f"{self.compiled.__name__}({shown})")
        for i in (*first.instructions, *program.instructions):
            if i.output.kind == "result":
                i.output.value = np.empty(0)  # the recording's arrays can go
        for b in first.arguments:
            b.value = np.empty(0)
        for kept in (first.outside, first.results, first.lines, first.plain, first.arrays, first.inputs, first.given):
            kept.clear()

    def _bind(self, text: NumPyText) -> Callable[..., Any]:
        """The program with the arrays that there are now, behind a test that all is as it was recorded."""
        r = self.recorder
        assert r is not None
        space: dict[str, Any] = {
            "MISS": _MISS, "mode": mode, "Tensor": Tensor, "ndarray": np.ndarray, "leaf": leaf, "tick": tick,
            "lock": self.compiled._lock,
        }  # fmt: skip

        def named(value: Any) -> str:
            space[name := f"k{len(space)}"] = value
            return name

        lines, tests, arrays = [], [f"mode.recording is {self.linked}"], {}
        names = [f"a{i}" for i in range(len(self.arguments))]
        for a, kind in zip(names, self.arguments, strict=True):
            if not isinstance(kind, _Array):
                lines.append(f"if type({a}) is not {named(type(kind.value))}: return MISS")
                tests.append(f"{a} == {named(kind.value)}" if kind.plain else f"{a} is {named(kind.value)}")
                continue
            lines += [f"if {a}.__class__ is Tensor:",
                      f"    if {a}._requires_grad is not {kind.tracked}: return MISS",
                      f"    {a} = {a}._data",
                      f"elif {kind.tracked} or {a}.__class__ is not ndarray: return MISS"]  # fmt: skip
            shape, dtype, strides = map(named, kind.layout)
            tests += [f"{a}.shape == {shape}", f"{a}.dtype is {dtype}", f"{a}.strides == {strides}"]
        for b in text.program.outside():
            source = b.source
            if isinstance(source, Tensor):
                arrays[b] = source._data
                t = named(source)
                tests.append(f"{t}._data is {named(source._data)}")
                tests.append(f"{t}._requires_grad is {b.tracked}")
            elif isinstance(source, _Slot):
                state = source.optimizer.state
                arrays[b] = state[source.key] = state[source.key].copy(order="K")
                tests.append(f"{named(source.optimizer)}.state[{named(source.key)}] is {named(arrays[b])}")
            else:
                arrays[b] = source
        tests += [f"{named(b.source)}._grad is None" for b in r.sources if isinstance(b.source, Tensor) and b.tracked]
        for w in self.watches:
            owner = named(w.owner)
            tests.append(f"{owner}.{w.key} is {named(w.value)}" if w.attribute
                         else f"{owner}[{w.key!r}] is {named(w.value)}")  # fmt: skip
        for optimizer, groups in r.groups:
            o = named(optimizer)
            tests.append(f"len({o}.groups) == {len(groups)}")
            for place, (group, members) in enumerate(groups):
                g = named(group)
                tests += [f"{o}.groups[{place}] is {g}", f"{g}['params'] is {named(group['params'])}",
                          f"len({g}['params']) == {len(members)}"]  # fmt: skip
        tests += [f"{named(n.owner)}[{n.key!r}] == {named(n.value)}" for n in r.frozen]
        tests += [f"({named(n.owner)}[{n.key!r}] != 0) is {value}" for n, value in r.truths.items()]
        for n in text.numbers:
            name = f"number{len(names)}"
            lines.append(f"{name} = {named(n.owner)}[{n.key!r}]")
            tests.append(f"{name}.__class__ is {named(type(n.value))}")
            names.append(name)
        shown = [name for name, kind in zip(names, self.arguments, strict=False) if isinstance(kind, _Array)]
        call = f"{named(text.bind(arrays))}({', '.join([*shown, *names[len(self.arguments) :]])})"
        count = len(text.program.results)
        results = ", ".join(f"r{i}" for i in range(count))
        leaves = iter(range(count))
        cells = [f"{named(changes(p))}[0]" for p in dict.fromkeys(r.updated)]
        body = [" = ".join([*cells, "tick()"])] if cells else []
        body.append(f"{results} = {call}" if count else call)
        lines_text = "\n        ".join(lines)
        tests_text = "\n            and ".join(tests)
        body_text = "\n        ".join(body)
        parameters = [*(f"{name}=MISS" for name in names[: len(self.arguments)]), "*others"]
        source = f"""def replay({", ".join(parameters)}):
    if others or mode.observer is not None:
        return MISS
    try:
        {lines_text}
        if not (
            {tests_text}
        ):
            return MISS
    except (AttributeError, LookupError, ValueError):
        return MISS
    with lock:
        {body_text}
    return {_rebuilt(self.tree, leaves, named)}
"""
        exec(source, space)
        replay: Callable[..., Any] = space["replay"]
        return replay


@dataclass(frozen=True)
class _Array:
    layout: Any
    tracked: bool


@dataclass(frozen=True, eq=False)
class _Value:
    value: Any
    plain: bool


def _kind(x: Any) -> _Array | _Value:
    """What two arguments must have in common for the same program."""
    if isinstance(x, Tensor):
        return _Array(_layout(x._data), x._requires_grad)
    if type(x) is np.ndarray:
        return _Array(_layout(x), False)
    return _Value(x, isinstance(x, _PLAIN))


def _same_kind(a: _Array | _Value, b: _Array | _Value) -> bool:
    if isinstance(a, _Value) and isinstance(b, _Value):
        return a.value is b.value or (a.plain and type(a.value) is type(b.value) and a.value == b.value)
    return a == b


def _returned(tree: Any, tensors: Mapping[Buffer, Tensor]) -> Any:
    """The tree with the Tensor itself in place of its buffer, where a step returns one from outside."""
    if isinstance(tree, dict):
        return {key: _returned(item, tensors) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_returned(item, tensors) for item in tree)
    return tensors.get(tree, tree) if isinstance(tree, Buffer) else tree


def _leaves(tree: Any) -> list[Buffer]:
    if isinstance(tree, tuple | list | dict):
        return [b for item in (tree.values() if isinstance(tree, dict) else tree) for b in _leaves(item)]
    return [tree] if isinstance(tree, Buffer) else []


def _rebuilt(tree: Any, count: Iterator[int], named: Callable[[Any], str]) -> str:
    """The text of what a step returns, with r0, r1, ... for its Tensors."""
    if isinstance(tree, Buffer):
        return f"leaf(r{next(count)}{'.copy()' if tree.kind == 'constant' else ''})"
    if isinstance(tree, dict):
        return f"{{{', '.join(f'{key!r}: {_rebuilt(item, count, named)}' for key, item in tree.items())}}}"
    if isinstance(tree, tuple | list):
        text = "".join(f"{_rebuilt(item, count, named)}, " for item in tree)
        return f"({text})" if isinstance(tree, tuple) else f"[{text}]"
    return named(tree)


# ----------------------------------------------------------------------------------------------------------------------
# Do two recordings agree?


class _DiffersError(Exception):
    """Says what differs."""


def _agree(first: Recorder, second: Recorder, tree: Any, other: Any) -> None:
    """Make sure that two recordings are of the same program; what is equal in both becomes a constant of the first.

    Raises:
        _DiffersError: something is not as it was.
    """
    pairs: dict[Buffer, Buffer] = {}

    def match(a: Any, b: Any, line: str) -> None:
        if not isinstance(a, Buffer) or not isinstance(b, Buffer):
            if _told_apart(a) != _told_apart(b) and not (isinstance(a, Number) and isinstance(b, Number)
                                                         and a.owner is b.owner and a.key == b.key):  # fmt: skip
                raise _DiffersError(
                    f"a number was {a!r} at the first call and {b!r} at the second ({line}); "
                    "pass an array with it as an argument"
                )
            return
        if pairs.setdefault(a, b) is not b or a.kind != b.kind or a.layout != b.layout:
            raise _DiffersError(f"it went another way at its second call ({line}); leave such choices to the caller")
        if a.kind == "outside" and a.source is not b.source and not isinstance(a.source, _Slot):
            if a.tracked or b.tracked:
                raise _DiffersError(
                    f"a Tensor that requires gradients is made anew at each call ({line}); make it before"
                )
            if _memory(a.value) == _memory(b.value):
                a.source = a.value
            elif _identical(a.value, b.value):
                a.kind, a.value = "constant", a.value.copy(order="K")
            else:
                raise _DiffersError(
                    f"an array of shape {a.shape} had other values at the second call ({line}); pass it as an argument"
                )

    if len(first.instructions) != len(second.instructions) or len(first.stores) != len(second.stores):
        raise _DiffersError("it did other things at its second call; leave such choices to the caller")
    for a, b in zip(first.arguments, second.arguments, strict=True):
        pairs[a] = b
    for i, j in zip(first.instructions, second.instructions, strict=True):
        same = i.op is j.op and i.update == j.update and i.errors == j.errors and len(i.inputs) == len(j.inputs)
        if not same or not _equal(dict(i.params), dict(j.params)):
            raise _DiffersError(f"it went another way at its second call ({i.line}); leave such choices to the caller")
        for x, y in (*zip(i.inputs, j.inputs, strict=True), (i.output, j.output)):
            match(x, y, i.line)
    if not _match_trees(tree, other, match):
        raise _DiffersError("it returned something else at its second call")
    for (a, place), (b, other_place) in zip(first.stores, second.stores, strict=True):
        match(a, b, "the optimizer")
        match(place, other_place, "the optimizer")


def _match_trees(a: Any, b: Any, match: Callable[[Any, Any, str], None]) -> bool:
    if isinstance(a, Buffer) and isinstance(b, Buffer):
        match(a, b, "the result")
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_match_trees(a[key], b[key], match) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_match_trees(x, y, match) for x, y in zip(a, b, strict=True))
    return a is b or (isinstance(a, _PLAIN) and _told_apart(a) == _told_apart(b))


def _memory(a: Array) -> Any:
    return a.__array_interface__["data"][0], _layout(a)


def _identical(a: Array, b: Array) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits."""
    if a.dtype.char in "gG":  # has bytes that mean nothing
        return np.array_equal(a, b, equal_nan=True)
    return a.tobytes() == b.tobytes()


def _equal(a: Any, b: Any) -> bool:
    """Whether two parameters of an op are the same."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, slice):
        return _equal((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, np.ndarray):
        return _layout(a) == _layout(b) and _identical(a, b)
    return isinstance(a, (*_PLAIN, np.dtype)) and (a == b or (a != a and b != b))
