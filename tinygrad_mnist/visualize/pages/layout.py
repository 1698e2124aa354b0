"""Where the nodes of a graph stand: layer below layer, with parameters beside the op that uses them.

The usual way (Sugiyama, Tagawa and Toda, 1981): each node a layer below its inputs; within a layer in the order of the
neighbours' mean places, to have few crossings; and as near below them as the order allows. Deterministic, and no
program is needed for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tinygrad_mnist.visualize.nodes import Frame, Node, users_of

WIDTH, HEIGHT = 124.0, 50.0
"""Of a node, in CSS pixels."""

_SIDE, _BETWEEN, _ROW, _LAYER, _MARGIN = 26.0, 22.0, 8.0, 38.0, 18.0
_SWEEPS = 6


class Box(NamedTuple):
    """A rectangle: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Arrow(NamedTuple):
    """An arrow from an input to the node that uses it, as its input `position`: an SVG path."""

    source: Node
    target: Node
    position: int
    path: str


@dataclass
class Layout:
    """Boxes of nodes and frames, arrows, and the size of the whole."""

    boxes: dict[Node, Box] = field(default_factory=dict)
    frames: list[tuple[Frame, Box]] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


@dataclass(eq=False)
class _Block:
    """A node with those beside it; or, without a node, where a long arrow passes a layer."""

    node: Node | None
    beside: list[Node] = field(default_factory=list)
    above: list[_Block] = field(default_factory=list)
    below: list[_Block] = field(default_factory=list)
    layer: int = 0
    x: float = 0.0  # of the middle of the node itself

    @property
    def left(self) -> float:
        return WIDTH / 2 if self.node else 8.0

    @property
    def right(self) -> float:
        return self.left + (_SIDE + WIDTH if self.beside else 0.0)

    @property
    def height(self) -> float:
        return max(HEIGHT, len(self.beside) * (HEIGHT + _ROW) - _ROW)


def layout(nodes: Sequence[Node]) -> Layout:
    """Place the nodes of a graph."""
    users = users_of(nodes)
    beside = _beside(nodes, users)
    satellites = {x for group in beside.values() for x in group}
    blocks = {node: _Block(node, beside.get(node, [])) for node in nodes if node not in satellites}
    _layers(nodes, blocks, users)
    rows, ways = _rows(nodes, blocks)
    _order(rows)
    _columns(rows)
    return _drawn(nodes, blocks, rows, ways)


def _beside(nodes: Sequence[Node], users: dict[Node, list[Node]]) -> dict[Node, list[Node]]:
    """For each node the inputs that stand beside it: leaves that nothing else uses, if something else comes from above.

    Where all inputs are such leaves, the data come from above, or if there are none, all of them.
    """
    found = {}
    for node in nodes:
        inputs = list(dict.fromkeys(x for x, _ in node.inputs))
        own = [x for x in inputs if not x.inputs and len(set(users[x])) == 1]
        if len(own) == len(inputs):
            own = [x for x in own if x.kind != "input"]
        if own and len(own) < len(inputs):
            found[node] = own
    return found


def _layers(nodes: Sequence[Node], blocks: dict[Node, _Block], users: dict[Node, list[Node]]) -> None:
    """Every node below its inputs, and leaves right above the first that uses them."""
    missing = {node: len({x for x, _ in node.inputs if x in blocks}) for node in blocks}
    ready = [node for node in blocks if not missing[node]]
    for node in ready:
        for user in dict.fromkeys(users.get(node, ())):
            blocks[user].layer = max(blocks[user].layer, blocks[node].layer + 1)
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    for node, block in blocks.items():
        if not node.inputs and users.get(node):
            block.layer = max(0, min(blocks[user].layer for user in users[node]) - 1)


def _rows(
    nodes: Sequence[Node], blocks: dict[Node, _Block]
) -> tuple[list[list[_Block]], dict[tuple[Node, int], list[_Block]]]:
    """The layers; and for each arrow the blocks that it passes, with a bend in every layer between."""
    rows: list[list[_Block]] = [[] for _ in range(1 + max(block.layer for block in blocks.values()))]
    for block in blocks.values():
        rows[block.layer].append(block)
    ways = {}
    for node in nodes:
        for position, (x, _) in enumerate(node.inputs):
            if x in blocks and node in blocks:
                way = [blocks[x]]
                for layer in range(blocks[x].layer + 1, blocks[node].layer):
                    bend = _Block(None, layer=layer)
                    rows[layer].append(bend)
                    way.append(bend)
                way.append(blocks[node])
                for one, other in itertools.pairwise(way):
                    one.below.append(other)
                    other.above.append(one)
                ways[node, position] = way
    return rows, ways


