"""The steps of the backward pass: what a rule passes on, and why now."""

from __future__ import annotations

import linecache
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.tensor import Tensor, values
from tinygrad_mnist.visualize.notation import printable, shape_text

from .arrays import rms
from .contents import SATURATED, SLOPES, Contents, slope_text
from .statements import BACKWARD
from .tables import Cell, at, largest, number, sum_of, table
from .walk import Part


def passing(page: Contents, p: Part) -> dict[str, Any]:
    """The step in which a gradient is passed on from a result to one of its inputs."""
    node, x, names, uses = p.node, p.x, page.names, page.walk.uses.get(p.x, 1)
    operands = [node, *(t for t in node.inputs if isinstance(t, Tensor))]
    summed = f", summed to {shape_text(x)}" if p.raw.shape != x.shape else ""
    text = f"∂{names[x]} {'=' if p.before is None else '+='} {p.formula}{summed}"
    cards, tables = [], []
    if not (summed and page.array(p.raw) == page.array(page.walk.gradients[node])):
        cards.append(page.card(f"∂{names[node]}, which arrives", page.walk.gradients[node], node, "gradient"))
    used = [t for t in dict.fromkeys(operands) if _occurs(page, t, p.formula)]
    cards += [page.card(names[t], t.data, t) for t in used]
    why = _why_now(page, p)
    for tell in (_slope, _product, _broadcasting, _accumulation):
        words, numbers, shown = tell(page, p)
        why += words
        tables += numbers
        cards += shown
    if p.before is None and not summed:
        cards.append(page.card(f"∂{names[x]}", p.total, x, "result gradient"))
    return {
        "phase": "backward",
        "title": f"backward through {node.op.name}: to {names[x]}",
        "formula": page.linked(text, operands),
        "note": _rule_text(node, p.position),
        "why": why,
        "tables": tables,
        "cards": cards,
        "item": page.number[node],
        "items": page.numbers([x]),
        "gradient": [page.number[x], page.array(p.total), p.number, uses],
        "flow": [page.number[node], page.number[x], p.position],
        "waiting": [[page.number[t], parts, page.walk.uses.get(t, 1)] for t, parts in p.waiting[:8]],
        "lines": page.program.at.get((BACKWARD, node, x), []),
        "about": "No statement of its own: it never changes, is what arrived, or has been computed already.",
    }


Told = tuple[list[str], list[Any], list[Any]]
"""Words, tables and cards."""


def _slope(page: Contents, p: Part) -> Told:
    """What a sigmoid or a tanh makes of a gradient."""
    op, out, g, name = p.node.op.name, p.node.data, page.walk.gradients[p.node], page.names[p.node]
    if op not in SLOPES or not out.size:
        return [], [], []
    slope = SLOPES[op](out)
    words = [
        f"What arrives is multiplied by the slope of each neuron, at most {'¼' if op == 'sigmoid' else '1'}: "
        f"the RMS of ∂{name}, {rms(g):.3g}, becomes {rms(p.part):.3g}."
    ]
    flat = slope < SATURATED
    if flat.any():
        words.append(
            f"{flat.sum():,} of {flat.size:,} activations are saturated, with a slope below {SATURATED}: they let "
            "almost nothing through, to their weights neither, and so hardly learn, however wrong they are."
        )
    if flat.ndim == 2 and len(flat) > 1 and flat.all(axis=0).any():
        dead = flat.all(axis=0)
        words.append(
            f"{dead.sum()} of {dead.size} neurons are saturated for all {len(flat)} examples: no example moves them."
        )
    tables = []
    if out.size > 1 and np.isfinite(slope).all():
        heads = ["", f"∂{name}, arrives", "× slope", f"= ∂{page.names[p.x]}"]
        rows: list[list[Cell]] = []
        for kind, i in (("flattest", int(slope.argmin())), ("steepest", int(slope.argmax()))):
            place = np.unravel_index(i, slope.shape)
            rows.append([f"{kind}: {at(name, place)}", *(number(array[place]) for array in (g, slope, p.part))])
        tables.append(table("What the slope lets through", heads, rows))
    return words, tables, [page.card(f"the slope {slope_text(op, name)}", slope, p.node, "slope")]


