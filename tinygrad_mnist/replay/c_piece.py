"""Instructions as the body of a C function: what is elementwise as loops, with sums and products between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist import native

from .c_forms import AXES, SUM, TYPES, collapsed, constant, every, formula, is_loop, summed_axes
from .numpy_text import comment
from .program import Buffer, Instruction, Number
from .sharing import Sharing

LONGEST_PART = 60
"""How many lines a function in C may have before another is begun."""

RESERVED = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof p h i
    j k exp log tanh pow powf sqrt fabs sqrtf fabsf copysignf exp_float log_float tanh_float sum_float sum_double
    isfinite memcpy EXP LOG TANH POW SQRT ABS SUM PRODUCT CONTRACT CONTRACTED
    NAN INFINITY NULL linux unix""".split()
)
"""Names that are something else in C."""


class Piece:
    """Instructions as a C function.

    Args:
        run: the instructions.
        name: the function's.
        sharing: of the program's buffers.
        unique: makes a name that nothing else has.
        number: the name in Python of a number that an instruction reads.

    Attributes:
        pointers: the arrays of the Python text that it is called with: by name, the name in C and the type.
        products: the functions that its products call, by name.
        scratches: memory that it needs: name, shape and dtype.
        scalars: what is a variable of a loop, and needs no memory.
    """

    def __init__(
        self,
        run: list[Instruction],
        name: str,
        sharing: Sharing,
        unique: Callable[[str], str],
        number: Callable[[Number, Instruction], str],
    ) -> None:
        self.run, self.name, self.sharing, self.unique, self.number = run, name, sharing, unique, number
        self.pointers: dict[str, tuple[str, str]] = {}
        self.products: dict[str, str] = {}
        self.scratches: list[tuple[str, tuple[int, ...], np.dtype[Any]]] = []
        self.scalars: set[Buffer] = set()
        self.used: dict[str, None] = {}  # those of the part that is being written
        self.loop: list[Instruction] = []
        self.lines: list[str] = []
        self.parts: list[str] = []
        self.line = ""

    def text(self) -> list[str]:
        """The function; if it is long, in parts, as compilers take four times as long for one of twice the length."""
        for i in self.run:
            if is_loop(i):
                if self.loop and not self._joins(i):
                    self._end_loop()
                    self._end_part(LONGEST_PART)
                self.loop.append(i)
                continue
            self._end_loop()
            self._end_part(LONGEST_PART)
            self._comment(i)
            self.lines += self._summed(i) if i.op is SUM else self._multiplied(i)
        self._end_loop()
        if not self.parts:
            return [self._function(f"void {self.name}")]
        self._end_part(0)
        calls = [f"    {self.name}_part_{n}(p);" for n in range(1, len(self.parts) + 1)]
        return [*self.parts, "\n".join(["", f"void {self.name}(void **p) {{", *calls, "}"])]

    def _end_part(self, longest: int) -> None:
        if len(self.lines) > longest:
            # Not piece_2, which the second piece is called.
            name = f"static __attribute__((noinline)) void {self.name}_part_{len(self.parts) + 1}"
            self.parts.append(self._function(name))
            self.lines, self.used, self.line = [], {}, ""

    def _function(self, name: str) -> str:
        places = {known: n for n, known in enumerate(self.pointers)}
        declared = [f"    {self.pointers[x][1]}{self.pointers[x][0]} = p[{places[x]}];" for x in self.used]
        return "\n".join(["", f"{name}(void **p) {{", *declared, *self.lines, "}"])

    def _comment(self, i: Instruction, indent: str = "    ") -> None:
        if i.line != self.line:
            self.line = i.line
            text = comment(i.line).replace("*/", "* /").replace('"""', '"" "')  # the C text stands in Python's
            self.lines.append(f"{indent}/{text.replace('#', '*', 1)} */")

    def pointer(self, name: str, dtype: np.dtype[Any], *, constant: bool = False) -> str:
        """The name in C of an array of the Python text."""
        if name not in self.pointers:
            known = name in RESERVED or name.startswith(("product_", "M_")) or not name.isascii()
            c = f"v{len(self.pointers)}__" if known else name
            self.pointers[name] = c, f"{TYPES[dtype]} *"
        self.used[name] = None
        return self.pointers[name][0]

    # --- loops ---

    def _joins(self, i: Instruction) -> bool:
        """Whether an instruction may be done in the loop of those before it, one element after the other."""
        if i.output.shape != self.loop[0].output.shape:
            return False
        for before in self.loop:
            for b in i.buffers:  # what the loop writes is read at the same element only, as what it is
                if self.sharing.meets(b, before.output) and b is not before.output:
                    return False
            for b in (*before.buffers, before.output):  # and what it reads is not written at another element
                if self.sharing.meets(b, i.output) and not self.sharing.is_same(b, i.output):
                    return False
        return collapsed(i.output.shape, [b for j in (*self.loop, i) for b in every(j)]) is not None

    def _end_loop(self) -> None:
        if not self.loop:
            return
        loop, self.loop = self.loop, []
        buffers = [b for i in loop for b in every(i)]
        found = collapsed(loop[0].output.shape, buffers)
        assert found is not None
        sizes, strides = found
        places = dict(zip(buffers, strides, strict=True))
        self._comment(loop[0])
        indent = "    "
        for axis, n in zip(AXES[len(AXES) - len(sizes) :], sizes, strict=True):
            self.lines.append(f"{indent}for (long {axis} = 0; {axis} < {n}; {axis}++) {{")
            indent += "    "
        if not sizes:
            self.lines.append(f"{indent}{{")
            indent += "    "
        made: dict[Buffer, str] = {}
        for i in loop:
            self._comment(i, indent)
            out = i.output
            operands = (self._operand(x, i, made, places) for x in i.inputs)
            value = formula(i).format(**dict(zip("xyz", operands, strict=False)))
            if all(b.dtype.kind == "b" for b in i.buffers):  # of which NumPy's sum is no 2
                value = f"({value}) != 0"
            local = f"{out.name}_"
            if not local.isascii() or local in made.values():  # as of what is written twice
                local = f"w{len(made)}__"
            self.lines.append(f"{indent}const {TYPES[out.dtype]} {local} = {value};")
            if self.sharing.is_needed_after(loop, i):
                self.lines.append(f"{indent}{self._element(out, places)} = {local};")
            else:
                self.scalars.add(out)
            made[out] = local
        while len(indent) > 4:
            indent = indent[4:]
            self.lines.append(f"{indent}}}")

    def _operand(self, x: Any, i: Instruction, made: dict[Buffer, str], places: dict[Buffer, Any]) -> str:
        if isinstance(x, Buffer):
            return made[x] if x in made else self._element(x, places)
        dtype = next(b.dtype for b in i.buffers if b.dtype.kind == "f" or len(i.buffers) == 1)
        if isinstance(x, Number):
            return f"{self.pointer(self.number(x, i), dtype)}[0]"
        return constant(float(x), dtype)

    def _element(self, b: Buffer, places: dict[Buffer, Any]) -> str:
        strides = places[b]
        terms = [
            axis if s == 1 else f"{s} * {axis}"
            for axis, s in zip(AXES[len(AXES) - len(strides) :], strides, strict=True)
            if s
        ]
        return f"{self.pointer(b.name, b.dtype)}[{' + '.join(terms) or '0'}]"

    # --- sums and products ---

    def _summed(self, i: Instruction) -> list[str]:
        x, out, kind = i.inputs[0], i.output, TYPES[i.output.dtype]
        a, o = self.pointer(x.name, x.dtype), self.pointer(out.name, out.dtype)
        size, rest = math.prod(x.shape), math.prod(out.shape)
        if summed_axes(i) == "all":
            return [f"    {o}[0] = sum_{kind}({a}, {size}) + 0;"]
        many = size // rest
        if summed_axes(i) == "last":
            return [
                f"    for (long i = 0; i < {rest}; i++)",
                f"        {o}[i] = sum_{kind}({a} + {many} * i, {many}) + 0;",
            ]
        return [
            f"    for (long j = 0; j < {rest}; j++)",
            f"        {o}[j] = {a}[j] + 0;",
            f"    for (long i = 1; i < {many}; i++)",
            f"        for (long j = 0; j < {rest}; j++)",
            f"            {o}[j] += {a}[{rest} * i + j];",
        ]

    def _multiplied(self, i: Instruction) -> list[str]:
        x, y = i.inputs
        out, (m, k), n = i.output, i.inputs[0].shape, i.inputs[1].shape[1]
        kind, size = TYPES[out.dtype], out.dtype.itemsize
        lanes = min(native.compiler().vector // size, 1 << (n.bit_length() - 1))
        columns = min(2, n // lanes)
        rows = max(r for r in range(1, min(6, m) + 1) if m % r == 0 or r == min(4, m))
        name = f"product_{kind}_{rows}x{columns}x{lanes}"
        self.products[name] = f"PRODUCT({name}, {kind}, {rows}, {columns}, {lanes})"
        a, b, o = (self.pointer(z.name, z.dtype) for z in (x, y, out))
        lines = []
        if y.strides != (n * size, size) and not (k == 1 and y.strides[1] == size):
            self.scratches.append((scratch := self.unique("scratch"), (k, n), out.dtype))
            packed = self.pointer(scratch, out.dtype)
            s, t = (s // size for s in y.strides)
            lines = [
                f"    for (long i = 0; i < {k}; i++)",
                f"        for (long j = 0; j < {n}; j++)",
                f"            {packed}[{n} * i + j] = {b}[{s} * i + {t} * j];",
            ]
            b = packed
        s, t = (s // size for s in x.strides)
        return [*lines, f"    {name}({o}, {a}, {b}, {m}, {k}, {n}, {s}, {t});"]
