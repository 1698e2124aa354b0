"""The back end that writes C: runs of instructions become functions, called from the Python text of the program.

Elementwise instructions of one shape are one loop, whose temporaries are scalars; small products keep tiles of the
result in registers. What has no C form (random numbers, large products, shapes that C does not know) stays a statement
of NumPy between two pieces of C, so that every step compiles. Arguments are copied into memory of the program, whose
addresses are known once and for all; results are copied out of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from .c_forms import PRELUDE, TYPES, every, has_form, is_loop
from .c_piece import Piece
from .numpy_text import NumPyText, _Entry, comment, writes
from .program import Buffer, Instruction, in_order
from .sharing import Sharing

LARGEST_COPY = 2**16
"""Of how many elements an argument may be to be copied in; larger ones are for NumPy alone."""

FEWEST = 3
"""A piece of fewer instructions stays NumPy: the call alone takes 0.5 µs."""


class CText(NumPyText):
    """A program as Python text that calls functions of a C text.

    Attributes:
        c: the C text.
    """

    reuses = False  # temporaries are scalars; and what is not overwritten needs no care
    keeps_its_own = True

    def _writes(self, i: Instruction) -> bool:
        return writes(i) or has_form(i)

    def _written(self, i: Instruction, out: str, names: Sequence[str]) -> list[str]:
        if writes(i):
            return super()._written(i, out, names)
        return [f"{self._imported('copyto')}({out}, {self._called(i, names)})"]

    def _function(self) -> list[str]:
        self.sharing = Sharing(self.program, self.plan, self.made)
        self.functions: list[str] = []
        self.pieces: list[Piece] = []
        self.rest = False  # whether there is anything but pieces
        self.products: dict[str, str] = {}
        self.tables: list[_Entry] = []
        self.scratches: list[_Entry] = []
        late = self._read_late()  # such an argument may be a view of what is written
        copied = [b for b in self.program.arguments if math.prod(b.shape) <= LARGEST_COPY and b not in late]
        self.copies = {b: self._unique(f"{b.name}_given") for b in copied}
        text = super()._function()
        self.scalars = {b for piece in self.pieces for b in piece.scalars} - {b.base for b in self.buffers}
        if self._is_one():
            text += self._steps()
        self.c = "\n".join([PRELUDE.rstrip(), *self.products.values(), *self.functions])
        return text

    def _is_one(self) -> bool:
        """Whether the step is one piece, of rows of arrays, and returns a number."""
        arguments = self.program.arguments
        rows = all(b in self.copies and in_order(b) and b.shape[:1] == arguments[0].shape[:1] != () for b in arguments)
        results = [b for b in self.program.results if b.base is None and b in self.plan.blocks and b.dtype.kind == "f"]
        returned = len(results) == len(self.program.results) == 1 and math.prod(results[0].shape) == 1
        return (
            len(self.pieces) == 1 and not self.rest and not self.plan.copies and rows and returned and bool(arguments)
        )

    def _steps(self) -> list[str]:
        """A function that takes many steps, for which C gathers the rows."""
        (piece,), (table,) = self.pieces, self.tables
        places = {known: f"p[{n}]" for n, known in enumerate(piece.pointers)}
        cost, size = self.program.results[0], self.program.arguments[0].shape[0]
        kind = TYPES[cost.dtype]
        lines = []
        for n, b in enumerate(self.program.arguments):
            row = math.prod(b.shape[1:]) * b.dtype.itemsize
            if b.name in places:
                source = f"data[{n}] + {row} * rows[{n}][{size} * t + i]"
                lines.append(f"            memcpy((char *){places[b.name]} + {row} * i, {source}, {row});")
        name = self._unique("many_steps")
        text = f"""