def _product(page: Contents, p: Part) -> Told:
    """Which terms a matrix product adds up in one number of a gradient: each is a path."""
    node, names, output = p.node, page.names, page.names[page.output]
    place = largest(p.raw)
    if node.op.name not in ("linear", "matmul") or p.position > 1 or p.raw.shape != p.x.shape or place is None:
        return [], [], []
    x, weight = map(values, node.inputs[:2])
    g = page.walk.gradients[node]
    if not x.ndim == weight.ndim == g.ndim == 2:
        return [], [], []
    (i, j), name = place, at(names[p.x], place)
    if p.position == 1:
        left, right, letter, along = x[:, i], g[:, j], "n", f"rows of {page.called(node.inputs[0])}"
        heads = [at(page.called(node.inputs[0]), ("n", i)), f"× {at(f'∂{names[node]}', ('n', j))}"]
    else:
        left, right, letter, along = g[i], weight[j], "k", f"columns of {page.called(node.inputs[1])}"
        heads = [at(f"∂{names[node]}", (i, "k")), f"× {at(page.called(node.inputs[1]), (j, 'k'))}"]
    terms = left * right
    if len(terms) < 2 or not np.isclose(terms.sum(), p.raw[place], rtol=1e-3, atol=1e-4 * float(np.abs(terms).sum())):
        return [], [], []  # a rule that computes something else
    each = "each example uses it once" if p.position == 1 else "it is an input of each of these neurons"
    word = (
        f"Gradients of several uses add up: {name} acts on {output} along {len(terms)} paths, one for each of the "
        f"{len(terms)} {along} ({each}). The matrix product is the sum of what comes back along them all."
    )
    labels = [f"{letter} = {n}" for n in range(len(terms))]
    shown = sum_of(f"∂{name}: a sum of {len(terms)} terms", ["path", *heads, "= its part"], labels,
                   (left, right, terms), p.raw[place])  # fmt: skip
    return [word], [shown], []


def _broadcasting(page: Contents, p: Part) -> Told:
    """How broadcasting is undone, if there was any: the gradient before and after, and the terms of one number."""
    if p.raw.shape == p.x.shape:
        return [], [], []
    kind = "gradient" if p.before is not None else "result gradient"
    passed = page.array(p.raw) == page.array(page.walk.gradients[p.node])
    name, g = page.names[p.x], f"∂{page.names[p.node]}"
    arrives = f"{g}, which arrives, " if passed else ""
    before = page.card(f"{arrives}before: shape {shape_text(p.raw)}", p.raw, None, "gradient")
    after = page.card(f"after the sum: shape {shape_text(p.x)}", p.part, p.x, kind)
    new = p.raw.ndim - p.x.ndim
    axes = [*range(new), *(new + i for i, n in enumerate(p.x.shape) if n != p.raw.shape[new + i])]
    times = int(np.prod([p.raw.shape[axis] for axis in axes]))
    words = (
        f"Broadcasting is undone: {name} of shape {shape_text(p.x)} was used {times} times along "
        f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}. Each use passes a gradient back, and "
        f"they add up: the sum over {'that axis' if len(axes) == 1 else 'those axes'} makes {shape_text(p.x)} of "
        f"{shape_text(p.raw)}."
    )
    place = largest(p.part)
    if times < 2 or place is None:
        return [words], [], [before, after]
    whole = (*(0 for _ in range(new)), *place)
    terms = p.raw[tuple(slice(None) if axis in axes else i for axis, i in enumerate(whole))]
    called = g if passed else "the gradient"
    labels = [
        at(called, [next(along) if axis in axes else i for axis, i in enumerate(whole)])
        for along in map(iter, np.ndindex(terms.shape))
    ]
    title = f"∂{at(name, place)}: a sum of {times} terms"
    return [words], [sum_of(title, ["use", "its part"], labels, (terms.ravel(),), p.part[place])], [before, after]


