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
from typing import Any

import numpy as np

from tinygrad_mnist import native
from tinygrad_mnist.op import OPS
from tinygrad_mnist.tensor import Array

from .formula import Slot
from .numpy_text import NumPyText, _Entry, comment
from .program import Buffer, Instruction, Number, in_order, squares

_SUM, _MATMUL, _ASTYPE, _BROADCAST_TO = (OPS[name] for name in "sum matmul astype broadcast_to".split())

TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.bool): "unsigned char"}

AXES = "hkij"
"""The axes of a loop; of fewer the last ones."""

LARGEST_PRODUCT = 2**21
"""How many multiplications a product in C may have: beyond, NumPy's BLAS is faster."""

LARGEST_COPY = 2**16
"""Of how many elements an argument may be to be copied in; larger ones are for NumPy alone."""

LONGEST_PART = 60
"""How many lines a function in C may have before another is begun."""

FEWEST = 3
"""A piece of fewer instructions stays NumPy: the call alone takes 0.5 µs."""

PRELUDE = r"""
#include <math.h>
#include <string.h>

/* e^x, within 2 units in the last place: 2^n e^r with |r| <= ln 2 / 2, after Cephes. A loop of it becomes vectors, as
   one of a library's exp does not; 2^n is two factors, as 2^-149 and 2^128 have no exponent of their own. */
static inline float exp_float(float x) {
    const float magic = 12582912.0f; /* 1.5 2^23: adding it rounds to a whole number, in the last bits */
    float c = x < -104.0f ? -104.0f : x;
    c = c > 89.0f ? 89.0f : c; /* NaN stays */
    float t = c * 1.44269504f + magic, n = t - magic;
    float r = c - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    unsigned int bits, half, rest;
    memcpy(&bits, &t, 4);
    int k = (int)(bits - 0x4b400000u);
    half = ((unsigned int)(k >> 1) + 127u) << 23;
    rest = ((unsigned int)(k - (k >> 1)) + 127u) << 23;
    float f, g;
    memcpy(&f, &half, 4);
    memcpy(&g, &rest, 4);
    return p * f * g;
}

/* ln x, after Cephes: of 2^n m with m from 0.7 to 1.4. */
static inline float log_float(float x) {
    float y = x < 1.17549435e-38f ? x * 16777216.0f : x; /* a subnormal number is made a normal one */
    unsigned int bits;
    memcpy(&bits, &y, 4);
    int k = (int)(bits - 0x3f3504f3u) >> 23; /* by the root of 1/2 */
    unsigned int rest = bits - ((unsigned int)k << 23);
    float m;
    memcpy(&m, &rest, 4);
    float n = (float)(x < 1.17549435e-38f ? k - 24 : k), r = m - 1.0f, z = r * r;
    float p = 7.0376836292e-2f;
    p = p * r - 1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r - 1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r - 1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r - 2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    p = r + (p * r * z - 2.12194440e-4f * n - 0.5f * z) + 0.693359375f * n;
    p = x == 0.0f ? -INFINITY : p;
    p = x < 0.0f ? NAN : p;
    return x < INFINITY ? p : x; /* infinity, and NaN */
}

/* tanh x, after Cephes: a polynomial near 0, where 1 - 2 / (e^2x + 1) would lose digits. */
static inline float tanh_float(float x) {
    float z = x * x, a = fabsf(x);
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    float far = 1.0f - 2.0f / (exp_float(a + a) + 1.0f);
    return copysignf(a < 0.625f ? p : far, x); /* of -0 too */
}

#define EXP(x) _Generic((x), float: exp_float, default: exp)(x)
#define LOG(x) _Generic((x), float: log_float, default: log)(x)
#define TANH(x) _Generic((x), float: tanh_float, default: tanh)(x)
#define POW(x, y) _Generic((x) + (y), float: powf, default: pow)(x, y)
#define SQRT(x) _Generic((x), float: sqrtf, default: sqrt)(x)
#define ABS(x) _Generic((x), float: fabsf, default: fabs)(x)
#define M_LIBM(name, x) _Generic((x), float: __builtin_##name##f(x), default: __builtin_##name(x))
#define M_LIBM2(name, x, y) _Generic((x) + (y), float: __builtin_##name##f(x, y), default: __builtin_##name(x, y))

/* The sum of n numbers, pairwise as NumPy adds them; which adds it to 0, so that -0 is 0. */
#define SUM(type) \
    static type sum_##type(const type *x, long n) { \
        if (n > 128) { \
            long half = n / 2 - (n / 2) % 8; \
            return sum_##type(x, half) + sum_##type(x + half, n - half); \
        } \
        type s[8], sum = 0; \
        if (n >= 8) { \
            memcpy(s, x, sizeof s); \
            for (long i = 8; i + 8 <= n; i += 8) \
                for (int j = 0; j < 8; j++) \
                    s[j] += x[i + j]; \
            sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); \
        } \
        for (long i = n - n % 8; i < n; i++) \
            sum += x[i]; \
        return sum; \
    }
SUM(float)
SUM(double)

/* In products alone a b + c may be rounded once: elsewhere it would make a a - b b of equal numbers less than 0. */
#if defined __clang__
#define CONTRACTED
#define CONTRACT _Pragma("clang fp contract(fast)")
#else
#define CONTRACTED __attribute__((optimize("fp-contract=fast")))
#define CONTRACT
#endif

/* out = a b: tiles of ROWS rows and COLUMNS vectors of LANES numbers stay in registers while k runs. The last tile of a
   row or column overlaps the one before, which computes some numbers twice. */
#define PRODUCT(name, type, ROWS, COLUMNS, LANES) \
    typedef type name##_vector __attribute__((vector_size(sizeof(type) * LANES), aligned(4), may_alias)); \
    CONTRACTED static void name(type *out, const type *a, const type *b, long m, long k, long n, long a0, long a1) { \
        CONTRACT \
        for (long i = 0;; i = i + 2 * ROWS > m ? m - ROWS : i + ROWS) { \
            for (long j = 0;; j = j + 2 * COLUMNS * LANES > n ? n - COLUMNS * LANES : j + COLUMNS * LANES) { \
                name##_vector s[ROWS][COLUMNS] = {0}; \
                for (long p = 0; p < k; p++) { \
                    name##_vector v[COLUMNS]; \
                    for (int c = 0; c < COLUMNS; c++) \
                        v[c] = *(const name##_vector *)(b + p * n + j + c * LANES); \
                    for (int r = 0; r < ROWS; r++) \
                        for (int c = 0; c < COLUMNS; c++) \
                            s[r][c] += a[(i + r) * a0 + p * a1] * v[c]; \
                } \
                for (int r = 0; r < ROWS; r++) \
                    for (int c = 0; c < COLUMNS; c++) \
                        *(name##_vector *)(out + (i + r) * n + j + c * LANES) = s[r][c]; \
                if (j + COLUMNS * LANES >= n) \
                    break; \
            } \
            if (i + ROWS >= m) \
                break; \
        } \
    }
"""


