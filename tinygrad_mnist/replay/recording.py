"""One run of a training step, recorded: every op, what the optimizers do, and what stands in the way of a replay."""

from __future__ import annotations

import copy as copying
import linecache
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_mnist import ops
from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.mode import Observer, mode, no_grad
from tinygrad_mnist.op import OPS, Op
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Array, Tensor, last_change, leaf, tick

from .comparing import identical, mapped, random_states, returnable
from .formula import Option, Options, RecordedState
from .program import Buffer, Instruction, Number, is_ours, layout
from .watching import LOOKED_AFTER


class _OpaqueError(Exception):
    """Raised inside a forward function that is not made of ops alone."""


class _Traced(Tensor):
    """A Tensor inside a forward function that is tried out on Tensors, for the ops that it is made of."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.add and method == "reduce":
            return ops.sum(*inputs, **kwargs)
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)


class Recorder(Observer):
    """One run of a step, and what it did.

    It is the observer of the running thread, told of every op, and of what Tensors and optimizers do besides.
    """

    rules_take_tensors = True

    def __init__(self, arguments: list[tuple[str, Any]], names: Mapping[int, str], generators: list[Any]) -> None:
        self.names, self.generators = names, generators
        self.instructions: list[Instruction] = []
        self.failed = ""  # why this cannot be replayed
        self.first = False  # whether an optimizer begins to keep something, or ceases: such a step is done once
        self.updated: dict[Tensor, None] = {}
        self.without_gradient: set[Tensor] = set()  # whose gradients the step has set to None
        self.slots: dict[tuple[int, int, str], Buffer] = {}  # what optimizers kept before the step, by its place
        self.stores: list[tuple[Buffer, Buffer]] = []
        self.groups: list[tuple[Optimizer, list[tuple[dict[str, Any], tuple[Tensor, ...]]]]] = []
        self.states: list[tuple[Optimizer, Tensor, int]] = []  # how much is kept for each parameter
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
        self.node: Tensor | None = None  # the result that the backward pass has come to
        self.errors: dict[str, Any] = {**np.geterr()}
        self.arrays: list[tuple[Array, Array]] = []  # that came without a Tensor, and what they held
        self.inputs: list[Any] = []
        self.given: list[tuple[Tensor, Tensor]] = []  # those of the inputs that stand for a Tensor, and which
        self.arguments: list[Buffer] = []
        for name, x in arguments:
            if isinstance(x, Tensor) or type(x) is np.ndarray:
                array = x._array if isinstance(x, Tensor) else x
                tensor = leaf(array)
                if isinstance(x, Tensor):
                    tensor._requires_grad, tensor.name, tensor._grad = x._requires_grad, x.name, x._grad
                    self.given.append((tensor, x))
                buffer = Buffer("argument", *layout(array), array, name=name)
                self.outside[id(tensor)] = tensor, buffer
                self.arguments.append(buffer)
                self.inputs.append(tensor)
            else:
                self.inputs.append(x)

    def run(self, step: Callable[..., Any]) -> Any:
        """What the step returns."""
        drawn = random_states(self.generators)
        mode.observer = self
        try:
            value = step(*self.inputs)
        finally:
            mode.observer = None
        after = random_states(self.generators)
        ops_draw_from = {id(x) for i in self.instructions for x in i.params.values()}
        states = zip(self.generators, drawn[2], after[2], strict=True)
        if drawn[:2] != after[:2] or any(a != b for g, a, b in states if id(g) not in ops_draw_from):
            self.stop("draws random numbers by itself; make that an op, or pass them as an argument")
        return value

    def stop(self, reason: str) -> None:
        """Let the step go on eagerly, as it cannot be replayed; of several reasons the first is told."""
        self.failed = self.failed or reason
        mode.observer = None

    # --- what Tensors, ops and optimizers tell ---

    def read(self, tensor: Tensor) -> None:
        """A value is looked at."""
        if self.expanding:
            raise _OpaqueError
        self.stop(f"reads values, which a replay cannot ({self._line()}); return the Tensor, and look afterwards")

    def shared(self, tensor: Tensor, source: Tensor) -> None:
        """Another Tensor for the same array has been made."""
        if tensor._array is source._array:
            self.outside[id(tensor)] = tensor, self._buffer(source)
        else:
            self.read(source)

    def cleared(self, tensors: Iterable[Tensor]) -> None:
        """Gradients are set to None."""
        cleared = set(tensors)
        self.without_gradient.update(cleared)
        for tensor, x in self.given:
            if x in cleared:
                tensor._grad = None

    def passing(self, gradient: Any, result: Tensor) -> None:
        """A backward pass comes to a result: in the text its gradient is called after it."""
        self.node = result
        if isinstance(gradient, Tensor) and id(result) in self.lines and self._known(gradient):
            self.gradients.setdefault(self._buffer(gradient), self._buffer(result))

    def arrived(self, gradient: Any, leaf: Tensor) -> None:
        """The backward pass has ended."""
        self.node = None

    def applied(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """An op has been called."""
        line = self._line()
        params = mapped(dict(params), Option, Option.constant)
        self.lines[id(result)] = result, line
        if self.expanding:
            if op in self.expanding:
                raise _OpaqueError
            result.__class__ = _Traced
        if not self._expand(result, op, inputs, params):
            self._append(op, inputs, result._array, params, line)
        if not self.expanding and self._known(result):
            self._buffer(result).name = op.name
        for x, kept in zip(inputs, result.inputs or (), strict=False):
            if kept is not x:  # the copy of an array, for the backward pass
                self._append(OPS["copy"], (x,), kept._array, {}, line)

    def changing(self, what: str) -> None:
        """An optimizer is changed by other means than a step."""
        self.stop(f"{what}, which a replay would not; do that between the steps")

    def stepping(self, optimizer: Optimizer) -> bool:
        """The optimizer changes its parameters: its formula is recorded with Tensors, and carried out."""
        for tensor, x in self.given:
            if any(x is p for p in optimizer._members()):
                x._grad = tensor._grad
                self.stop("updates an argument; refer to parameters by name")
        if any(p._grad is not None and not self._known(p._grad) for p in optimizer._members()):
            self.stop("uses gradients from before the step; call zero_grad() in it")
        if self.failed:
            return False
        self.groups.append((optimizer, [(group, group["params"]) for group in optimizer.groups]))
        for group in optimizer.groups:
            for p in group["params"]:
                if p._grad is not None:
                    self._change(optimizer, group, p, p._grad)
        return True

    def _change(self, optimizer: Optimizer, group: dict[str, Any], p: Tensor, gradient: Tensor) -> None:
        name = self._buffer(p).root.name or p.name or "parameter"
        self._buffer(gradient).name = f"d_{name}"
        self.states.append((optimizer, p, len(optimizer.state[p])))
        state, attributes = RecordedState(self, optimizer, p, name), _attributes(optimizer)
        try:
            with no_grad():
                change = optimizer.change(p, gradient, state, Options(group, self))
        except Exception as error:  # it is written for arrays alone; or wrong, and will say so of arrays too
            self.stop(f"has an optimizer, {optimizer}, whose formula is not made of ops ({error})")
            for name in vars(optimizer).keys() - attributes.keys() - set(LOOKED_AFTER):
                delattr(optimizer, name)
            vars(optimizer).update(attributes)
            change = optimizer.change(p._array, gradient._array, optimizer.state[p], group)
        else:
            self._keep(optimizer, p, state)
        array = p._array
        change = change if isinstance(change, Tensor) else leaf(np.asarray(change))
        output = self._append(OPS["sub"], (p, change), array, {}, self._line(), update=True)
        self.outside[id(p)] = p, output
        array -= change._array
        last_change(p)[0] = tick()
        self.updated[p] = None

    def _keep(self, optimizer: Optimizer, p: Tensor, state: RecordedState) -> None:
        """What a formula left in the state is kept for the next step."""
        kept = optimizer.state[p]
        for name in kept.keys() - state.keys():
            self.first = True
            del kept[name]
        tensors: dict[str, Any] = dict(state)
        for name, tensor in tensors.items():
            was, slot = state.slots.get(name, (None, None))
            if tensor is was:
                continue
            buffer = self._buffer(tensor)
            if buffer.base is not None or buffer.kind != "result":  # the memory of something else
                tensor = ops.copy(tensor)
                buffer = self._buffer(tensor)
            if slot is None or slot.layout != buffer.layout:
                self.first = True
            else:
                self.stores = [(b, place) for b, place in self.stores if place is not slot] + [(buffer, slot)]
            kept[name] = tensor._array

    # --- what it makes of that ---

    def _known(self, tensor: Tensor) -> bool:
        """Whether a Tensor was computed in this step."""
        return id(tensor._array) in self.results

    def _buffer(self, x: Tensor) -> Buffer:
        if id(x) in self.outside:
            return self.outside[id(x)][1]
        if id(x._array) in self.results:
            return self.results[id(x._array)][1]
        if x._requires_grad and x.op is not None:
            self.stop("uses a result with a graph from before the step; compute it in the step, or detach() it")
        return self._new(x, x._array, self.names.get(id(x)) or x.name or "")

    def _new(self, source: Any, array: Array, name: str) -> Buffer:
        tracked = isinstance(source, Tensor) and source._requires_grad
        buffer = Buffer("outside", *layout(array), array, source=source, name=name, tracked=tracked)
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
        output = Buffer("result", *layout(array), array, base)
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
        if not is_ours(op) or any(isinstance(v, np.random.Generator) for v in params.values()):
            return False
        traced = []
        for x in inputs:
            if isinstance(x, Tensor | np.ndarray):
                buffer, x = self._input(x), leaf(x._array if isinstance(x, Tensor) else x)
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
            and id(made._array) in self.results
            and layout(made._array) == layout(result._array)
            and identical(made._array, result._array)
            and not np.may_share_memory(made._array, result._array)
        )
        if isinstance(made, Tensor) and same:
            result._array = made._array  # so that views of it are views of what was recorded
        else:
            del self.instructions[start:]
        return same

    def _line(self) -> str:
        """The line of the step that is running; in the backward pass, the line whose gradient is computed."""
        if self.node is not None and id(self.node) in self.lines and not self.expanding:
            return "gradient of " + self.lines[id(self.node)][1].removeprefix("gradient of ")
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back
        code = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}  {code}".rstrip()

    def finish(self, value: Any) -> tuple[Any, Any]:
        """What the step returned, outside the graph; and the same with a `Buffer` for each Tensor."""
        if not all(identical(a, b) for a, b in self.arrays):
            self.stop("changes an array in place that ops use; make it an argument")
        for tensor, x in self.given:
            x._grad = tensor._grad
        given = [x for x in self.inputs if isinstance(x, Tensor)]
        mine = [t for t, _ in self.outside.values() if isinstance(t, Tensor) and t._grad is not None
                and self._known(t._grad)]  # fmt: skip
        if any(t is x for t in mine for x in given):
            self.stop("leaves a gradient in an argument; return grad(...) instead")
        elif any(t not in self.updated for t in mine):
            self.stop("leaves gradients behind; call optimizer.step() in it, or return grad(...)")
        elif any(t not in self.without_gradient for t in mine):
            self.stop("lets gradients add up from call to call; call optimizer.zero_grad() in it")
        if not returnable(value):
            self.stop(f"returns {type(value).__name__}, and not Tensors, also in tuples, lists and dicts, or None")
        buffers = mapped(value, Tensor, self._buffer) if not self.failed else None
        if self.failed:
            return value, None
        for t in mine:
            t._grad = None
        return mapped(value, Tensor, lambda t: t if self._buffer(t).root.source is t else leaf(t._array)), buffers


def _attributes(optimizer: Optimizer) -> dict[str, Any]:
    """What a formula may count in, to go back to if it has to be called again."""
    return {
        name: copying.copy(value) if isinstance(value, list | dict | set | np.ndarray) else value
        for name, value in vars(optimizer).items()
        if name not in LOOKED_AFTER
    }
