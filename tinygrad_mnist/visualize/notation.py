"""How things are called and written: names of Tensors, shapes, values, and ops as formulas."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any, TypeAlias

import numpy as np

from tinygrad_mnist.nn import Module, named
from tinygrad_mnist.op import Op
from tinygrad_mnist.ops.indexing import ARRAY
from tinygrad_mnist.tensor import Tensor, values

from .tracing import calls_around, computed

# fmt: off
NOTATION = {  # how Python writes an op, and how tightly that binds; all others are written name(x, y)
    "eq": ("{} == {}", 1), "ne": ("{} != {}", 1), "lt": ("{} < {}", 1), "le": ("{} <= {}", 1), "gt": ("{} > {}", 1),
    "ge": ("{} >= {}", 1), "add": ("{} + {}", 2), "sub": ("{} - {}", 2), "linear": ("{} @ {} + {}", 2),
    "mul": ("{} * {}", 3), "div": ("{} / {}", 3), "remainder": ("{} % {}", 3), "floor_divide": ("{} // {}", 3),
    "matmul": ("{} @ {}", 3), "neg": ("-{}", 4), "pow": ("{} ** {}", 5), "copy": ("{}", 6),
}
# fmt: on
_ATOM = 6
Application: TypeAlias = tuple[Op, Sequence[Any], Mapping[str, Any]]  # of an op: to its inputs, with its parameters


def collect(outputs: Iterable[Tensor]) -> list[Tensor]:
    """All Tensors that the outputs were computed from, and the outputs, oldest first: each after its inputs."""
    outputs = list(outputs)
    seen: set[Tensor] = set()
    stack = list(outputs)
    while stack:
        t = stack.pop()
        if t not in seen:
            seen.add(t)
            if t.inputs is None:
                raise RuntimeError(
                    f"the graph of this {t.op.name} was freed by a backward pass; "
                    "look at it before, or pass retain_graph=True to backward()"
                )
            stack.extend(x for x in t.inputs if isinstance(x, Tensor))
    made = sorted((t for t in seen if t.op is not None), key=lambda t: t._created)
    return list(dict.fromkeys([x for t in made for x in (*t.inputs, t) if isinstance(x, Tensor)] + outputs))


def names_of(tensors: Iterable[Tensor], model: Module | None = None) -> dict[Tensor, str]:
    """The names that Tensors have: in the model (or the models that were called under `trace()`), or of their own."""
    known = {t: name for root in _roots(tensors, model) for name, t in named(root, Tensor)}
    names: dict[Tensor, str] = {}
    times: Counter[str] = Counter()
    for t in tensors:
        name = known.get(t, t.name)
        if name is not None:
            name = printable(str(name))
            name = name if len(name) <= 80 else f"{name[:79]}…"
            times[name] += 1
            names[t] = name if times[name] == 1 else f"{name}_{times[name]}"
    return names


def module_names(tensors: Iterable[Tensor], model: Module | None = None) -> dict[int, str]:
    """The names of the modules in the model (or the models that were called under `trace()`), by their ids."""
    return {id(module): printable(name) for root in _roots(tensors, model) for name, module in named(root, Module)}


def _roots(tensors: Iterable[Tensor], model: Module | None) -> list[Module]:
    if model is not None:
        return [model]
    outermost = [calls[0].module for t in tensors if (calls := calls_around(t))]
    return list({id(module): module for module in outermost}.values())


def all_named(tensors: Iterable[Tensor], given: Mapping[Tensor, str]) -> dict[Tensor, str]:
    """The names given, and for all others made-up ones that nothing has yet.

    v1, v2, ... for results, w1, ... for parameters, x1, ... for data; a number is its own name.
    """
    names, taken = dict(given), set(given.values())
    result = "t" if "v" in taken else "v"  # v1 would look like a part of the user's v
    count = {letter: map(f"{letter}{{}}".format, itertools.count(1)) for letter in (result, "w", "x")}
    for t in tensors:
        if t in names:
            continue
        if t.op is None and t.size == 1 and not t.requires_grad:
            names[t] = value_text(t)
        else:
            letter = result if t.op is not None or computed(t) else "w" if t.requires_grad else "x"
            names[t] = next(name for name in count[letter] if name not in taken)
    return names


def printable(text: str) -> str:
    """The text on one line: what cannot be printed, as in a Python string."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shape_text(t: Any) -> str:
    """A shape as 10×30 or (30,) or scalar."""
    sizes = np.shape(t)
    return str(sizes) if len(sizes) == 1 else "×".join(map(str, sizes)) or "scalar"


