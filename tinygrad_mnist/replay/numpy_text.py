"""The back end that writes NumPy: a program as Python text that a learner can read, and that runs."""

from __future__ import annotations

import builtins
import contextvars
import itertools
import keyword
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array

from .program import Block, Buffer, Instruction, Number, Program, in_order, is_ours, plan, squares

KERNELS: dict[str, Callable[..., list[str]]] = {
    "sum": lambda i, out, x: [f"add.reduce({x}, axis={i.params['axis']}, out={out}, keepdims={i.params['keepdims']})"],
    "copy": lambda i, out, x: [f"copyto({out}, {x})"],
    "astype": lambda i, out, x: [f'copyto({out}, {x}, casting="unsafe")'],
    "broadcast_to": lambda i, out, x: [f"copyto({out}, {x})"],
    "where": lambda i, out, condition, x, y: [f"copyto({out}, {y})", f"copyto({out}, {x}, where={condition})"],
    "pow": lambda i, out, x, y: [f"square({x}, out={out})"],
}
"""How ops that are not ufuncs write into given memory. Whatever has no entry returns memory of its own."""

VIEWS = {"transpose": "axes", "reshape": "shape"}
"""Views as methods; others call the op's own function."""


def writes(i: Instruction) -> bool:
    """Whether the op has a form that writes into given memory."""
    if isinstance(i.op.forward, np.ufunc):
        return i.op.forward.nout == 1
    if i.op.name == "where":
        return isinstance(i.inputs[0], Buffer) and i.inputs[0].dtype.kind == "b"
    return i.op.name in KERNELS and (i.op.name != "pow" or squares(i))


