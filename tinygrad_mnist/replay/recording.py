"""One run of a training step, recorded: every op, what the optimizers do, and what stands in the way of a replay."""

from __future__ import annotations

import contextlib
import copy as copying
import linecache
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist import ops
from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.mode import Observer, mode, no_grad
from tinygrad_mnist.nn import named
from tinygrad_mnist.op import OPS, Op
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Array, Tensor, last_change, leaf, tick

from .call import is_array
from .chance import Draws, surroundings
from .formula import Option, Options, RecordedState
from .program import Buffer, Instruction, Number, Program, identical, is_ours, layout
from .reading import Reads
from .results import Graphed, as_replayed, buffer_of, has_graph
from .trees import leaves, mapped, returnable

_SUB, _COPY, _ASTYPE, _GETITEM, _SCATTER = (OPS[name] for name in "sub copy astype getitem scatter".split())


class _OpaqueError(Exception):
    """Raised inside a forward function that is not made of ops alone."""


class _Traced(Tensor):
    """A Tensor inside a forward function that is tried out on Tensors, for the ops that it is made of."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.add and method == "reduce":
            return ops.sum(*inputs, **kwargs)
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)


class Place(NamedTuple):
    """An argument that the step returns, by its number."""

    number: int


class Recorder(Observer):
    """One run of a step, and what it did.

    It is the observer of the running thread, told of every op, and of what Tensors, Modules and optimizers do besides.

    Attributes:
        failed: why this cannot be replayed; empty if it can.
        once: whether that is so of this call alone, as where an optimizer begins to keep something.
        updated: the parameters that optimizers have changed.
        cleared_first: Tensors whose gradients the step sets to None before it computes them.
        emptied: Tensors without a gradient after a replay: those that it clears or updates.
        ops: all that the step calls.
        stored: what optimizers keep for the next step, by its place.
        guards: options that hold for the program (and whether only their truth does).
        arguments: the Tensors that the step gets for its arrays.
        pinned: those that it knows by another name as well: the program is for no others.
    """

    rules_take_tensors = True

    def __init__(
        self, step: Callable[..., Any], arguments: list[tuple[str, Any]], tensors: list[Any], *, keep: bool = False
    ) -> None:
        self.keep = keep
        self.former: dict[Buffer, Array] = {}  # what was outside the step before it, if that is kept
        around = surroundings(step)
        self.names = {id(x): name for name, x in around.items() if isinstance(x, Tensor)}
        self.draws = Draws((*around.values(), *(x for _, x in arguments)))
        self.reads = Reads(self._name, self.draws.see)
        self.failed, self.once = "", False
        self.begins = False  # whether an optimizer begins to keep something for a parameter, or ceases to
        self.instructions: list[Instruction] = []
        self.updated: dict[Tensor, None] = {}
        self.made: set[Tensor] = set()  # for arrays of others
        self.written: set[int] = set()  # what is changed in place, by id
        self.cleared_first: set[Tensor] = set()
        self.emptied: dict[Tensor, None] = {}
        self.ops: dict[Op, None] = {}
        self.before: dict[int, Tensor] = {}  # gradients that were there before the step, by id
        self.slots: dict[tuple[int, int, str], Buffer] = {}  # what optimizers kept before the step, by its place
        self.stored: dict[Buffer, Buffer] = {}  # by its place
        self.optimizers: dict[Optimizer, None] = {}  # those that have stepped
        self.looked_at: dict[Optimizer, None] = {}  # whose groups the step has looked at
        self.states: list[tuple[Optimizer, Tensor, int]] = []  # how much is kept for each parameter
        self.numbers: dict[tuple[int, str, int | None], Number] = {}
        self.plain: dict[int, tuple[float, Number]] = {}
        self.guards: dict[tuple[Number, bool], None] = {}
        self.sources: list[Buffer] = []  # what was there before the step
        self.outside: dict[int, tuple[Any, Buffer]] = {}  # by the id of what is kept beside it
        self.results: dict[int, tuple[Array, Buffer]] = {}  # likewise
        self.lines: dict[int, tuple[Tensor, str]] = {}  # likewise
        self.gradients: dict[Buffer, Buffer] = {}
        self.expanding: list[Op] = []
        self.opaque = False  # whether what is expanded is not made of other ops
        self.node: Tensor | None = None  # the result that the backward pass has come to
        self.errors = np.geterr()
        self.arrays: list[tuple[Array, Array]] = []  # that came without a Tensor, and what they held
        self.around = around
        self.parts = [x for _, x in arguments]
        self.arguments: dict[Tensor, Buffer] = {}
        self.pinned: list[Tensor] = []
        for (name, x), tensor in zip(arguments, tensors, strict=True):
            if is_array(x) and tensor not in self.arguments:
                buffer = Buffer("argument", *layout(tensor._array), tensor._array, name=name)
                self.outside[id(tensor)] = tensor, buffer
                self.arguments[tensor] = buffer
                if tensor._grad is not None:
                    self.before[id(tensor._grad)] = tensor._grad

    def _name(self, module: Any) -> None:
        """Name the Tensors of a Module that the step comes to, as the Module does."""
        for name, tensor in named(module, Tensor):
            self.names.setdefault(id(tensor), name)

    def run(self, step: Callable[[], Any]) -> Any:
        """What the step returns."""
        with self.reads.noted():
            mode.observer = self
            try:
                value = step()
            finally:
                mode.observer = None
        if self.draws.by_others(self.instructions):
            self.stop("draws random numbers by itself; make that an op, or pass them as an argument")
        return value

    def stop(self, reason: str, *, once: bool = False) -> None:
        """Let the step go on eagerly, as it cannot be replayed; of several reasons the first is told."""
        if not self.failed:
            self.failed, self.once = reason, once
        mode.observer = None

    # --- what Tensors, ops and optimizers tell ---

    def read(self, tensor: Tensor) -> None:
        """A value is looked at."""
        if self.expanding:
            raise _OpaqueError
        self.stop(
            f"reads values, which a replay cannot ({self._line()}); return the Tensor, and look afterwards, or keep "
            "what a Module counts in an nn.Buffer"
        )

    def shared(self, tensor: Tensor, source: Tensor) -> None:
        """Another Tensor for the same array has been made."""
        if tensor._array is source._array:
            self.made.add(tensor)
            self.outside[id(tensor)] = tensor, self._buffer(source)
        else:
            self.read(source)

    def cleared(self, tensors: Iterable[Tensor]) -> None:
        """Gradients are set to None."""
        every = set(tensors)
        self.cleared_first.update(t for t in every if t._grad is None or not self._known(t._grad))
        self.emptied.update(dict.fromkeys(t for t in every if t.op is None))

    def passing(self, gradient: Any, result: Tensor) -> None:
        """A backward pass comes to a result: in the text its gradient is called after it."""
        self.node = result
        if not self._known(gradient) and gradient.op is None:  # the 1 that it begins with
            self.outside[id(gradient)] = gradient, Buffer("constant", *layout(gradient._array), gradient._array)
        elif id(result) in self.lines:
            self.gradients.setdefault(self._buffer(gradient), self._buffer(result))

    def arrived(self, gradient: Any, leaf: Tensor) -> None:
        """The backward pass has ended."""
        self.node = None

    def applied(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """An op has been called."""
        line = self._line()
        self.ops[op] = None
        params = mapped(dict(params), Option, Option.constant)
        self.lines[id(result)] = result, line
        if np.geterr() != self.errors:
            self.stop(f"handles floating-point errors in its own way ({line}); use np.errstate around its calls")
        if self.expanding:
            self.opaque = self.opaque or op in self.expanding
            result.__class__ = _Traced
        if not self._expand(result, op, inputs, params):
            self._append(op, inputs, result._array, params, line)
        if not self.expanding and self._known(result):
            self._buffer(result).name = op.name
        for x, kept in zip(inputs, result.inputs or (), strict=False):
            if kept is not x:  # the copy of an array, for the backward pass
                self._append(_COPY, (x,), kept._array, {}, line)

    def changing(self, what: str, owner: Any) -> None:
        """What the step is a function of is set by the step."""
        if not self.reads.made(owner):
            self.stop(f"{what}, which a replay would not; do that between the steps")

    def assigning(self, buffer: Tensor, value: Any) -> None:
        """A Buffer of a Module takes new values."""
        if isinstance(value, Tensor) and value.dtype != buffer.dtype:
            value = ops.astype(value.detach(), dtype=buffer.dtype)
        self._update(buffer, _COPY, (value if isinstance(value, Tensor) else np.array(value, buffer.dtype),))

    def looking(self, optimizer: Optimizer) -> None:
        """The groups of an optimizer are looked at."""
        self.looked_at[optimizer] = None

    def stepping(self, optimizer: Optimizer) -> bool:
        """The optimizer changes its parameters: its formula is recorded with Tensors, and carried out."""
        if any(p._grad is not None and not self._known(p._grad) for p in optimizer._members()):
            self._left_over()
        if self.failed:
            return False
        self.optimizers[optimizer] = None
        for group in optimizer._groups:
            for p in group["params"]:
                if p._grad is not None:
                    self._change(optimizer, group, p, p._grad)
        return True

    def _left_over(self) -> None:
        self.stop("uses gradients from before the step; call zero_grad() in it", once=True)

    def _change(self, optimizer: Optimizer, group: dict[str, Any], p: Tensor, gradient: Tensor) -> None:
        name = self._buffer(p).root.name or p.name or "parameter"
        self._buffer(gradient).name = f"d_{name}"
        self.states.append((optimizer, p, len(optimizer.state[p])))
        state, attributes = RecordedState(self, optimizer, p, name), _attributes(optimizer)
        try:
            with no_grad():
                change = optimizer.change(p, gradient, state, Options(group, self))
        except Exception as error:  # it is written for arrays alone; or wrong, and will say so of arrays too
            self.stop(f"has an optimizer, {type(optimizer).__name__}, whose formula is not made of ops ({error})")
            vars(optimizer).clear()
            vars(optimizer).update(attributes)
            change = optimizer.change(p._array, gradient._array, optimizer.state[p], group)
        else:
            self._keep(optimizer, p, state)
        change = change if isinstance(change, Tensor) else leaf(np.asarray(change))
        self._update(p, _SUB, (p, change))
        p._array -= change._array
        last_change(p)[0] = tick()
        self.updated[p] = self.emptied[p] = None

    def _update(self, p: Tensor, op: Op, inputs: tuple[Any, ...]) -> None:
        """Record an op that is about to write into a Tensor."""
        self.written.add(id(p))
        if not self.failed:
            base = self._buffer(p)
            self.outside[id(p)] = p, self._append(op, inputs, p._array, {}, self._line(), update=base)

    def _keep(self, optimizer: Optimizer, p: Tensor, state: RecordedState) -> None:
        """What a formula left in the state is kept for the next step."""
        kept = optimizer.state[p]
        begins = bool(kept.keys() - state.keys())
        for name in kept.keys() - state.keys():
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
                begins = True
            else:
                self.stored[slot] = buffer
            kept[name] = tensor._array
        self.begins = self.begins or begins

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
        if id(x) in self.before:
            self._left_over()
        if x._grad is not None:
            self.before[id(x._grad)] = x._grad
        return self._new(x, x._array, self.names.get(id(x)) or x.name or "")

    def _new(self, source: Any, array: Array, name: str) -> Buffer:
        tracked = isinstance(source, Tensor) and source._requires_grad
        buffer = Buffer("outside", *layout(array), array, source=source, name=name, tracked=tracked)
        self.outside[id(source)] = source, buffer
        self.add_source(buffer, array)
        if source is array:
            self.arrays.append((array, array.copy()))
        return buffer

    def add_source(self, buffer: Buffer, array: Array) -> None:
        """Something that was there before the step."""
        self.sources.append(buffer)
        if self.keep:
            self.former[buffer] = array.copy(order="K")

    def _input(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            return self._buffer(x)
        if isinstance(x, np.ndarray):
            return self.outside[id(x)][1] if id(x) in self.outside else self._new(x, x, "")
        return self.plain[id(x)][1] if id(x) in self.plain else x

    def _append(
        self,
        op: Op,
        inputs: tuple[Any, ...],
        array: Array,
        params: Mapping[str, Any],
        line: str,
        update: Buffer | None = None,
    ) -> Buffer:
        operands = tuple(map(self._input, inputs))
        shared = (x for x in operands if isinstance(x, Buffer) and np.may_share_memory(array, x.value))
        base = update or next(shared, None)
        if base is not None and not update and not op.view:
            self.stop(f"uses the op {op.name}, which returns memory of its input; define it with view=True")
        if op in (_GETITEM, _SCATTER) and any(b.dtype == bool for b in operands[1:]):
            self.stop("takes elements by a mask, which are not as many every time; use where()")
        output = Buffer("result", *layout(array), array, base)
        self.instructions.append(Instruction(op, operands, output, params, line, update is not None))
        if not update:
            self.results[id(array)] = array, output
        return output

    def _expand(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> bool:
        """Record in place of an op those that its forward function is made of: x @ weight + bias is two.

        The forward function is called with Tensors to see. What is not made of ops alone, or gives other bits, stays as
        it is; so do a user's own ops, which may do other things besides.
        """
        draws = any(isinstance(x, np.random.Generator) for x in params.values())
        if not is_ours(op) or isinstance(op.forward, np.ufunc) or op in self.expanding or draws:
            return False
        traced = []
        for x in inputs:
            if isinstance(x, Tensor | np.ndarray):
                buffer, x = self._input(x), leaf(x._array if isinstance(x, Tensor) else x)
                x.__class__ = _Traced
                self.outside[id(x)] = x, buffer
            traced.append(x)
        start = len(self.instructions)
        outer, self.opaque = self.opaque, False
        self.expanding.append(op)
        made = None
        with contextlib.suppress(Exception), no_grad():
            made = op.forward(*traced, **params)
        self.expanding.pop()
        same = (
            isinstance(made, Tensor)
            and not self.opaque
            and len(self.instructions) > start
            and id(made._array) in self.results
            and layout(made._array) == layout(result._array)
            and identical(made._array, result._array)
            and not np.may_share_memory(made._array, result._array)
        )
        self.opaque = outer
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
        code = code if len(code) <= 120 else f"{code[:116]} ..."
        return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}  {code}".rstrip()

    def finish(self, value: Any) -> tuple[Any, Any]:
        """What the step returned, as a replay does; and the same with a `Buffer` for each Tensor."""
        if not all(identical(a, b) for a, b in self.arrays):
            self.stop("changes an array in place that ops use; make it an argument")
        if what := self.reads.moved():
            self.stop(f"changes {what}, which a replay would not; do that between the steps")
        self._pin()
        with_gradient = [t for t, _ in self.outside.values() if isinstance(t, Tensor) and t._grad is not None]
        returned = set(map(id, leaves(value)))
        private = {t for t in self.made if id(t) not in returned}
        mine = [t for t in with_gradient if self._known(t._grad) and t not in private]  # type: ignore[arg-type]
        if any(t in self.arguments for t in mine):
            self.stop("leaves a gradient in an argument; return grad(...) instead")
        elif any(t not in self.updated for t in mine):
            self.stop("leaves gradients behind; call optimizer.step() in it, or return grad(...)")
        elif any(t not in self.cleared_first for t in mine):
            self.stop("lets gradients add up from call to call; call optimizer.zero_grad() in it")
        if not returnable(value):
            self.stop(f"returns {type(value).__name__}, and not Tensors, also in tuples, lists and dicts, or None")
        if self.begins:
            self.stop("begins to keep something for a parameter", once=True)
        if self.failed and not self.once:
            return value, None
        tree = mapped(value, Tensor, self._result)
        for t in self.emptied:
            t._grad = None
        return mapped(value, Tensor, as_replayed), tree

    def program(self, tree: Any) -> Program:
        """What was recorded, as data; `tree` is what the step returns, as `finish` gives it."""
        return Program(
            list(self.arguments.values()),
            self.instructions,
            [b for b in map(buffer_of, leaves(tree)) if b is not None],
            [(b, place) for place, b in self.stored.items()],
            self.gradients,
        )

    def _pin(self) -> None:
        """Make of an argument that the step knows by another name something outside."""
        optimizers = [*self.optimizers, *self.looked_at, *(x for x in self.around.values() if isinstance(x, Optimizer))]
        known = {*self.names, *self.written, *(id(p) for optimizer in optimizers for p in optimizer._members())}
        if any(t._requires_grad for t in self.arguments):
            known.update(id(t) for _, t in named(self.around, Tensor) if t._requires_grad)
        for t in [t for t in self.arguments if id(t) in known]:
            buffer = self.arguments.pop(t)
            buffer.kind, buffer.source, buffer.tracked = "outside", t, t._requires_grad
            self.sources.append(buffer)
            self.pinned.append(t)
        for t in (*self.arguments, *self.made):
            self.emptied.pop(t, None)

    def forget(self) -> None:
        """Let go of what only the recording needed, arrays above all."""
        for kept in (self.outside, self.results, self.lines, self.plain, self.before, self.arguments, self.around):
            kept.clear()
        self.made.clear()
        self.arrays.clear()
        self.parts.clear()
        self.former.clear()

    def _result(self, t: Tensor) -> Any:
        """What a replay returns: what was there before the step, or the buffer of a Tensor that is made anew."""
        buffer = self._buffer(t)
        places = [i for i, x in enumerate(self.parts) if x is t and t in self.arguments]
        if places or buffer.root.source is t:
            return Place(places[0]) if places else t
        return Graphed(buffer) if has_graph(t) else buffer


def _attributes(optimizer: Optimizer) -> dict[str, Any]:
    """The attributes of an optimizer, to go back to if its formula has to be called again."""
    own = {"groups", "state", "_groups", "_taken", "_defaults"}
    return {
        name: copying.copy(value) if name not in own and isinstance(value, list | dict | set | np.ndarray) else value
        for name, value in vars(optimizer).items()
    }
