"""The back end that writes NumPy: a program as Python text that a learner can read, and that runs, from a file too.

The text begins with the function `step`; below it stands the memory that the function refers to. What exists outside
the step, parameters above all, has memory there as well, full of zeros, for who runs the text from a file: `bind` puts
the arrays themselves in its place. So what is shown is what runs.
"""

from __future__ import annotations

import builtins
import itertools
import keyword
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_mnist.op import OPS, Op
from tinygrad_mnist.tensor import Array, Tensor

from .program import Buffer, Instruction, Number, Program, in_order, is_ours, plan, squares

_SUM, _COPY, _ASTYPE, _BROADCAST_TO, _WHERE, _POW, _TRANSPOSE, _RESHAPE = (
    OPS[name] for name in "sum copy astype broadcast_to where pow transpose reshape".split()
)

KERNELS: dict[Op, Callable[..., list[str]]] = {
    _SUM: lambda out, x, axis, keepdims: [f"add.reduce({x}, axis={axis}, out={out}, keepdims={keepdims})"],
    _COPY: lambda out, x: [f"copyto({out}, {x})"],
    _ASTYPE: lambda out, x, dtype: [f'copyto({out}, {x}, casting="unsafe")'],
    _BROADCAST_TO: lambda out, x, shape: [f"copyto({out}, {x})"],
    _WHERE: lambda out, condition, x, y: [f"copyto({out}, {y})", f"copyto({out}, {x}, where={condition})"],
    _POW: lambda out, x, y: [f"square({x}, out={out})"],
}
"""How ops that are not ufuncs write into given memory. Whatever has no entry returns memory of its own."""

_MOST_WRITTEN = 1000
"""Of how many elements an array outside the step may be to be written out."""

VIEWS = {_TRANSPOSE: "transpose", _RESHAPE: "reshape"}
"""Views as methods; others call the op's own function."""


def writes(i: Instruction) -> bool:
    """Whether the op has a form that writes into given memory."""
    if isinstance(i.op.forward, np.ufunc):
        return i.op.forward.nout == 1
    if i.op is _WHERE:
        return isinstance(i.inputs[0], Buffer) and i.inputs[0].dtype.kind == "b"
    return i.op in KERNELS and (i.op is not _POW or squares(i))


@dataclass(slots=True)
class _Entry:
    """A line below the function, `name = text  # note`; once it is bound, the value stands in place of the text."""

    name: str
    text: str
    note: str = ""
    value: Any = None


