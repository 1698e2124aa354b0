"""A computation graph as a picture: `graph`, its colours, and the DOT text."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_mnist.backward import grad
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.mode import Observer
from tinygrad_mnist.nn import Module
from tinygrad_mnist.op import Op
from tinygrad_mnist.tensor import Tensor, tick

from .folding import within_limit
from .nodes import Frame, Node, explain_all, frames_of, gradients_beside, nodes_of
from .notation import all_named, collect, names_of, printable, value_text
from .render import FONT, picture_class
from .tracing import observing

if TYPE_CHECKING:
    from graphviz import Digraph

FORWARD, BACKWARD, NEEDED = "#555555", "#a03070", "#4a7ab5"  # arrows
STYLES = {  # of the kinds of nodes, which differ in shape as well as in colour
    "parameter": {"shape": "box", "fillcolor": "#fbdca0"},
    "input": {"shape": "box", "fillcolor": "#cbe6f7", "style": "filled,rounded"},
    "constant": {"shape": "plain", "style": ""},
    "op": {"shape": "ellipse", "fillcolor": "#ffffff", "margin": "0.04,0.02"},
    "gradient": {"shape": "box", "fillcolor": "#f2d4e4", "color": BACKWARD, "peripheries": "2"},
    "module": {"shape": "box", "fillcolor": "#e6e6e6", "style": "filled,bold"},
}
ORDERED = frozenset("sub div pow matmul lt le gt ge".split())  # ops whose arrows come in from the left and the right
LINES = "; ".join(
    f'<FONT COLOR="{colour}">{text}</FONT>'
    for colour, text in {
        FORWARD: "grey: the forward pass",
        BACKWARD: "purple: the backward pass",
        NEEDED: "dashed: a value used in computing a gradient",
        "#000000": "dotted: a value and its gradient",
    }.items()
)
RAMP = "#ffffd9 #edf8b1 #c7e9b4 #7fcdbb #41b6c4 #1d91c0 #225ea8 #253494 #081d58".split()  # ColorBrewer's YlGnBu


def graph(
    *outputs: Tensor,
    model: Module | None = None,
    gradients: bool = False,
    backward: bool = False,
    values: bool = False,
    shapes: bool = False,
    collapse: int | Collection[str] | None = None,
    limit: int = 300,
) -> Digraph:
    """A picture of how the outputs were computed: a `graphviz.Digraph`, which Jupyter displays by itself.

    Parameters are boxes, inputs rounded boxes, ops ellipses, and arrows follow the data; where the order of operands
    matters, they come in from the left and from the right. What was called in a Module while `trace()` watched stands
    in a frame with the Module's name. No `.grad` is touched, and the graph is kept. `picture.attr(rankdir="LR")` turns
    the picture from top-down to left-right.

    Args:
        outputs: the Tensors to begin at.
        model: names its parameters, as in `hidden.weight`; after `trace()` not needed.
        gradients: colour every node by the norm of its gradient, d output / d node, on a logarithmic scale.
        backward: draw the backward pass too: beside each value its gradient, with the formula that `create_graph=True`
            recorded for it.
        values: show the numbers of small arrays.
        shapes: write on every arrow the shape of what it carries.
        collapse: draw calls of Modules as one node each: those inside `collapse` others (0: the outermost), or those
            with these names; and what repeats at least three times, once. By default as far as the limit demands.
        limit: the most nodes to draw.

    Raises:
        ValueError: more nodes than the limit; or gradients of what is not one number that requires them.
        RuntimeError: the graph has been freed.
    """
    if not outputs or not all(isinstance(t, Tensor) for t in outputs):
        given = ", ".join(map(in_one_line, outputs)) or "none"
        raise TypeError(f"graph: expected one or more Tensors, as in graph(loss), got {given}")
    if not isinstance(model, Module | None):
        raise TypeError(f"graph: model: expected a Module, got {in_one_line(model)}")
    flags: dict[str, Any] = {"gradients": gradients, "backward": backward, "values": values, "shapes": shapes}
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool):
            raise TypeError(f"graph: {name}: expected True or False, got {in_one_line(flag)}")
    if (gradients or backward) and (len(outputs) > 1 or outputs[0].size != 1 or not outputs[0].requires_grad):
        raise ValueError("graph: gradients need one output, a number that requires them, such as a loss or a .sum()")
    tensors = collect(outputs)
    names = names_of(tensors, model)
    if backward or values:
        names = all_named(tensors, names)
    tracked = [t for t in tensors if t.requires_grad] if gradients or backward else []
    gradient_of = dict(zip(tracked, _gradients(outputs[0], tracked, backward), strict=True)) if tracked else {}
    nodes = nodes_of(tensors, names, frames_of(tensors, model), values, shapes)
    legend = [_colour(nodes, gradient_of, values, names.get(outputs[0], "(result)"))] if gradients else []
    if backward:
        names |= {g: f"∂{names[outputs[0]]}/∂{names[t]}" for t, g in gradient_of.items()}
        nodes += gradients_beside(nodes, gradient_of, names, values, shapes)
        legend.append(LINES)
    explain_all(nodes, all_named(tensors, names))
    return _digraph(within_limit(nodes, collapse, limit), legend)


class _Linker(Observer):
    """Links everything to the graph, masks and transposed data too."""

    def applied(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """Link a result that has no gradient."""
        if result.op is None:
            result.op, result.inputs, result.params, result._created = op, inputs, params, tick()


def _gradients(output: Tensor, inputs: list[Tensor], record: bool) -> list[Tensor]:
    """The gradients of the inputs; with a record of all that led to them."""
    with observing(_Linker() if record else None):
        gradients: list[Tensor] = grad(output, inputs, retain_graph=True, create_graph=record)
    return gradients


def _colour(nodes: list[Node], gradient_of: Mapping[Tensor, Tensor], values: bool, output: str) -> str:
    """Colour the nodes by the norms of their gradients, and return the legend that says how."""
    at = {node.tensor: node for node in nodes}
    norms = {t: float(np.linalg.norm(g.data.astype(np.float64))) for t, g in gradient_of.items()}
    logs = [math.log10(norm) for norm in norms.values() if 0 < norm < math.inf] or [0.0]
    top = math.ceil(max(logs))
    bottom = min(math.floor(min(logs)), top - 3)
    for node in nodes:
        node.style = {**node.style, "fillcolor": "#ffffff"}
    for t, norm in norms.items():
        numbers = value_text(gradient_of[t]) if values else ""
        at[t].notes += [f"∂ = {numbers}"] * bool(numbers) + [f"‖∂‖ = {norm:.1e}"] * (not numbers or t.size > 1)
        if norm == 0:
            at[t].style["style"] = "filled,dashed"
        elif norm < math.inf:
            shade = min(int((math.log10(norm) - bottom) / (top - bottom) * len(RAMP)), len(RAMP) - 1)
            at[t].style = {"fillcolor": RAMP[shade], "fontcolor": "#ffffff" if shade > 5 else "#000000"}
        else:
            at[t].style = {"fillcolor": "#d55e00", "fontcolor": "#ffffff"}
    cells = "".join(f'<TD BGCOLOR="{colour}" WIDTH="34" HEIGHT="14" BORDER="1"></TD>' for colour in RAMP)
    special = [
        "white: needs no gradient",
        *["dashed: 0"] * (0 in norms.values()),
        *["orange: not finite"] * any(not n < math.inf for n in norms.values()),
    ]
    return (
        f"‖∂‖: the norm of ∂{_html(output)}/∂(node), in steps of equal ratio; {', '.join(special)}</TD></TR><TR><TD>"
        '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0">'
        f"<TR><TD>1e{bottom:+03d} </TD>{cells}<TD> 1e{top:+03d}</TD></TR></TABLE>"
    )


def _digraph(nodes: list[Node], legend: list[str]) -> Digraph:
    """The DOT text. Nodes are numbered in order, never by id(): an id is used again after its object has gone."""
    picture = picture_class()(
        graph_attr={"fontname": FONT, "fontsize": "11", "nodesep": "0.3", "ranksep": "0.35"},
        node_attr={"fontname": FONT, "fontsize": "11", "style": "filled", "height": "0.3"},
        edge_attr={"fontname": FONT, "fontsize": "9", "color": FORWARD, "arrowsize": "0.7"},
    )
    if legend:
        rows = "".join(f"<TR><TD>{row}</TD></TR>" for row in legend)
        picture.attr(label=f'<<TABLE BORDER="0" CELLBORDER="0">{rows}</TABLE>>')
    keys = {node: f"n{i}" for i, node in enumerate(nodes)}
    tree: dict[Any, Any] = {}
    for node in nodes:
        branch = tree
        for frame in node.frames:
            branch = branch.setdefault(frame, {})
        branch[node] = None
    _fill(picture, tree, keys, iter(range(len(nodes))))
    for node in nodes:
        name = node.tensor.op.name if node.kind == "op" and node.tensor is not None else ""
        sides = ("nw", "ne") if name in ORDERED else ("nw", "n", "ne") if name == "where" else ()
        for (x, shape), side in zip_longest(node.inputs, sides):
            text = {"label": f" {shape}"} if shape else {}
            text["tooltip"] = tip = _tooltip(f"{_called(x)} → {_called(node)}")
            if x.beside:  # drawn upwards, against the forward pass
                picture.edge(keys[node], keys[x], dir="back", color=BACKWARD, **text)
            elif node.beside:
                picture.edge(keys[x], keys[node], style="dashed", color=NEEDED, constraint="false", tooltip=tip)
            else:
                picture.edge(keys[x], keys[node], headport=side, **text)
    return picture


def _fill(picture: Any, tree: Mapping[Any, Any], keys: Mapping[Node, str], number: Any) -> None:
    """Put the nodes into their frames."""
    for item, inside in tree.items():
        if isinstance(item, Frame):
            with picture.subgraph(name=f"cluster_{next(number)}") as cluster:
                label = _html(f"{item.name}: {item.kind}" if item.name else item.kind)
                tooltip = _tooltip(" ".join(filter(None, [item.name, item.kind])))
                cluster.attr(label=f"<{label}>", labeljust="l", style="rounded", color="#888888", tooltip=tooltip)
                _fill(cluster, inside, keys, number)
        else:
            picture.node(
                keys[item], _label(item), **{**STYLES[item.kind], **item.style}, tooltip=_tooltip(item.tooltip)
            )
            if item.beside:  # in the same frame: outside of it, the same rank would pull the node out
                with picture.subgraph(graph_attr={"rank": "same"}) as level:
                    tooltip = _tooltip(f"{_called(item.beside)} and its gradient")
                    line = {"style": "dotted", "color": "#777777", "dir": "none"}
                    level.edge(keys[item.beside], keys[item], **line, tooltip=tooltip)


def _called(node: Node) -> str:
    """A node in a few words, for the tooltips of its arrows."""
    return node.name or re.split("\n| = |: ", node.tooltip)[0]


def _tooltip(text: str) -> str:
    """The text as graphviz writes tooltips."""
    import graphviz

    return graphviz.nohtml(r"\n".join(graphviz.escape(printable(line)) for line in text.split("\n")) or " ")


def _label(node: Node) -> str:
    small = [f'<FONT POINT-SIZE="9">{_html(note)}</FONT>' for note in node.notes if note]
    name = [f"<B>{_html(node.name)}</B>"] if node.name else []
    sign = [f'<FONT POINT-SIZE="14">{_html(node.sign)}</FONT>'] if node.sign else []
    return f"<{'<BR/>'.join(name + sign + small) or ' '}>"


def _html(text: str) -> str:
    """The text as graphviz's HTML-like labels write it."""
    return escape(printable(text)).replace("\\", "\\\\")