def value_text(t: Any) -> str:
    """The numbers of an array of at most 6, to four digits; an empty text for a larger one."""
    if isinstance(t, int | float):
        return f"{t:.4g}" if isinstance(t, float) else str(t)
    array = values(t)
    if array.size > 6:
        return ""
    formats = {"float_kind": "{:.4g}".format, "bool": str}
    return np.array2string(array, separator=", ", formatter=formats).replace("\n", "")  # type: ignore[arg-type]


def operand_text(x: Any, names: Mapping[Tensor, str], applied: Mapping[Tensor, Application]) -> tuple[str, int]:
    """An operand and how tightly it binds: its name, or the expression that computed it, or its value."""
    if isinstance(x, Tensor) and x in names:
        return names[x], _ATOM
    if isinstance(x, Tensor) and x in applied:
        return expression(applied[x], names, applied)
    text = value_text(x) or f"array({shape_text(x)})"
    return text, 4 if text.startswith("-") else _ATOM


def expression(
    application: Application, names: Mapping[Tensor, str], applied: Mapping[Tensor, Application]
) -> tuple[str, int]:
    """An op on its operands as Python writes it, and how tightly that binds; `applied` made operands without a name."""
    op, inputs, params = application
    written = [operand_text(x, names, applied) for x in inputs]

    def operand(i: int, lowest: int) -> str:
        text, binding = written[i]
        return text if binding >= lowest else f"({text})"

    if op.name == "getitem":
        return operand(0, _ATOM) + _index(params["index"], [text for text, _ in written[1:]]), _ATOM
    if op.name == "transpose" and params["axes"] in (None, (-1, -2)):
        return operand(0, _ATOM) + ".T", _ATOM
    if op.name in NOTATION:
        pattern, binding = NOTATION[op.name]
        first = binding + (binding in (1, 5))  # of several equal operators the left one comes first, save ** and <
        lowest = (3, 4, 3) if op.name == "linear" else (first, binding + 1)
        return pattern.format(*map(operand, range(len(written)), lowest)), binding
    if op.name == "scatter":
        index = _index(params["index"], [text for text, _ in written[1:]])
        return f"scatter({written[0][0]}, index={index}, shape={params['shape']})", _ATOM
    return f"{op.name}({', '.join([text for text, _ in written] + params_text(op, params))})", _ATOM


def untracked_formula(t: Tensor, names: Mapping[Tensor, str]) -> str:
    """What a result outside of the graph was computed as, `v1 < 0.5`; where operands have no names, the op's alone."""
    found = computed(t)
    if found is None:
        return ""
    op, inputs, params = found
    plain = {name: value for name, value in params.items() if not isinstance(value, np.random.Generator)}
    known = inputs and all(x in names for x in inputs if isinstance(x, Tensor))
    return expression((op, inputs, plain), names, {})[0] if known else op.name


def in_lines(formula: str, width: int = 44) -> list[str]:
    """A formula in lines: if it is long, a line for each term of its sum, and long terms broken between operators."""
    depth, terms = 0, [""]
    for part in re.split(r"([()\[\]]| \+ )", formula):
        depth += (part in ("(", "[")) - (part in (")", "]"))
        if part == " + " and depth == 0 and len(formula) > width:
            terms.append("+ ")
        else:
            terms[-1] += part
    return [line for term in terms for line in wrap(term, width, subsequent_indent="    ", break_long_words=False)]


def params_text(op: Op, params: Mapping[str, Any]) -> list[str]:
    """The parameters of an op that are not at their defaults."""
    if "index" in params:
        return [_index(params["index"], ())]
    defaults = {k: v for k, v in op.defaults.items() if isinstance(v, int | str | None)}
    given = {k: v for k, v in params.items() if k not in defaults or v is not defaults[k]}
    return [f"{k}={_parameter(v)}" for k, v in given.items()]


def _parameter(value: Any) -> str:
    """A parameter as Python writes it, but for types, whose name says it."""
    if isinstance(value, type):
        return value.__name__
    return repr(value) if isinstance(value, str) else printable(str(value))


def _index(index: Iterable[Any], arrays: Iterable[str]) -> str:
    """An index as Python writes it; an array in it by its name, or as `array`."""
    names = iter(arrays)
    parts = []
    for part in index:
        if isinstance(part, slice):
            ends = [part.start, part.stop] if part.step is None else [part.start, part.stop, part.step]
            parts.append(":".join("" if end is None else str(end) for end in ends))
        else:
            parts.append("..." if part is ... else next(names, "array") if part is ARRAY else str(part))
    return f"[{', '.join(parts)}]"