/* Steps, each with the rows of the data whose numbers come next, until a cost is not finite: how many. */
int {name}(void **p, char **data, const long long **rows, {kind} *costs, int n) {{
    for (long t = 0; t < n; t++) {{
        for (long i = 0; i < {size}; i++) {{
{chr(10).join(lines)}
        }}
        {piece.name}(p);
        costs[t] = *({kind} *){places[cost.name]};
        if (!isfinite(costs[t]))
            return (int)t + 1;
    }}
    return n;
}}"""
        self.functions.append(text)
        body = [*self._read(), f"return {name}({table.name}, data, rows, costs, n)"]
        return ["", "", *self._defined("steps", ["data", "rows", "costs", "n", *(x.name for x in self.numbers)], body)]

    def _read_late(self) -> set[Buffer]:
        """What is read when something outside the step has been written."""
        every = self.program.instructions
        first = next((n for n, i in enumerate(every) if i.update), len(every))
        read = [b for i in every[first + 1 :] for b in i.buffers] + self.program.results * (first < len(every))
        return {b.root for b in read}

    def _parameters(self) -> list[str]:
        return [self.copies.get(b, b.name) for b in self.program.arguments] + [n.name for n in self.numbers]

    def _begin(self) -> list[str]:
        return [f"{self._imported('copyto')}({b.name}, {name})" for b, name in self.copies.items()]

    def _returned(self) -> list[str]:
        own = [b.root in self.plan.blocks or b.root in self.copies for b in self.program.results]
        names = [b.name for b in self.program.results]
        return [f"{name}.copy()" if copied else name for name, copied in zip(names, own, strict=True)]

    def _is_fixed(self, b: Buffer) -> bool:
        return b.root in self.copies or super()._is_fixed(b)

    def _body(self) -> list[str]:
        """Statements: of NumPy, and calls of pieces of C."""
        body: list[str] = []
        run: list[Instruction] = []
        for i in (*self.program.instructions, None):
            if i is not None and (self._is_view(i) or self._has_c(i)):
                run.append(i)
                continue
            body += self._piece(run)
            run = []
            if i is not None:
                self.rest = True
                body += ["", comment(i.line), *self._statements(i)]
        return body

    def _piece(self, run: list[Instruction]) -> list[str]:
        run = [i for i in run if not self._is_view(i)]
        if len(run) < FEWEST:
            self.rest = self.rest or bool(run)
            return [s for i in run for s in ("", comment(i.line), *self._statements(i))]
        piece = Piece(run, name := self._unique("piece"), self.sharing, self._unique, self._operand)
        self.pieces.append(piece)
        self.functions += piece.text()
        self.products |= piece.products
        for scratch, shape, dtype in piece.scratches:
            self.scratches.append(_Entry(scratch, f"{self._imported('empty')}({shape}, {self._dtype(dtype)})"))
        table = self._unique("table")
        self.tables.append(_Entry(table, f"pointers({', '.join(piece.pointers)})"))
        return ["", f"{name}({table})"]

    def _is_view(self, i: Instruction) -> bool:
        b = i.output
        return b.base is not None and b.offset is None and not i.update and self._is_fixed(b)

    def _has_c(self, i: Instruction) -> bool:
        """Whether an instruction is written in C."""
        if not all(map(self._is_fixed, every(i))) or not has_form(i):
            return False
        return not (is_loop(i) and self.sharing.overlaps(i))

    def _lies_in_memory(self, b: Buffer) -> bool:
        return b not in self.scalars

    def _memory(self) -> Iterator[_Entry]:
        for b in self.copies:
            yield _Entry(b.name, self._zeros(b), "a copy of an argument")
        yield from super()._memory()
        yield from self.scratches
        if self.functions:
            text = self._unique("text")
            yield _Entry(text, f'r"""\n{self.c}\n"""')
            for name in re.findall(r"^\w+ (\w+)\(void \*\*p", self.c, re.MULTILINE):
                yield _Entry(name, f"native.load({text}).{name}")
            yield from self.tables

    def _imports(self) -> list[str]:
        native = ["from tinygrad_mnist import native", "from tinygrad_mnist.native import pointers"]
        return super()._imports() + (native if self.functions else [])