class NumPyText:
    """A program as Python text, and what the text refers to.

    Args:
        program: the instructions, after `improve`.
        title: what was recorded, for the first line.

    Attributes:
        plan: where the buffers live.
        numbers: those that are read at each replay, in the order in which the function takes them.
        source: the text.
    """

    def __init__(self, program: Program, title: str) -> None:
        self.program = program
        for b in program.results:
            b.root.fresh = b.root.kind == "result"
        self.plan = plan(program, writes)
        inputs = [x for i in program.instructions for x in i.inputs]
        self.numbers = list(dict.fromkeys(x for x in inputs if isinstance(x, Number)))
        outputs = [i.output for i in program.instructions]
        stored = [b for b, _ in program.stores]
        known = [*program.arguments, *program.outside(), *inputs, *outputs, *program.results, *stored]
        self.buffers = list(dict.fromkeys(b for b in known if isinstance(b, Buffer)))
        self.values: dict[str, Any] = {}  # what the text calls by name, but for buffers and NumPy's functions
        self.scalars: dict[Any, str] = {}
        self.imports: set[str] = set()
        self.taken: dict[str, int] = {"step": 1}
        made = {i.output: i.op.name for i in program.instructions}
        updated = {i.output: i.inputs[0] for i in program.instructions if i.update}
        every: list[Any] = [*self.buffers, *self.numbers]
        for x in every:
            if x in updated:
                x.name = updated[x].name
                continue
            stem = x.name or (made.get(x, "constant") if isinstance(x, Buffer) else x.key)
            if x in program.gradients and not stem.startswith("d_"):
                stem = f"d_{program.gradients[x].name}"
            x.name = self._unique(stem)
        self.source = self._text(title)

    def _unique(self, stem: str) -> str:
        """A name that nothing else has, in the text or in NumPy."""
        stem = unicodedata.normalize("NFKC", stem)  # as Python reads names
        stem = "".join(c if f"t{c}".isidentifier() else "_" for c in stem).strip("_") or "t"
        stem = f"t{stem}" if stem[0].isdigit() or keyword.iskeyword(stem) else stem
        while True:
            self.taken[stem] = number = self.taken.get(stem, 0) + 1
            name = f"{stem}_{number}" if number > 1 or hasattr(np, stem) or hasattr(builtins, stem) else stem
            if name == stem or name not in self.taken:
                self.taken.setdefault(name, 1)
                return name

    def fixed(self, b: Buffer) -> bool:
        """Whether its memory is known before the step runs, so that views of it are taken once."""
        if b.base is not None:
            return self.fixed(b.base)
        return b.kind in ("outside", "constant") or b in self.plan.blocks or b in self.plan.places

    def _text(self, title: str) -> str:
        body: list[str] = []
        parts: list[str] = []
        line = None
        for errors, group in itertools.groupby(self.program.instructions, key=self._apart):
            within: list[str] = []
            for i in group:
                statements = self._statements(i)
                if statements and i.line != line:
                    line = i.line
                    body += ["", f"# {line}"]
                (within if errors else body).extend(statements)
            if within:
                # Running a function where errors are handled so takes 0.2 µs, entering np.errstate 0.9.
                part = self._unique("part")
                parts += ["", "", f"def {part}():", *(f"    {statement}" for statement in within)]
                body.append(f"{self._quiet(errors)}({part})")
        for b, place in self.plan.copies:
            self.imports.add("copyto")
            body += ["", f"copyto({place.name}, {b.name})"]
        given = [(key[0], name) for key, name in self.scalars.items()]
        numbers = [f"{name}[()] = {number.name}" for number, name in given if isinstance(number, Number)]
        if self.program.results:
            body += ["", f"return {', '.join(b.name for b in self.program.results)}"]
        parameters = ", ".join([*(b.name for b in self.program.arguments), *(n.name for n in self.numbers)])
        text = "\n".join(f"    {statement}" if statement else "" for statement in [*numbers, *body] or ["pass"])
        head = [f"# {title}", *self._memory()]
        if self.imports:
            head += ["", f"from numpy import {', '.join(sorted(self.imports))}"]
        return "\n".join([*head, *parts, "", "", f"def step({parameters}):", text.lstrip("\n")]) + "\n"

    def _apart(self, i: Instruction) -> Any:
        """The error handling of an instruction that can be a part of its own, since all its buffers are fixed."""
        return tuple(sorted(i.errors.items())) if all(map(self.fixed, (*i.buffers, i.output))) else ()

    def _quiet(self, errors: tuple[tuple[str, str], ...]) -> str:
        return self._named(_Quiet(errors), "_".join(["with", *(f"{kind}_{way}" for kind, way in errors)]))

    def _memory(self) -> list[str]:
        """Comments that say what the names stand for."""
        shared: dict[Block, list[str]] = {}
        for b, block in self.plan.blocks.items():
            shared.setdefault(block, []).append(f"{b.name} {_sized(b)}")
        inner = [b for b in self.buffers if b.base is not None and self.fixed(b)]
        views = [b for b in inner if b.offset is None and b.name != b.root.name]
        return [
            *(f"#   {b.name}: {_sized(b)}, an argument" for b in self.program.arguments),
            *(f"#   {b.name}: {_sized(b)}, outside the step" for b in self.program.outside()),
            *(f"#   {b.name}: {_sized(b)}, a constant" for b in self.buffers if b.kind == "constant"),
            *(f"#   {name}: the number {getattr(key[0], 'name', key[0])} as {key[1]}"
              for key, name in self.scalars.items()),
            *(f"#   {b.name}: {_sized(b)}, a view of {b.base.name}"
              for b in views if b.base is not None),
            *(f"#   {b.name}: {_sized(b)}, a part of {b.base.name}"
              for b in inner if b.base is not None and b.offset is not None),
            *(f"#   {b.name}: {_sized(b)}, written over {place.name}" for b, place in self.plan.places.items()),
            *(line for block, members in shared.items()
              for line in wrap(f"#   {block.size} bytes for {', '.join(members)}", 116, subsequent_indent="#       ")),
        ]  # fmt: skip

    def _statements(self, i: Instruction) -> list[str]:
        b = i.output
        if b.base is not None and b.offset is None and not i.update and self.fixed(b):
            return []  # a view that is taken when the program is bound
        names = [self._operand(x, i) for x in i.inputs]
        allocated = b.fresh and writes(i) and b.base is None and in_order(b)
        if i.update:
            statements = self._written(i, names[0], names)
        elif b in self.plan.blocks or b in self.plan.places or b.offset is not None:
            statements = self._written(i, b.name, names)
        elif allocated:
            self.imports.add("empty")
            statements = [f"{b.name} = empty({b.shape}, {self._literal(b.dtype)})", *self._written(i, b.name, names)]
        else:
            statements = [f"{b.name} = {self._called(i, names)}"]
        if i.errors and not self._apart(i):
            quiet = self._quiet(tuple(sorted(i.errors.items())))
            target, equals, call = statements[-1].rpartition(" = ")
            function, _, rest = call.partition("(")
            statements[-1] = f"{target}{equals}{quiet}({function}, {rest}"
        return statements

    def _written(self, i: Instruction, out: str, names: Sequence[str]) -> list[str]:
        """Statements that compute the op into `out`."""
        if isinstance(i.op.forward, np.ufunc):
            statements = [f"{i.op.forward.__name__}({', '.join(names)}, out={out})"]
        else:
            statements = KERNELS[i.op.name](i, out, *names)
        self.imports.update(statement.partition("(")[0].partition(".")[0] for statement in statements)
        return statements

    def _called(self, i: Instruction, names: Sequence[str]) -> str:
        """The op's result in memory of its own."""
        if i.output.base is not None and i.op.name in VIEWS:
            value = i.params[VIEWS[i.op.name]]
            return f"{names[0]}.T" if value is None else f"{names[0]}.{i.op.name}({self._literal(value)})"
        self.imports.add("asarray")
        if isinstance(i.op.forward, np.ufunc):
            self.imports.add(i.op.forward.__name__)
            return f"asarray({i.op.forward.__name__}({', '.join(names)}))"
        params = [f"{key}={self._literal(value)}" for key, value in i.params.items()]
        function = self._named(i.op.forward, f"forward_{i.op.name}")
        call = f"{function}({', '.join([*names, *params])})"
        if is_ours(i.op):
            return f"asarray({call})"
        return f"{self._named(_as_recorded, 'as_recorded')}({call}, {self._named(i.output.layout, 'layout')})"

    def _operand(self, x: Any, i: Instruction) -> str:
        if isinstance(x, Buffer):
            return x.name
        dtypes = {b.dtype for b in i.buffers}
        plain = isinstance(x, Number) or (type(x) in (int, float) and abs(x) <= 2**24)
        if plain and isinstance(i.op.forward, np.ufunc) and len(dtypes) == 1 and (dtype := dtypes.pop()).kind == "f":
            # As a 0-d array of the dtype it gives the same bits as a Python number, in 0.34 µs instead of 0.62.
            key = (x if isinstance(x, Number) else float(x), dtype.name, str(x))
            if key not in self.scalars:
                value = np.zeros((), dtype) if isinstance(x, Number) else np.array(x, dtype)
                self.scalars[key] = self._named(value, f"{x.name if isinstance(x, Number) else _spelled(x)}_{dtype}")
            return self.scalars[key]
        return x.name if isinstance(x, Number) else self._literal(x)

    def _literal(self, value: Any) -> str:
        """Python text for a value; what cannot be written is given a name."""
        if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
            return repr(value)
        if type(value) is tuple:
            return f"({', '.join(map(self._literal, value))}{',' if len(value) == 1 else ''})"
        if type(value) is slice:
            return f"slice({self._literal(value.start)}, {self._literal(value.stop)}, {self._literal(value.step)})"
        if isinstance(value, np.dtype) and value.isnative and value.kind in "biuf":
            self.imports.add(value.name)
            return str(value.name)
        return self._named(value, type(value).__name__.lower())

    def _named(self, value: Any, stem: str) -> str:
        for name, held in self.values.items():
            if held is value or (isinstance(value, _Quiet) and held == value):
                return name
        name = self._unique(stem if stem not in self.imports else f"{stem}_")
        self.values[name] = value
        return name

    def bind(self, outside: Mapping[Buffer, Array]) -> Callable[..., Any]:
        """The function `step` of the text, with memory of its own and with these arrays outside it."""
        memory = {block: _aligned(block.size) for block in dict.fromkeys(self.plan.blocks.values())}
        arrays = dict(outside)
        for b in self.buffers:
            if b.kind == "constant":
                arrays[b] = b.value
        for b, block in self.plan.blocks.items():
            arrays[b] = np.ndarray(b.shape, b.dtype, memory[block], 0, b.strides)
        for b, place in self.plan.places.items():
            arrays[b] = arrays[place]
        for b in self.buffers:
            if b.offset is not None and b.base is not None:
                arrays[b] = arrays[b.base][b.offset : b.offset + math.prod(b.shape)].reshape(b.shape)
        for i in self.program.instructions:
            if i.update:
                arrays[i.output] = arrays[i.inputs[0]]
            elif i.output.base is not None and i.output.offset is None and self.fixed(i.output):
                inputs = [arrays[x] if isinstance(x, Buffer) else x for x in i.inputs]
                arrays[i.output] = np.asarray(i.op.forward(*inputs, **i.params))
        namespace: dict[str, Any] = {b.name: array for b, array in arrays.items()}
        for name, value in self.values.items():
            namespace[name] = value.run() if isinstance(value, _Quiet) else value
        exec(compile(self.source, "<compiled step>", "exec"), namespace)
        step: Callable[..., Any] = namespace["step"]
        return step


@dataclass(frozen=True)
class _Quiet:
    """How to run a function with its own handling of some floating-point errors; of the others as when it was bound."""

    errors: tuple[tuple[str, str], ...]

    def run(self) -> Callable[..., Any]:
        context = contextvars.copy_context()
        errors: dict[str, Any] = dict(self.errors)
        context.run(lambda: np.seterr(**errors))
        return context.run


def _as_recorded(result: Any, layout: tuple[Any, ...]) -> Array:
    """The result of a user's op as an array, if it is laid out as it was when the program was recorded."""
    array = np.asarray(result)
    if (array.shape, array.dtype, array.strides) != layout:
        raise RuntimeError(
            f"compile: an op returned {array.dtype} of shape {array.shape}, and when it was recorded {layout[1]} of "
            f"shape {layout[0]}; an op whose shape depends on values cannot be compiled"
        )
    return array


def _sized(b: Buffer) -> str:
    return f"{b.dtype} {'x'.join(map(str, b.shape)) or '()'}"


def _spelled(x: float) -> str:
    return "".join({"-": "minus_", ".": "_", "+": ""}.get(c, c) for c in f"n{x!r}")


def _aligned(size: int) -> Array:
    """Memory that begins at a multiple of 64 bytes, as processors like it."""
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]