class NumPyText:
    """A program as Python text.

    Args:
        program: the instructions, after `improve`.
        title: what was recorded, for the first line.

    Attributes:
        numbers: those that are read at each replay, in the order in which the function takes them.
        source: the text.
    """

    reuses = True  # memory, for one buffer after the other; and gives results memory of their own
    keeps_its_own = False  # results, of recordings and audits too, as its bits are not the step's

    def __init__(self, program: Program, title: str) -> None:
        self.program = program
        for b in program.results:
            b.root.fresh = self.reuses and b.root.kind == "result"
        self.plan = plan(program, self._writes, reuse=self.reuses)
        inputs = [x for i in program.instructions for x in i.inputs]
        self.numbers = list(dict.fromkeys(x for x in inputs if isinstance(x, Number)))
        self.made = {i.output: i for i in program.instructions}
        stored = [b for b, _ in program.stores]
        known = [*program.arguments, *program.outside(), *inputs, *self.made, *program.results, *stored]
        self.buffers = list(dict.fromkeys(b for b in known if isinstance(b, Buffer)))
        self.values: dict[Any, _Entry] = {}  # what the text calls by name, but for buffers and NumPy's functions
        self.imports: set[str] = set()
        self.taken = dict.fromkeys(("step", "steps", "OPS", "tinygrad_mnist", "native", "pointers"), 1)
        self._name_all()
        self.function = self._function()
        buffers = list(self._memory())
        memory = [*self.values.values(), *buffers]
        lines = (f"{e.name} = {e.text}" + (f"  {comment(e.note)}" if e.note else "") for e in memory)
        self.source = "\n".join([comment(title), *self._imports(), "", "", *self.function, "", "", *lines]) + "\n"
        self.given: dict[str, Any] = {b.name: b.value for b in self.buffers if b.kind == "constant"}
        self.given |= {e.name: e.value for e in self.values.values()} | {b.name: None for b in program.outside()}
        made = (f"{e.name} = {e.text}" for e in memory if e.name not in self.given)
        self.code = compile("\n".join([*self._imports(), *self.function, *made]), "<compiled step>", "exec")

    def bind(self, outside: Mapping[Buffer, Array]) -> dict[str, Any]:
        """The functions of the text by name, with memory of their own and with these arrays outside it."""
        space = {"__name__": "compiled step", **self.given, **{b.name: array for b, array in outside.items()}}
        exec(self.code, space)
        return space

    def _writes(self, i: Instruction) -> bool:
        """Whether an instruction can write into given memory."""
        return writes(i)

    # --- names ---

    def _name_all(self) -> None:
        every: list[Any] = [*self.buffers, *self.numbers]
        for x in every:
            i = self.made.get(x)
            if i is not None and i.update:
                continue
            stem = x.name or (i.op.name if i else "constant" if isinstance(x, Buffer) else x.key)
            if x in self.program.gradients and not stem.startswith("d_"):
                stem = f"d_{self.program.gradients[x].name}"
            x.name = self._unique(stem)
        for b, i in self.made.items():  # in order, as what is written twice is so over the first time
            if i.update and b.base is not None:
                b.name = b.base.name

    def _unique(self, stem: str) -> str:
        """A name that nothing else has, in the text or in NumPy; from any text, as Tensors have names of the user's."""
        stem = unicodedata.normalize("NFKC", stem)  # as Python reads names
        stem = "".join(c if f"t{c}".isidentifier() else "_" for c in stem).strip("_") or "t"
        stem = f"t{stem}" if stem[0].isdigit() or keyword.iskeyword(stem) else stem
        while True:
            self.taken[stem] = number = self.taken.get(stem, 0) + 1
            name = f"{stem}_{number}" if number > 1 or hasattr(np, stem) or hasattr(builtins, stem) else stem
            if name == stem or name not in self.taken:
                self.taken.setdefault(name, 1)
                return name

    def _imported(self, name: str) -> str:
        """A name of NumPy's."""
        self.imports.add(name)
        return name

    def _imports(self) -> list[str]:
        numpy = [f"from numpy import {', '.join(sorted(self.imports))}"] if self.imports else []
        ours = [op for op in self.values if isinstance(op, Op) and is_ours(op)]
        modules = [f"import {name}" for name in sorted({op.function.__module__ for op in ours})]
        return numpy + ["from tinygrad_mnist import OPS"] * any(isinstance(op, Op) for op in self.values) + modules

    def _named(self, key: Any, stem: str, text: str, note: str, value: Any) -> str:
        """The name of a value, and how the text makes it."""
        if key not in self.values:
            self.values[key] = _Entry(self._unique(stem), text, note, value)
        return self.values[key].name

    # --- the function ---

    def _function(self) -> list[str]:
        body = self._body()
        for b, place in self.plan.copies:
            body += ["", f"{self._imported('copyto')}({place.name}, {b.name})"]
        if self.program.results:
            body += ["", f"return {', '.join(self._returned())}"]
        return self._defined("step", self._parameters(), [*self._begin(), *self._read(), *body])

    def _defined(self, name: str, parameters: Sequence[str], body: Sequence[str]) -> list[str]:
        """A function."""
        text = "\n".join(f"    {line}" if line else "" for line in body or ["pass"])
        return [f"def {name}({', '.join(parameters)}):", text.lstrip("\n")]

    def _read(self) -> list[str]:
        """Statements that put numbers where they are read."""
        known = ((key[0], e) for key, e in self.values.items() if type(key) is tuple and isinstance(key[0], Number))
        return [f"{e.name}[()] = {number.name}" for number, e in known]

    def _parameters(self) -> list[str]:
        return [b.name for b in self.program.arguments] + [n.name for n in self.numbers]

    def _begin(self) -> list[str]:
        """The first statements."""
        return []

    def _body(self) -> list[str]:
        body: list[str] = []
        for line, group in itertools.groupby(self.program.instructions, key=lambda i: i.line):
            if statements := [statement for i in group for statement in self._statements(i)]:
                body += ["", comment(line), *statements]
        return body

    def _returned(self) -> list[str]:
        return [b.name for b in self.program.results]

    def _statements(self, i: Instruction) -> list[str]:
        b = i.output
        if b.base is not None and b.offset is None and not i.update and self._is_fixed(b):
            return []  # a view that is taken once, with the memory
        names = [self._operand(x, i) for x in i.inputs]
        if i.update or b in self.plan.blocks or b in self.plan.places or b.offset is not None:
            return self._written(i, b.name, names)
        if b.fresh and writes(i) and b.base is None and in_order(b):
            made = f"{b.name} = {self._imported('empty')}({b.shape}, {self._dtype(b.dtype)})"
            return [made, *self._written(i, b.name, names)]
        return [f"{b.name} = {self._called(i, names)}"]

    def _is_fixed(self, b: Buffer) -> bool:
        """Whether its memory is known before the step runs."""
        b = b.root
        return b.kind in ("outside", "constant") or b in self.plan.blocks or b in self.plan.places

    def _written(self, i: Instruction, out: str, names: Sequence[str]) -> list[str]:
        """Statements that compute the op into `out`."""
        if isinstance(i.op.forward, np.ufunc):
            return [f"{self._forward(i.op)}({', '.join(names)}, out={out})"]
        statements = KERNELS[i.op](out, *names, **{key: self._literal(value) for key, value in i.params.items()})
        for statement in statements:
            self._imported(statement.partition("(")[0].partition(".")[0])
        return statements

    def _called(self, i: Instruction, names: Sequence[str]) -> str:
        """The op's result in memory of its own, or a view."""
        params = {key: self._literal(value) for key, value in i.params.items()}
        if i.output.base is not None and i.op in VIEWS:
            (value,) = params.values()
            return f"{names[0]}.T" if value == "None" else f"{names[0]}.{VIEWS[i.op]}({value})"
        call = f"{self._forward(i.op)}({', '.join([*names, *(f'{key}={text}' for key, text in params.items())])})"
        array = self._imported("asarray")
        if not is_ours(i.op):
            array = self._named(i.output.layout, f"as_{i.op.name}", array, "", _as_recorded(i.output.layout))
        return f"{array}({call})"

    def _forward(self, op: Op) -> str:
        """An op's forward function: by name if it is one of NumPy's own, else as it is in the table."""
        name = getattr(op.forward, "__name__", "")
        if isinstance(op.forward, np.ufunc) and getattr(np, name, None) is op.forward:
            return self._imported(name)
        note = "" if is_ours(op) else f"an op of {op.function.__module__}"
        return self._named(op, f"forward_{op.name}", f"OPS[{op.name!r}].forward", note, op.forward)

    def _operand(self, x: Any, i: Instruction) -> str:
        if isinstance(x, Buffer):
            return x.name
        dtypes = {b.dtype for b in i.buffers}
        plain = isinstance(x, Number) or (type(x) in (int, float) and abs(x) <= 2**24)
        if plain and isinstance(i.op.forward, np.ufunc) and len(dtypes) == 1 and (dtype := dtypes.pop()).kind == "f":
            # As a 0-d array of the dtype it gives the same bits as a Python number, in 0.34 µs instead of 0.62.
            if isinstance(x, Number):
                text = f"{self._imported('zeros')}((), {self._dtype(dtype)})"
                return self._named((x, dtype), f"{x.name}_{dtype}", text, f"for {x.name}", np.zeros((), dtype))
            text = f"{self._imported('array')}({x!r}, {self._dtype(dtype)})"
            return self._named((repr(x), dtype), f"{_spelled(x)}_{dtype}", text, "", np.array(x, dtype))
        return x.name if isinstance(x, Number) else self._literal(x)

    def _literal(self, value: Any) -> str:
        """Python text for a value; what cannot be written is given a name."""
        if value is None or type(value) in (bool, str):
            return repr(value)
        if isinstance(value, int):  # perhaps of a class of its own, as an enumeration is
            return repr(int(value))
        if isinstance(value, float):
            return repr(float(value)) if math.isfinite(value) else f"float({str(float(value))!r})"
        if type(value) is tuple:
            return f"({', '.join(map(self._literal, value))}{',' if len(value) == 1 else ''})"
        if type(value) is slice:
            return f"slice({self._literal(value.start)}, {self._literal(value.stop)}, {self._literal(value.step)})"
        if isinstance(value, np.dtype):
            return self._dtype(value)
        stem, text, note = type(value).__name__.lower(), "None", "to be filled in"
        if isinstance(value, np.random.Generator):
            text, note = f"{self._imported('random')}.default_rng(0)", "in the step one of its own"
        elif isinstance(value, np.ndarray):
            text, note = self._array(value), "a constant"
        return self._named(id(value), stem, text, note, value)

    # --- the memory ---

    def _memory(self) -> Iterator[_Entry]:
        for b in (*self.program.outside(), *(b for b in self.buffers if b.kind == "constant")):
            known = b.kind == "constant" or (isinstance(b.source, Tensor | np.ndarray) and not b.tracked)
            if known and b.value.size <= _MOST_WRITTEN and in_order(b):
                yield _Entry(b.name, self._array(b.value), f"{b.kind}, as it was")
            else:
                yield _Entry(b.name, self._zeros(b), f"{b.kind}: put in its values")
        if self.plan.blocks:
            yield from self._blocks()
        for b, place in self.plan.places.items():
            yield _Entry(b.name, place.name, "written over it")
        for b in self.buffers:
            if b.offset is not None and b.base is not None:
                part = f"{b.base.name}[{b.offset}:{b.offset + math.prod(b.shape)}]"
                yield _Entry(b.name, f"{part}.reshape({b.shape})")
        for b, i in self.made.items():
            if b.base is not None and b.offset is None and not i.update and self._is_fixed(b):
                yield _Entry(b.name, self._called(i, [self._operand(x, i) for x in i.inputs]))

    def _blocks(self) -> Iterator[_Entry]:
        """One piece of memory; what is at one place there is needed at different times."""
        blocks = {b: block for b, block in self.plan.blocks.items() if self._lies_in_memory(b)}
        offsets, size = {}, 0
        for block in dict.fromkeys(blocks.values()):
            offsets[block] = size
            size += -(-block.size // 64) * 64  # processors like multiples of 64 bytes
        name, bytes_ = self._unique("memory"), self._dtype(np.dtype(np.uint8))
        yield _Entry(name, f"{self._imported('empty')}({size + 64}, {bytes_})")
        yield _Entry(name, f"{name}[-{name}.ctypes.data % 64 :]")
        for b, block in blocks.items():
            strides = "" if in_order(b) else f", {b.strides}"
            array = f"{self._imported('ndarray')}({b.shape}, {self._dtype(b.dtype)}, {name}, {offsets[block]}{strides})"
            yield _Entry(b.name, array)

    def _lies_in_memory(self, b: Buffer) -> bool:
        return True

    def _zeros(self, b: Buffer) -> str:
        """Zeros in memory laid out as it was."""
        if in_order(b):
            return f"{self._imported('zeros')}({b.shape}, {self._dtype(b.dtype)})"
        ends = [(n - 1) * s for n, s in zip(b.shape, b.strides, strict=True)]
        first, size = -sum(e for e in ends if e < 0), b.dtype.itemsize + sum(map(abs, ends))
        memory = f"{self._imported('zeros')}({size}, {self._dtype(np.dtype(np.uint8))})"
        return f"{self._imported('ndarray')}({b.shape}, {self._dtype(b.dtype)}, {memory}, {first}, {b.strides})"

    def _array(self, x: Array) -> str:
        """The text of an array with all its values: in hexadecimal digits where Python's numbers cannot tell them."""
        dtype = self._dtype(x.dtype)
        if x.dtype.kind in "biu" or (x.dtype.kind == "f" and x.dtype.itemsize <= 8 and np.isfinite(x).all()):
            array = f"{self._imported('array')}({x.tolist()}, {dtype})"
        else:
            array = f"{self._imported('frombuffer')}(bytes.fromhex({x.tobytes().hex()!r}), {dtype}).reshape({x.shape})"
        return array if 0 not in x.shape else f"{self._imported('zeros')}({x.shape}, {dtype})"

    def _dtype(self, dtype: np.dtype[Any]) -> str:
        if dtype.isnative and getattr(np, dtype.name, None) is dtype.type:
            return self._imported(dtype.name)
        return repr(dtype.str)


def comment(text: str) -> str:
    """Text of whatever origin as a comment: all of it in one line."""
    return f"# {''.join(c if c.isprintable() else ' ' for c in text)}"


def _as_recorded(layout: tuple[Any, ...]) -> Callable[[Any], Array]:
    """What sees to it that the result of a user's op is laid out as it was when the program was recorded."""

    def array(result: Any) -> Array:
        x = np.asarray(result)
        if (x.shape, x.dtype, x.strides) != layout:
            raise RuntimeError(
                f"compile: an op returned {x.dtype} of shape {x.shape}, and when it was recorded {layout[1]} of "
                f"shape {layout[0]}; an op whose shape depends on values cannot be compiled"
            )
        return x

    return array


def _spelled(x: float) -> str:
    return "".join({"-": "minus_", ".": "_", "+": ""}.get(c, c) for c in f"n{x!r}")
