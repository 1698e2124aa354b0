"""Which instructions have a form in C, and how it is written: as an expression, a sum or a product."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import native
from tinygrad_mnist.op import OPS, Domain, Op
from tinygrad_mnist.tensor import Array

from .program import Buffer, Instruction, Number, in_order, is_ours, squares

_log = logging.getLogger("tinygrad_mnist")

SUM, MATMUL, _ASTYPE, _BROADCAST_TO = (OPS[name] for name in "sum matmul astype broadcast_to".split())

TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.bool): "unsigned char"}

AXES = "hkij"
"""The axes of a loop; of fewer the last ones."""

LARGEST_PRODUCT = 2**21
"""How many multiplications a product in C may have: beyond, NumPy's BLAS is faster."""

PRELUDE = (Path(__file__).parent / "prelude.c").read_text(encoding="utf-8")
"""What every C text begins with: exp, ln, tanh, sums and products."""


def has_form(i: Instruction) -> bool:
    """Whether C has a form for an instruction, if its memory is known before the step runs."""
    if not all(b.dtype in TYPES and _is_aligned(b) for b in every(i)):
        return False
    return _is_expression(i) or _is_sum(i) or _is_product(i)


def is_loop(i: Instruction) -> bool:
    """Whether the form of an instruction is an expression, computed element by element."""
    return i.op is not SUM and i.op is not MATMUL


def _is_expression(i: Instruction) -> bool:
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
    return fits and collapsed(i.output.shape, every(i)) is not None


def _is_sum(i: Instruction) -> bool:
    return i.op is SUM and i.inputs[0].dtype == i.output.dtype and i.output.dtype.kind == "f" and bool(summed_axes(i))


def _is_product(i: Instruction) -> bool:
    if i.op is not MATMUL or not all(b.dtype == i.output.dtype and len(b.shape) == 2 for b in i.buffers):
        return False
    (m, k), (_, n) = (b.shape for b in i.buffers)
    return 0 < m * k * n <= LARGEST_PRODUCT and i.output.dtype.kind == "f" and in_order(i.output)


def _is_aligned(b: Buffer) -> bool:
    """Whether its elements lie where C expects them."""
    return not any(s % b.dtype.itemsize for s in b.strides) and b.root.value.flags.aligned


def every(i: Instruction) -> list[Buffer]:
    """The buffers of an elementwise instruction."""
    return [*i.buffers, i.output]


def formula(i: Instruction) -> str:
    """An elementwise instruction in C, of operands {x}, {y} and {z}; empty if there is none.

    A user's own op has one if it takes no parameters, and `is_trusted`.
    """
    if squares(i):
        return "{x} * {x}"
    if i.op in (_ASTYPE, _BROADCAST_TO):
        return "{x}"
    ours = is_ours(i.op) or (i.op.c and not i.params and is_trusted(i.op, i.output.dtype))
    return i.op.c if ours else ""


@functools.cache
def is_trusted(op: Op, dtype: np.dtype[Any]) -> bool:
    """Whether the form in C gives what the forward function gives, on a sample of the op's domain; else that is logged.

    Audits compare the NumPy program with the step, and would not find it. NativeError: there is no compiler.
    """
    if op.domain is None or dtype.kind != "f":
        return False
    native.compiler()  # without one the form is not to blame
    try:
        wrong = disagreement(op, sample(op.domain, dtype))
    except native.NativeError as error:
        wrong = f"its form in C {op.c!r} is not compiled: {error}"
    if wrong:
        _log.warning("compile: %s: %s; NumPy computes it", op.name, wrong)
    return not wrong


def sample(domain: Sequence[Domain], dtype: np.dtype[Any]) -> list[Array]:
    """Some hundred numbers for each operand, from end to end of where it can be tested, in different orders."""
    operands = []
    for n, d in enumerate(domain):
        x = np.linspace(d.low, d.high, 101)
        x = x[[all(abs(x - away) > 0.01 * (d.high - d.low) for away in d.away) for x in x]]
        operands.append(np.resize(np.roll(x, 37 * n), 101).astype(dtype))
    return operands


def disagreement(op: Op, operands: Sequence[Array]) -> str:
    """How an op's form in C differs from its forward function, in floating arrays of one shape and dtype.

    Returns text without an end, empty if they agree, or if the forward function gives another dtype.

    Raises:
        NativeError: there is no compiler, or it refuses the form.
    """
    with np.errstate(all="ignore"):
        expected = np.asarray(op.forward(*operands))
    if expected.dtype != operands[0].dtype:
        return ""
    made = computed_in_c(op.c, operands)
    allowed = 1e-5 if expected.dtype == np.float32 else 1e-13
    close = np.isclose(made, expected, rtol=allowed, atol=allowed * np.abs(expected).max(initial=0), equal_nan=True)
    if close.all():
        return ""
    place = np.flatnonzero(~close)[0]
    of = ", ".join(str(x.ravel()[place]) for x in operands)
    return (
        f"its form in C {op.c!r} gives {made.ravel()[place]!s} for {of}, and the forward function "
        f"{expected.ravel()[place]!s}, in {expected.dtype}"
    )


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


def summed_axes(i: Instruction) -> str:
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


def constant(x: float, dtype: np.dtype[Any]) -> str:
    """A number as the dtype holds it, in C."""
    value = float(dtype.type(x)) if dtype.kind == "f" else x
    if not math.isfinite(value):
        return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "(-INFINITY)"
    text = f"{value:.1f}" if value == int(value) and abs(value) < 1e6 else value.hex()
    if dtype == np.float32:
        text += "f"
    return f"({text})" if math.copysign(1, value) < 0 else text


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
    library = native.load(f"{PRELUDE}\n\nvoid form(void **p) {{\n{body}\n{loop}\n}}\n")
    library.form(native.pointers(*map(np.ascontiguousarray, operands), out, np.array(out.size, np.dtype("l"))))
    return out