def _order(rows: list[list[_Block]]) -> None:
    """Few crossings: by the mean place of the neighbours in the layer before, downwards and upwards in turn."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows[1:] if down else rows[-2::-1]:
            place = {block: i for i, block in enumerate(row)}
            key = {}
            for block in row:
                near = block.above if down else block.below
                key[block] = sum(b.x for b in near) / len(near) if near else float(place[block])
            row.sort(key=lambda block: key[block])
            _count(row)
        _count(rows[0])


def _count(row: list[_Block]) -> None:
    for i, block in enumerate(row):
        block.x = float(i)


def _columns(rows: list[list[_Block]]) -> None:
    """As near to the middle of the neighbours as the order allows."""
    for row in rows:
        x = 0.0
        for block in row:
            block.x = x + block.left
            x += block.left + block.right + _BETWEEN
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            wanted = []
            for block in row:
                near = (block.above or block.below) if down else (block.below or block.above)
                wanted.append(sum(b.x for b in near) / len(near) if near else block.x)
            for block, x in zip(row, _apart(row, wanted), strict=True):
                block.x = x


def _apart(row: list[_Block], wanted: list[float]) -> list[float]:
    """The places nearest to those wanted, in this order and without overlap: groups that touch share their mean."""
    offset, offsets = 0.0, [0.0]
    for one, other in itertools.pairwise(row):
        offset += one.right + _BETWEEN + other.left
        offsets.append(offset)
    groups: list[tuple[float, int]] = []  # sum of (wanted - offset), members
    for x, shift in zip(wanted, offsets, strict=True):
        groups.append((x - shift, 1))
        while len(groups) > 1 and groups[-2][0] * groups[-1][1] > groups[-1][0] * groups[-2][1]:
            (total, n), (more, m) = groups[-2:]
            groups[-2:] = [(total + more, n + m)]
    means = [total / n for total, n in groups for _ in range(n)]
    return [mean + shift for mean, shift in zip(means, offsets, strict=True)]


def _drawn(
    nodes: Sequence[Node],
    blocks: dict[Node, _Block],
    rows: list[list[_Block]],
    ways: dict[tuple[Node, int], list[_Block]],
) -> Layout:
    made = Layout()
    left = min(block.x - block.left for row in rows for block in row) - _MARGIN
    middle, spans, y = {}, {}, _MARGIN
    for row in rows:
        height = max(block.height for block in row)
        middle.update(dict.fromkeys(row, y + height / 2))
        spans.update(dict.fromkeys(row, (y, y + height)))
        y += height + _LAYER
    for block in middle:
        block.x -= left
        if block.node is None:
            continue
        made.boxes[block.node] = Box(block.x - WIDTH / 2, middle[block] - HEIGHT / 2, WIDTH, HEIGHT)
        top = middle[block] - (len(block.beside) * (HEIGHT + _ROW) - _ROW) / 2
        for i, x in enumerate(block.beside):
            made.boxes[x] = Box(block.x + WIDTH / 2 + _SIDE, top + i * (HEIGHT + _ROW), WIDTH, HEIGHT)
    for node in nodes:
        for position, (x, _) in enumerate(node.inputs):
            path = _path(made, node, position, x, [(b.x, *spans[b]) for b in ways.get((node, position), ())])
            made.arrows.append(Arrow(x, node, position, path))
    made.width = max(block.x + block.right for block in middle) + _MARGIN
    made.height = y - _LAYER + _MARGIN
    made.frames = _frames(nodes, made.boxes)
    return made


def _path(made: Layout, node: Node, position: int, x: Node, way: list[tuple[float, float, float]]) -> str:
    """The arrow to an input's place on the upper side of a node; from one beside it, to its right side.

    `way` has for each layer where it passes, and where the layer begins and ends. Inside of a layer it goes straight
    down, and bends between layers alone: so it passes through no other node.
    """
    box, source = made.boxes[node], made.boxes[x]
    if not way:
        x0, y0, x1, y1 = source.x, source.y + HEIGHT / 2, box.x + WIDTH, box.y + HEIGHT / 2
        y1 += max(-14.0, min(14.0, (y0 - y1) / 4))
        bend = (x0 + x1) / 2
        return f"M{x0:.0f} {y0:.0f}C{bend:.0f} {y0:.0f} {bend:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    into = [i for i, (other, _) in enumerate(node.inputs) if made.boxes[other].y + HEIGHT <= box.y]
    share = (into.index(position) + 1) / (len(into) + 1) if position in into else 0.5
    last = box.x + WIDTH * share, min(way[-1][1], box.y - 2), box.y - 2
    straight = [(way[0][0], source.y + HEIGHT, way[0][2]), *way[1:-1], last]
    path = f"M{straight[0][0]:.0f} {straight[0][1]:.0f}{_down(*straight[0][1:])}"
    for (x0, _, y0), (x1, y1, y2) in itertools.pairwise(straight):
        bend = (y0 + y1) / 2
        path += f"C{x0:.0f} {bend:.0f} {x1:.0f} {bend:.0f} {x1:.0f} {y1:.0f}{_down(y1, y2)}"
    return path


def _down(start: float, stop: float) -> str:
    """Straight down; nothing where that is no way, as an arrow's head would not know where to point."""
    return f"V{stop:.0f}" if stop - start > 1 else ""


def _frames(nodes: Sequence[Node], boxes: dict[Node, Box]) -> list[tuple[Frame, Box]]:
    """A rectangle around the nodes of each frame, the outer ones first.

    None where it would hold other nodes too, and none around a single one.
    """
    inside: dict[Frame, list[Node]] = {}
    within: dict[Frame, int] = {}  # how many frames there are inside of it, one in the other
    for node in nodes:
        for level, frame in enumerate(node.frames):
            inside.setdefault(frame, []).append(node)
            within[frame] = max(within.get(frame, 0), len(node.frames) - 1 - level)
    found = []
    for frame in sorted(inside, key=lambda frame: -within[frame]):
        own, room, above = [boxes[node] for node in inside[frame]], 6.0 + 4 * within[frame], 6.0 + 13 * within[frame]
        x, y = min(b.x for b in own) - room, min(b.y for b in own) - above
        width = max(b.x + b.width for b in own) + room - x
        height = max(b.y + b.height for b in own) + room - y
        if len(own) == 1:
            continue
        members = set(inside[frame])
        overlaps = any(
            b.x < x + width and x < b.x + b.width and b.y < y + height and y < b.y + b.height
            for node, b in boxes.items()
            if node not in members
        )
        if not overlaps:
            found.append((frame, Box(x, y, width, height)))
    return found
