"""Random compositions: several ops of the table, one after the other, which share their values.

(Not programs: a program is what a compiled step is replayed as.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_mnist import ops
from tinygrad_mnist.convert import in_one_line, is_whole
from tinygrad_mnist.op import missing
from tinygrad_mnist.ops import OPS, REALS, Op
from tinygrad_mnist.tensor import Array

from .cases import as_text, notes_on
from .strategies import apart, arrays, axes, broadcastable_shapes, grid, in_domain, indices, shapes_of_size


class Line(NamedTuple):
    """A line of a composition: a function of the table, its operands (names of values, or constants) and parameters."""

    function: str
    operands: tuple[Any, ...]
    params: Mapping[str, Any] = {}

    def run(self, values: Mapping[str, Any]) -> Any:
        """What the function returns."""
        operands = [values[x] if isinstance(x, str) else x for x in self.operands]
        if self.function in ("concatenate", "stack"):
            operands = [operands]
        return _function(self.function)(*operands, **self.params)

    def __str__(self) -> str:
        operands = ", ".join(x if isinstance(x, str) else as_text(x) for x in self.operands)
        if self.function in ("concatenate", "stack"):
            operands = f"[{operands}]"
        return f"{self.function}({', '.join([operands, *(f'{key}={as_text(x)}' for key, x in self.params.items())])})"


@dataclass(frozen=True, eq=False)
class Composition:
    """Straight-line code over the table: a function of Tensors, one for each of its inputs, that prints as Python.

    >>> Composition((np.array([1.0, 2.0]),), (Line("exp", ("a",)), Line("mul", ("t0", "a"))))
    a = array([1., 2.])
    t0 = exp(a)
    t1 = mul(t0, a)
    """

    inputs: tuple[Array, ...]
    lines: tuple[Line, ...]

    def __call__(self, *tensors: Any) -> Any:
        """The value of the last line."""
        values = dict(zip("abcdefgh", tensors, strict=False))
        for i, line in enumerate(self.lines):
            values[f"t{i}"] = line.run(values)
        return values[f"t{len(self.lines) - 1}"]

    def __repr__(self) -> str:
        text = [f"{name} = {as_text(x)}{notes_on(x)}" for name, x in zip("abcdefgh", self.inputs, strict=False)]
        return "\n".join(text + [f"t{i} = {line}" for i, line in enumerate(self.lines)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("\n" + repr(self))


def _function(name: str) -> Callable[..., Any]:
    """The function that a line of a composition calls."""
    return getattr(ops, name) if name in ("getitem", "concatenate", "stack") else OPS[name].function


@st.composite
def compositions(draw: st.DrawFn, max_lines: int = 6) -> Composition:
    """Compositions of up to so many lines: every line uses the value before it, and others that were computed earlier.

    So there are shared subexpressions, broadcasting, reductions, indexing, views and products of matrices; every
    elementwise op in the table takes part, a user's too. No value is large, and none is near a kink or a pole of an op
    that is applied to it.
    """
    if not is_whole(max_lines, 1):
        raise ValueError(f"compositions: expected a whole number of at least 1, of lines, got {in_one_line(max_lines)}")
    whole = draw(st.sampled_from(((2,), (), (3,), (2, 3), (2, 2), (3, 1), (2, 1, 2), (0, 2))))
    numbers = grid(*[REALS] * draw(st.sampled_from((1, 2, 3))))
    sizes = draw(broadcastable_shapes(len(numbers), whole))
    inputs = tuple(draw(arrays(size, values=own)) for size, own in zip(sizes, numbers, strict=True))
    values: dict[str, Array] = dict(zip("abc", inputs, strict=False))
    lines: list[Line] = []
    for i in range(draw(st.sampled_from(range(1, max_lines + 1)))):
        nexts = _next_lines(draw, draw(st.sampled_from(_ops())), values)
        possible = [(line, value) for line in nexts if (value := _value(line, values)) is not None]
        line, values[f"t{i}"] = draw(st.sampled_from(possible or [_bounded(values)]))
        lines.append(line)
    return Composition(inputs, tuple(lines))


_STRUCTURAL = """
    where clip matmul sum mean prod logsumexp max min softmax log_softmax cumsum cumprod
    reshape transpose broadcast_to pad getitem concatenate stack
    """.split()
_SMOOTH = "add sub mul div pow hypot arctan2 logaddexp logaddexp2".split()  # no kink where x equals y


def _ops() -> list[Op]:
    """The ops that compositions are made of; of the many elementwise ones each is drawn half as often as others."""
    structural = [op for op in OPS.values() if op.name in _STRUCTURAL]
    elementwise = [
        op
        for op in OPS.values()
        if op not in structural and op.differentiable and op.domain and len(op.domain) < 3 and not missing(op.defaults)
    ]
    return 2 * structural + elementwise


def _next_lines(draw: st.DrawFn, op: Op, values: Mapping[str, Array]) -> Iterator[Line]:
    """The lines with an op that could come next; some may have shapes that do not fit."""
    last, x = list(values.items())[-1]
    pairs = [pair for other in values for pair in ((last, other), (other, last))]
    line = partial(Line, op.name)
    match op.name:
        case "where":
            mask = draw(hnp.arrays(bool, x.shape))
            yield from (line((mask, *pair)) for pair in pairs)
        case "clip":
            bounds = ((-1.0, 0.5), (0.125, 2.0), (-3.0, -0.5))
            yield from (line((last, *pair)) for pair in bounds if all(apart(x, bound) for bound in pair))
        case "matmul":
            weights = draw(arrays((x.shape[-1], 2) if x.ndim else ()))
            yield from (line(operands) for operands in [*pairs, (last, weights)])
        case "sum" | "mean" | "prod" | "logsumexp" | "max" | "min":
            params = {"axis": draw(axes(x.shape, empty=op.name in ("sum", "prod"))), "keepdims": draw(st.booleans())}
            if op.name not in ("max", "min") or _distinct(x):
                yield line((last,), params)
        case "cumsum" | "cumprod":
            yield line((last,), {"axis": draw(st.sampled_from((None, *range(x.ndim))))})
        case "softmax" | "log_softmax":
            yield from (line((last,), {"axis": i}) for i, n in enumerate(x.shape) if n)
        case "reshape":
            yield line((last,), {"shape": draw(st.sampled_from(shapes_of_size(x.size)))})
        case "transpose":
            yield line((last,), {"axes": tuple(draw(st.permutations(range(x.ndim))))})
        case "broadcast_to":
            yield line((last,), {"shape": (2, *x.shape)})
        case "pad":
            yield line((last,), {"pad_width": draw(st.sampled_from((1, (0, 1), (2, 0))))})
        case "getitem":
            yield line((last,), {"index": draw(indices(x.shape))})
        case "concatenate" | "stack":
            axis = draw(st.integers(-1, 0))
            yield from (line(pair, {"axis": axis}) for pair in pairs)
        case _ if op.domain is not None and len(op.domain) == 1:
            yield from [line((last,))] * in_domain(x, op.domain[0])
        case _:
            number = draw(st.sampled_from((2.0, 0.5, -1.5)))
            for pair in [*pairs, (last, number), (number, last)]:
                operands = [values[name] if isinstance(name, str) else name for name in pair]
                if all(map(in_domain, operands, op.domain or ())) and (op.name in _SMOOTH or apart(*operands)):
                    yield line(pair)


def _value(line: Line, values: Mapping[str, Array]) -> Array | None:
    """The value of a line, if the shapes fit and it is small, in size and in its numbers."""
    try:
        value = np.asarray(line.run(values))
    except (ValueError, IndexError):
        return None
    return value if value.size <= 36 and np.max(np.abs(value), initial=0) <= 50 else None


def _bounded(values: Mapping[str, Array]) -> tuple[Line, Array]:
    line = Line("tanh", ([*values][-1],))
    return line, line.run(values)


def _distinct(x: Array) -> bool:
    return bool(np.all(np.diff(np.sort(x, axis=None)) >= 1 / 16))