def _accumulation(page: Contents, p: Part) -> Told:
    """How the gradients of several paths add up, if there are several."""
    name, uses = page.names[p.x], page.walk.uses.get(p.x, 1)
    if p.before is None:
        first = f"{name} is used {uses} times: this is the first part of its gradient, and others will add."
        return [first] if uses > 1 else [], [], []
    so_far = [other for other in page.walk.parts if other.x is p.x and other.number <= p.number]
    word = (
        f"{name} is used {uses} times, and each use is a path on which it acts on {page.names[page.output]}. "
        f"The gradients of all paths add up: this is part {p.number} of {uses}."
    )
    cards = [
        page.card(f"∂{name} so far", p.before, p.x, "gradient"),
        page.card("+ this part", p.part, None, "gradient"),
        page.card(f"= ∂{name}{' by now' if p.number < uses else ''}", p.total, p.x, "result gradient"),
    ]
    place = largest(p.total)
    if place is None:
        return [word], [], cards
    labels = [f"through {page.names[other.node]}, by {other.node.op.name}" for other in so_far]
    terms = np.array([other.part[place] for other in so_far])
    title = f"∂{at(name, place)}: a sum over {len(so_far)} paths"
    return [word], [sum_of(title, ["path", "its part"], labels, (terms,), p.total[place])], cards


def _occurs(page: Contents, t: Tensor, formula: str) -> bool:
    if t.op is None and not t.requires_grad and t.size == 1 and t.name is None:
        return False
    return re.search(rf"(?<![\w.∂]){re.escape(page.names[t])}(?!\w)", formula) is not None


def _why_now(page: Contents, p: Part) -> list[str]:
    """Why this result is the next to pass its gradient on."""
    node, name = p.node, page.names[p.node]
    if node is page.output:
        known = f"∂{name} is known, so the rules of its op can pass it on to what it was computed from."
        return [known, *_of_rules(p)]
    if not p.first:
        return [f"The same ∂{name}, passed on to another input of {node.op.name}: each input has a rule of its own."]
    users = list(dict.fromkeys(t for t in page.users[node] if t in page.walk.gradients))
    uses = page.walk.uses.get(node, 1)
    how = "the only one to use it, has" if uses == 1 else f"all {uses} uses, have"
    return [
        f"Why now: ∂{name} is complete. {_listed(page, users)}, {how} passed on what was due. "
        f"Of the results with a gradient {name} is the youngest.",
        *_of_rules(p),
    ]


def _of_rules(p: Part) -> list[str]:
    """What a rule is, where there is more than one number."""
    if p.raw.size * p.node.size <= 1:
        return []
    return [
        f"A rule takes the gradient of the result, {shape_text(p.node)}, and returns that of an input, "
        f"{shape_text(p.raw)}: a vector-Jacobian product (vjp). The Jacobian itself, {p.node.size:,} × "
        f"{p.raw.size:,} slopes, is never made."
    ]


def _listed(page: Contents, tensors: Sequence[Tensor]) -> str:
    return ", ".join(page.names[t] for t in tensors[:4]) + (", ..." if len(tensors) > 4 else "")


def _rule_text(node: Tensor, position: int) -> str:
    """The rule as it stands in the table of derivatives, if it is one line."""
    for i, rule in enumerate(node.op.rules):
        if i == position:
            code = getattr(rule, "__code__", None)
            if code is None or code.co_name != "<lambda>":
                return ""
            line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
            where = "the table's rule" if code.co_filename.startswith(PACKAGE) else "the rule"
            text = _lambda(line, code.co_varnames[0])
            return f"{where}: {printable(text)}" if text else ""
    return ""


def _lambda(line: str, first: str) -> str:
    """The lambda in a line whose first parameter has this name; empty if it goes on in the next one."""
    start = line.find(f"lambda {first}")
    depth, body = 0, False
    for i, c in enumerate(line[start:] if start >= 0 else ""):
        depth += (c in "([{") - (c in ")]}")
        body = body or c == ":"
        if depth < 0 or (body and depth == 0 and c in ",#"):
            return line[start : start + i].rstrip()
    return ""