RESERVED = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof p h i
    j k exp log tanh pow powf sqrt fabs sqrtf fabsf copysignf exp_float log_float tanh_float sum_float sum_double
    isfinite memcpy EXP LOG TANH POW SQRT ABS SUM PRODUCT CONTRACT CONTRACTED
    NAN INFINITY NULL linux unix""".split()
)
"""Names that are something else in C."""


class CText(NumPyText):
    """A program as Python text that calls functions of a C text.

    Attributes:
        c: the C text.
    """

    reuses = False  # temporaries are scalars; and what is not overwritten needs no care
    keeps_its_own = True

    def _function(self) -> list[str]:
        self.readers: dict[Buffer, list[Instruction]] = {}
        for i in self.program.instructions:
            for b in i.buffers:
                self.readers.setdefault(b.root, []).append(i)
        self.kept = {b.root for b in self.program.results} | {b for pair in self.program.stores for b in pair}
        self.functions: list[str] = []
        self.pieces: list[_Piece] = []
        self.rest = False  # whether there is anything but pieces
        self.products: dict[str, str] = {}
        self.tables: list[_Entry] = []
        self.scratches: list[_Entry] = []
        late = self._read_late()  # such an argument may be a view of what is written
        copied = [b for b in self.program.arguments if math.prod(b.shape) <= LARGEST_COPY and b not in late]
        self.copies = {b: self._unique(f"{b.name}_given") for b in copied}
        text = super()._function()
        if self._is_one():
            text += self._steps()
        self.c = "\n".join([PRELUDE.strip(), *self.products.values(), *self.functions])
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
        piece = _Piece(self, run, name := self._unique("piece"))
        self.pieces.append(piece)
        self.functions += piece.text()
        table = self._unique("table")
        self.tables.append(_Entry(table, f"pointers({', '.join(piece.pointers)})"))
        return ["", f"{name}({table})"]

    def _is_view(self, i: Instruction) -> bool:
        b = i.output
        return b.base is not None and b.offset is None and not i.update and self._is_fixed(b)

    def _has_c(self, i: Instruction) -> bool:
        """Whether C has a form for an instruction."""
        every = [*i.buffers, i.output]
        if not all(b.dtype in TYPES and self._is_fixed(b) and _is_aligned(b) for b in every):
            return False
        return self._is_elementwise(i) or self._is_sum(i) or self._is_product(i)

    def _is_elementwise(self, i: Instruction) -> bool:
        dtypes = {b.dtype for b in i.buffers}
        plain = [x for x in i.inputs if not isinstance(x, Buffer)]
        if not formula(i) or (plain and not squares(i) and not _takes(i, plain)):
            return False
        floating = dtypes - {np.dtype(np.bool)}
        out = i.output.dtype
        if i.op is _ASTYPE:
            fits = out.kind == "f"
        elif out.kind == "f":
            fits = floating == {out}
        else:
            fits = len(dtypes) == 1 and (out.kind == "b")
        overlaps = any(self.meets(b, i.output) and not self.is_same(b, i.output) for b in i.buffers)
        return fits and not overlaps and collapsed(i.output.shape, every(i)) is not None

    def memory(self, b: Buffer) -> Buffer:
        """The buffer whose memory it lies in."""
        return self.plan.places.get(b.root, b.root).root

    def meets(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers may share memory: as what is outside the step may, but for the states of optimizers."""
        one, other = self.memory(a), self.memory(b)
        apart = any(x.kind != "outside" or isinstance(x.source, Slot) for x in (one, other))
        return one is other or not apart

    def is_same(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers are the same memory, element by element."""
        return self.memory(a) is self.memory(b) and self._is_whole(a) and self._is_whole(b) and a.layout == b.layout

    def _is_whole(self, b: Buffer) -> bool:
        """Whether it is all of its memory, and not a view of some of it."""
        while b in self.made and self.made[b].update and b.base is not None:
            b = b.base
        return b.base is None

    def _is_sum(self, i: Instruction) -> bool:
        return i.op is _SUM and i.inputs[0].dtype == i.output.dtype and i.output.dtype.kind == "f" and bool(_sum(i))

    def _is_product(self, i: Instruction) -> bool:
        if i.op is not _MATMUL or not all(b.dtype == i.output.dtype and len(b.shape) == 2 for b in i.buffers):
            return False
        (m, k), (_, n) = (b.shape for b in i.buffers)
        return 0 < m * k * n <= LARGEST_PRODUCT and i.output.dtype.kind == "f" and in_order(i.output)

    def _scratch(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
        """The name of memory for a piece."""
        name = self._unique("scratch")
        self.scratches.append(_Entry(name, f"{self._imported('empty')}({shape}, {self._dtype(dtype)})"))
        return name

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


def computed_in_c(c: str, operands: Sequence[Array]) -> Array:
    """What a form in C gives for floating arrays of one shape and dtype, element by element.

    Raises:
        NativeError: there is no compiler, or it refuses the form.
    """
    out = np.empty_like(operands[0], order="C")
    kind, names = TYPES[out.dtype], "xyz"[: len(operands)]
    declared = "\n".join(f"    const {kind} *{name} = p[{n}];" for n, name in enumerate(names))
    value = c.format(**{name: f"{name}[i]" for name in names})
    body = f"{declared}\n    {kind} *out = p[{len(names)}];\n    long n = *(long *)p[{len(names) + 1}];"
    loop = f"    for (long i = 0; i < n; i++)\n        out[i] = {value};"
    library = native.load(f"{PRELUDE.strip()}\n\nvoid form(void **p) {{\n{body}\n{loop}\n}}\n")
    library.form(native.pointers(*map(np.ascontiguousarray, operands), out, np.array(out.size, np.dtype("l"))))
    return out


def _is_aligned(b: Buffer) -> bool:
    """Whether its elements lie where C expects them."""
    return not any(s % b.dtype.itemsize for s in b.strides) and b.root.value.flags.aligned


def every(i: Instruction) -> list[Buffer]:
    """The buffers of an elementwise instruction."""
    return [*i.buffers, i.output]


def formula(i: Instruction) -> str:
    """An elementwise instruction in C, of operands {x}, {y} and {z}; empty if there is none."""
    if squares(i):
        return "{x} * {x}"
    return "{x}" if i.op in (_ASTYPE, _BROADCAST_TO) else i.op.c


def collapsed(
    shape: tuple[int, ...], buffers: Sequence[Buffer]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]] | None:
    """A few axes to run through so that all buffers, broadcast to a shape, are met element by element.

    Returns the lengths of the axes, and for each buffer its strides in elements; None if more axes are needed.
    """
    strides = []
    for b in buffers:
        missing = len(shape) - len(b.shape)
        if missing < 0:
            return None
        own = [0 if n == 1 else s // b.dtype.itemsize for n, s in zip(b.shape, b.strides, strict=True)]
        strides.append([0] * missing + own)
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in buffers]
    for axis in range(len(shape)):
        if shape[axis] == 1:
            continue
        if sizes and all(k[-1] == s[axis] * shape[axis] for k, s in zip(kept, strides, strict=True)):
            sizes[-1] *= shape[axis]
            for k, s in zip(kept, strides, strict=True):
                k[-1] = s[axis]
        else:
            sizes.append(shape[axis])
            for k, s in zip(kept, strides, strict=True):
                k.append(s[axis])
    return (tuple(sizes), list(map(tuple, kept))) if len(sizes) <= len(AXES) else None


def _takes(i: Instruction, plain: list[Any]) -> bool:
    """Whether numbers beside the buffers can be written in the buffers' dtype, or read from memory."""
    dtypes = {b.dtype for b in i.buffers if b.dtype.kind == "f"}
    if len(dtypes) != 1:
        return False
    if any(isinstance(x, Number) for x in plain):
        return isinstance(i.op.forward, np.ufunc) and len({b.dtype for b in i.buffers}) == 1
    most = float(np.finfo(next(iter(dtypes))).max)
    return all(type(x) in (int, float) and (abs(x) <= most or not math.isfinite(x)) for x in plain)


def _sum(i: Instruction) -> str:
    """Which of the axes a sum is over: "all", "first", "last"; empty if C has no form for it."""
    x, axis = i.inputs[0], i.params["axis"]
    if not isinstance(x, Buffer) or not in_order(x) or not in_order(i.output):
        return ""
    axes = {a % max(1, len(x.shape)) for a in (axis if isinstance(axis, tuple) else () if axis is None else (axis,))}
    if axis is None or len(axes) == len(x.shape):
        return "all"
    if not all(x.shape):
        return ""
    return "first" if axes == set(range(len(axes))) else "last" if axes == {len(x.shape) - 1} else ""


class _Piece:
    """Instructions as the body of a C function."""

    def __init__(self, text: CText, run: list[Instruction], name: str) -> None:
        self.of, self.run, self.name = text, run, name
        self.pointers: dict[str, tuple[str, str]] = {}  # by the name in Python: that in C, and the type
        self.used: dict[str, None] = {}  # those of the part that is being written
        self.loop: list[Instruction] = []
        self.lines: list[str] = []
        self.parts: list[str] = []
        self.line = ""

    def text(self) -> list[str]:
        """The function; if it is long, in parts, as compilers take four times as long for one of twice the length."""
        for i in self.run:
            if self.of._is_elementwise(i):
                if self.loop and not self._joins(i):
                    self._end_loop()
                    self._end_part(LONGEST_PART)
                self.loop.append(i)
                continue
            self._end_loop()
            self._end_part(LONGEST_PART)
            self._comment(i)
            self.lines += self._summed(i) if i.op is _SUM else self._multiplied(i)
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
                if self.of.meets(b, before.output) and b is not before.output:
                    return False
            for b in (*before.buffers, before.output):  # and what it reads is not written at another element
                if self.of.meets(b, i.output) and not self.of.is_same(b, i.output):
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
            if self._is_stored(out, loop, i):
                self.lines.append(f"{indent}{self._element(out, places)} = {local};")
            made[out] = local
        while len(indent) > 4:
            indent = indent[4:]
            self.lines.append(f"{indent}}}")

    def _is_stored(self, out: Buffer, loop: list[Instruction], i: Instruction) -> bool:
        """Whether anything needs an element when the loop is over."""
        if i.update or out.base is not None or out in self.of.kept or out in self.of.plan.places:
            return True
        return any(reader not in loop for reader in self.of.readers.get(out, []))

    def _operand(self, x: Any, i: Instruction, made: dict[Buffer, str], places: dict[Buffer, Any]) -> str:
        if isinstance(x, Buffer):
            return made[x] if x in made else self._element(x, places)
        dtype = next(b.dtype for b in i.buffers if b.dtype.kind == "f" or len(i.buffers) == 1)
        if isinstance(x, Number):
            return f"{self.pointer(self.of._operand(x, i), dtype)}[0]"
        return _constant(float(x), dtype)

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
        if _sum(i) == "all":
            return [f"    {o}[0] = sum_{kind}({a}, {size}) + 0;"]
        many = size // rest
        if _sum(i) == "last":
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
        self.of.products[name] = f"PRODUCT({name}, {kind}, {rows}, {columns}, {lanes})"
        a, b, o = (self.pointer(z.name, z.dtype) for z in (x, y, out))
        lines = []
        if y.strides != (n * size, size) and not (k == 1 and y.strides[1] == size):
            scratch = self.of._scratch((k, n), out.dtype)
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


def _constant(x: float, dtype: np.dtype[Any]) -> str:
    """A number as the dtype holds it, in C."""
    value = float(dtype.type(x)) if dtype.kind == "f" else x
    if not math.isfinite(value):
        return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "(-INFINITY)"
    text = f"{value:.1f}" if value == int(value) and abs(value) < 1e6 else value.hex()
    if dtype == np.float32:
        text += "f"
    return f"({text})" if math.copysign(1, value) < 0 else text
