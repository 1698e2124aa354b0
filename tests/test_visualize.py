"""visualize/: what stands in a picture, how large graphs are made small, and files."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html import unescape
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import OPS, Tensor, cos, exp, grad, nn, relu, sigmoid, sin, tanh, unary, visualize, where
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.visualize.picture import RAMP
from tinygrad_mnist.visualize.render import rendered

from .helpers import named

DOTTED = r"(n\d+) -> (n\d+) \[[^\]]*style=dotted[^\]]*\]"
ELEMENTWISE = [name for name, op in OPS.items() if op.domain and op.differentiable]


class Picture:
    """The DOT text, taken apart."""

    def __init__(self, picture):
        self.source = picture.source
        self.labels, self.attributes, self.frames = {}, {}, {}
        self.edges, self.legend = [], ""
        self.places: list[list[str]] = []
        for line in self.source.splitlines():
            if match := re.fullmatch(r"\s*(n\d+) \[label=<(.*)>((?: \w+=(?:\"(?:[^\"\\]|\\.)*\"|\w+))*)\]", line):
                key, label, rest = match.groups()
                self.labels[key] = [unescape(re.sub("<[^>]*>", "", part)) for part in label.split("<BR/>")]
                self.attributes[key] = {
                    k: v.strip('"') for k, v in re.findall(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|\w+)", rest)
                }
                self.frames[key] = [place[0] for place in self.places if place]
            elif match := re.fullmatch(r"\s*(n\d+) -> (n\d+)(?: \[(.*)\])?", line):
                self.edges.append(match.groups(""))
            elif line.strip().startswith(("subgraph", "digraph", "{")):
                self.places.append([])
            elif line.strip() == "}":
                self.places.pop()
            elif len(self.places) == 1 and "label=" in line:
                self.legend = line
            elif match := re.search(r"label=<(.*?)>(?: |\])", line):
                self.places[-1].append(unescape(match[1]))
        assert self.places == []

    def called(self, text):
        """The key of the one node with this line in its label."""
        (key,) = (key for key, lines in self.labels.items() if text in lines)
        return key

    def pairs(self):
        """The arrows as pairs of the first lines of the labels."""
        return sorted((self.labels[a][0], self.labels[b][0]) for a, b, *_ in self.edges)


def rng():
    return np.random.default_rng(0)


def toy():
    a, b, c = named(2.0, "a"), named(-1.0, "b"), named(0.5, "c")
    y = sigmoid(a * b + c)
    y.name = "y"
    return y


class Network(nn.Module):
    def __init__(self, sizes=(784, 30, 10)):
        self.hidden = nn.Linear(*sizes[:2], rng=rng())
        self.output = nn.Linear(*sizes[1:], rng=rng())

    def forward(self, x):
        return sigmoid(self.output(sigmoid(self.hidden(x))))


def step(sizes=(784, 30, 10)):
    network = Network(sizes)
    x, y = named(np.ones((10, sizes[0]), np.float32), "x", False), named(np.zeros((10, sizes[2])), "y", False)
    with visualize.trace():
        cost = quadratic_cost(network(x), y.astype(np.float32))
    cost.name = "C"
    return network, cost


def deep(layers=8, size=5):
    modules = [m for _ in range(layers) for m in (nn.Linear(size, size, rng=rng()), nn.Sigmoid())]
    with visualize.trace():
        return quadratic_cost(nn.Sequential(*modules)(np.ones((2, size))), np.zeros((2, size)))


# --- nodes and arrows ---


def test_every_tensor_and_number_is_a_node_and_every_use_an_arrow():
    w = named([1.0, 2.0], "w")
    picture = Picture(visualize.graph((w * w + 3).sum()))
    assert picture.pairs() == [("+", "Σ"), ("3", "+"), ("w", "×"), ("w", "×"), ("×", "+")]
    assert [picture.attributes[picture.called(name)]["shape"] for name in "w×3"] == ["box", "ellipse", "plain"]


def test_kinds_differ_in_shape_and_show_shape_and_dtype():
    cost = quadratic_cost(nn.Linear(3, 2, rng=rng())(named(np.ones((4, 3)), "x", False)), np.zeros((4, 2)))
    picture = Picture(visualize.graph(cost))
    assert picture.labels[picture.called("x")] == ["x", "input 4×3 float64"]
    assert picture.labels[picture.called("weight")] == ["weight", "parameter 3×2 float32"]
    assert picture.labels[picture.called("1/n Σ ½(a−y)²")] == ["1/n Σ ½(a−y)²", "quadratic_cost scalar"]
    looks = {(a["shape"], a["fillcolor"], a.get("style")) for a in picture.attributes.values()}
    assert len(looks) == 3


def test_the_same_graph_gives_the_same_text_and_so_does_the_same_graph_made_anew():
    _, cost = step()
    for options in ({}, {"gradients": True}, {"backward": True, "shapes": True}, {"collapse": 1}):
        assert visualize.graph(cost, **options).source == visualize.graph(cost, **options).source
        assert visualize.graph(cost, **options).source == visualize.graph(step()[1], **options).source


def test_no_nodes_are_merged_when_objects_were_freed_and_their_ids_used_again():
    texts = set()
    for _ in range(50):
        t = named([1.0], "t")
        for _ in range(20):
            t = t * 2 + Tensor([3.0])
        texts.add(visualize.graph(t).source)
        del t  # frees the graph at once, as there are no cycles in it
    (text,) = texts
    assert len(re.findall(r"^\s*n\d+ \[", text, re.M)) == 1 + 20 * 4


HOSTILE = [
    '"',
    "\\",
    "\\N",
    "a\nb",
    "<b>bold</b>",
    "]]>",
    "&amp;",
    "<>",
    "tab\t\x00\x1b",
    "日本 β",
    "\ud800",
    "%s {0}",
    " ",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("program", ["dot", "graphviz-pure"])
def test_hostile_names_are_shown_as_they_are(name, program, tmp_path, monkeypatch):
    if program == "graphviz-pure":
        monkeypatch.setenv("PATH", str(tmp_path))
    w = named([1.0], name)
    file = visualize.save(visualize.graph((w * w).sum()), tmp_path / "w.svg")
    texts = ["".join(t.itertext()) for t in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]
    assert "".join(c if c.isprintable() else repr(c)[1:-1] for c in name).strip() in [t.strip() for t in texts]


def test_long_names_are_cut_and_equal_names_told_apart():
    w, v = named([1.0], "w" * 1000), named([1.0], "w" * 1000)
    picture = Picture(visualize.graph(w * v))
    assert all(len(labels[0]) < 110 for labels in picture.labels.values())
    assert len({labels[0] for labels in picture.labels.values()}) == 3


def test_operands_whose_order_matters_come_from_the_left_and_the_right():
    a, b = named([1.0], "a"), named([2.0], "b")
    picture = Picture(visualize.graph(a - b))
    sides = [(picture.labels[x][0], re.findall(r"headport=(\w+)", more)) for x, _, more in picture.edges]
    assert sides == [("a", ["nw"]), ("b", ["ne"])]


def test_shapes_stand_on_the_arrows_and_values_in_the_nodes():
    x = named([[1.0, 2.0, 3.0]], "x")
    picture = Picture(visualize.graph(x.sum(axis=1), shapes=True, values=True))
    assert picture.edges[0][2].startswith('label=" 1×3" ')
    assert "= [[1, 2, 3]]" in picture.labels[picture.called("x")]
    assert "sum axis=1 (1,)" in picture.labels[picture.called("Σ")]
    assert "= [6]" in picture.labels[picture.called("Σ")]


def test_several_outputs_and_a_leaf_can_be_drawn():
    w = named([1.0], "w")
    assert Picture(visualize.graph(w * 2, exp(w))).pairs() == [("2", "×"), ("w", "exp"), ("w", "×")]
    assert list(Picture(visualize.graph(w)).labels.values()) == [["w", "parameter (1,) float32"]]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_elementwise_op_can_be_drawn_with_both_passes(name):
    op = OPS[name]
    inputs = [named(np.full((2, 3), 0.6 + i / 10 + (name == "arccosh")), f"i{i}") for i in range(len(op.domain or ()))]
    parameters = {k: v if isinstance(v, int | float) else np.float64 for k, v in op.defaults.items()}
    y = op.function(*inputs, **parameters).sum()
    picture = Picture(visualize.graph(y, backward=True, gradients=True, values=True))
    assert len(picture.labels) == len(inputs) + 2 + sum(t.requires_grad for t in [*inputs, *y.inputs, y])


# --- Modules ---


def test_parameters_have_their_names_and_modules_their_frames():
    _, cost = step()
    picture = Picture(visualize.graph(cost))
    assert picture.frames[picture.called("hidden.weight")] == ["Network", "hidden: Linear"]
    assert picture.frames[picture.called("linear 10×10")] == ["Network", "output: Linear"]
    assert picture.frames[picture.called("sigmoid 10×30")] == ["Network"]
    assert picture.frames[picture.called("x")] == picture.frames[picture.called("C")] == []


def test_without_trace_names_come_from_the_model_alone():
    network = Network()
    picture = Picture(visualize.graph(network(np.ones((2, 784), np.float32)).sum(), model=network))
    assert "hidden.weight" in [lines[0] for lines in picture.labels.values()]
    assert not any(picture.frames.values())


def test_a_module_called_twice_has_two_frames_around_its_parameters():
    class Shared(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(4, 4, rng=rng())

        def forward(self, x):
            return self.layer(self.layer(x))

    with visualize.trace():
        y = Shared()(np.ones((2, 4))).sum()
    picture = Picture(visualize.graph(y))
    assert picture.source.count("layer: Linear") == 2
    assert picture.frames[picture.called("layer.weight")] == ["Shared"]
    collapsed = Picture(visualize.graph(y, collapse=1))
    assert collapsed.pairs().count(("layer.weight", "layer")) == 2
    assert ("layer", "layer") in collapsed.pairs()


def test_modules_collapse_by_depth_and_by_name():
    _, cost = step()
    whole = Picture(visualize.graph(cost, collapse=0))
    assert ("x", "Network") in whole.pairs()
    assert "4 ops, 23,860 parameters" in whole.labels[whole.called("Network")]
    layers = Picture(visualize.graph(cost, collapse=1))
    assert ("x", "hidden") in layers.pairs()
    assert layers.labels[layers.called("hidden")] == ["hidden", "Linear", "output 10×30", "23,550 parameters"]
    for names in ("hidden", ["hidden"]):
        one = Picture(visualize.graph(cost, collapse=names))
        assert one.called("hidden")
        assert one.called("output.weight")


def test_operands_used_twice_stay_when_modules_collapse():
    _, cost = step()
    picture = Picture(visualize.graph(cost - cost, collapse=1))
    assert re.findall(r"headport=(\w+)", picture.source) == ["nw", "ne"]


def test_layers_that_repeat_are_drawn_once():
    picture = Picture(visualize.graph(deep(8), collapse=1))
    assert picture.frames[picture.called("layers.0")] == ["Sequential", "× 8: layers.0 … layers.14"]
    assert picture.pairs() == [
        ("input 2×5 float64", "1/n Σ ½(a−y)²"),
        ("input 2×5 float64", "layers.0"),
        ("layers.0", "layers.1"),
        ("layers.1", "1/n Σ ½(a−y)²"),
    ]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_only_layers_that_repeat_three_times_are_drawn_once(times):
    picture = Picture(visualize.graph(deep(times), collapse=1))
    drawn = [label[0] for label in picture.labels.values() if label[0].startswith("layers.")]
    assert drawn == (["layers.0", "layers.1"] if times > 2 else [f"layers.{i}" for i in range(2 * times)])
    frames = [text for text in picture.frames[picture.called("layers.0")] if "×" in text]
    assert frames == ["× 3: layers.0 … layers.4"] * (times > 2)


@pytest.mark.parametrize(
    ("chain", "drawn"),
    [
        ("eetses", "eetses"),  # twice is not often, also where more follows
        ("eetetetss", "e3(et)ss"),  # and does not hide what begins inside of it
        ("eeetseeetstests", "3(e)ts3(e)tstests"),  # nor does a longer part that comes twice
        ("etetete", "3(et)e"),
        ("ssssss", "6(s)"),
    ],
)
def test_what_repeats_in_a_row_is_drawn_once_if_it_does_so_three_times(chain, drawn):
    x = cos(named(np.ones(3), "x"))
    for letter in chain:
        x = {"e": exp, "t": tanh, "s": sin}[letter](x)
    picture = Picture(visualize.graph(x, collapse=0))
    found, within = "", ""
    for node in list(picture.labels)[2:]:
        times = "".join(text.removeprefix("× ") for text in picture.frames[node])
        found += ")" * (within not in ("", times)) + f"{times}(" * (times not in ("", within))
        found, within = found + picture.labels[node][0][0], times
    assert found + ")" * bool(within) == drawn


def test_a_loop_without_modules_is_rolled_up_too_and_what_differs_is_not():
    x = exp(named(np.ones(3), "x"))
    for i in range(200):
        x = tanh(x * named(np.ones(3), f"w{i}") + 1)
    x = x * 5
    picture = Picture(visualize.graph(x, limit=20))
    assert picture.frames[picture.called("tanh")] == ["× 200"]
    assert picture.frames[picture.called("w0")] == ["× 200"]
    assert len(picture.labels) == 2 + 5 + 2
    assert len(Picture(visualize.graph(x, limit=2000)).labels) == 2 + 200 * 5 + 2


def test_a_large_graph_is_collapsed_as_far_as_needed():
    cost = deep(100)
    assert Picture(visualize.graph(cost)).frames["n1"][:1] == ["Sequential"]
    assert len(Picture(visualize.graph(cost)).labels) < 10


def test_a_graph_that_stays_too_large_is_refused_with_the_count_and_the_remedy():
    a = named([1.0], "a")
    t = a
    for _ in range(200):
        t = t * a
    with pytest.raises(ValueError, match=r"^graph: 201 nodes are too many .*limit=150.; .*trace\(\).* a higher limit$"):
        visualize.graph(t, limit=150)
    with pytest.raises(ValueError, match=r"^graph: 402 nodes .*trace\(\).* a higher limit$"):
        visualize.graph(t, backward=True)
    assert len(Picture(visualize.graph(t)).labels) == 201


# --- gradients ---


def test_gradients_of_every_node_are_computed_and_nothing_of_the_users_is_touched():
    network, cost = step()
    kinds: Any = ({"gradients": True}, {"backward": True}, {"backward": True, "gradients": True})
    for options in kinds:
        picture = Picture(visualize.graph(cost, **options))
        assert all(p.grad is None for p in network.parameters())
    assert sum("‖∂‖" in line for lines in picture.labels.values() for line in lines) == 4 + 5
    cost.backward()
    assert all(p.grad is not None for p in network.parameters())
    with pytest.raises(RuntimeError, match="freed by a backward pass; look at it before, or pass retain_graph=True"):
        visualize.graph(cost)


def test_vanishing_gradients_are_seen_in_the_colours():
    picture = Picture(visualize.graph(deep(8), gradients=True))
    colors = [picture.attributes[picture.called(f"layers.{i}.weight")]["fillcolor"] for i in range(0, 16, 2)]
    ranks = [RAMP.index(color) for color in colors]
    assert ranks == sorted(ranks)
    assert ranks[0] <= 2
    assert ranks[-1] > 6
    assert "1e-" in picture.legend
    assert all(color in picture.legend for color in RAMP)


def test_gradients_that_are_zero_infinite_or_missing_are_marked():
    w, v = named([1.0], "w"), named([0.0], "v")
    with np.errstate(divide="ignore"):
        picture = Picture(visualize.graph((w * 0 + v.sqrt() + Tensor([2.0], name="x")).sum(), gradients=True))
    assert "dashed" in picture.attributes[picture.called("w")]["style"]
    assert picture.attributes[picture.called("v")]["fillcolor"] == "#d55e00"
    assert picture.attributes[picture.called("x")]["fillcolor"] == "#ffffff"
    assert "dashed: 0" in picture.legend
    assert "orange: not finite" in picture.legend


def test_what_is_orange_is_told_also_if_it_is_no_number():
    with np.errstate(divide="ignore", invalid="ignore"):
        picture = Picture(visualize.graph((named([0.0], "v").sqrt() * 0).sum(), gradients=True))
    assert picture.attributes[picture.called("v")]["fillcolor"] == "#d55e00"
    assert "nan" in " ".join(picture.labels[picture.called("v")])
    assert "orange: not finite" in picture.legend


def test_the_chain_rule_with_numbers():
    picture = Picture(visualize.graph(toy(), gradients=True, values=True))
    assert picture.labels[picture.called("b")] == ["b", "parameter scalar float32", "= -1", "∂ = 0.2983"]
    assert picture.labels[picture.called("v2")] == ["v2", "+", "= v1 + c", "scalar", "= -1.5", "∂ = 0.1491"]


def test_the_backward_pass_stands_beside_the_forward_pass():
    picture = Picture(visualize.graph(toy(), backward=True, values=True))
    assert picture.labels[picture.called("∂y/∂a")] == ["∂y/∂a", "= ∂y/∂v1 * b", "= -0.1491", "scalar"]
    assert picture.labels[picture.called("∂y/∂v2")][1] == "= ∂y/∂y * (y * (1 - y))"
    assert picture.labels[picture.called("∂y/∂y")] == ["∂y/∂y", "= 1", "scalar"]
    beside = {(picture.labels[a][0], picture.labels[b][0]) for a, b, more in picture.edges if "dotted" in more}
    assert beside == {(name, f"∂y/∂{name}") for name in ["a", "b", "c", "v1", "v2", "y"]}
    assert picture.source.count("rank=same") == 6
    needed = {(picture.labels[a][0], picture.labels[b][0]) for a, b, more in picture.edges if "dashed" in more}
    assert needed == {("a", "∂y/∂b"), ("b", "∂y/∂a"), ("y", "∂y/∂v2")}


def test_masks_and_transposed_data_are_in_the_formulas_of_the_backward_pass():
    network = nn.Linear(3, 2, rng=rng())
    x = named(np.ones((4, 3), np.float32), "x", False)
    z = network(x)
    z.name = "z"
    y = relu(z).sum()
    y.name = "y"
    picture = Picture(visualize.graph(y, model=network, backward=True))
    assert picture.labels[picture.called("∂y/∂weight")][1] == "= x.T @ ∂y/∂z"
    assert picture.labels[picture.called("∂y/∂z")][1] == "= where(z <= 0, 0, ∂y/∂v1)"


def test_a_second_derivative_can_be_drawn():
    w = named([1.0, 2.0], "w")
    slope = grad((w**3).sum(), w, create_graph=True)
    curvature = grad(slope.sum(), w, create_graph=True)
    curvature.name = "f''"
    picture = Picture(visualize.graph(curvature))
    assert picture.attributes[picture.called("w")]["shape"] == "box"
    assert len([x for x, *_ in picture.edges if x == picture.called("w")]) == 1
    assert picture.called("f''")


@pytest.mark.parametrize("options", [{"gradients": True}, {"backward": True}])
def test_gradients_of_what_is_not_one_number_are_refused(options):
    w = named([1.0, 2.0], "w")
    for outputs in ((w,), (w.sum(), w.sum()), (Tensor(1.0),)):
        with pytest.raises(ValueError, match=r"^graph: gradients need one output, a number that requires them"):
            visualize.graph(*outputs, **options)


def test_what_is_not_a_tensor_is_refused():
    for outputs in ((), (3,), (np.ones(2),)):
        with pytest.raises(TypeError, match="expected one or more Tensors"):
            visualize.graph(*outputs)


# --- files ---


@pytest.fixture
def no_dot(tmp_path, monkeypatch):
    """A PATH without any program."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    return empty


@pytest.fixture
def no_program(no_dot, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(no_dot))


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG\r\n"), ("SVG", b"<?xml")])
def test_pictures_are_drawn_with_and_without_the_systems_dot(suffix, start, tmp_path, monkeypatch):
    _, cost = step()
    picture = visualize.graph(cost, gradients=True)
    for path in (os.environ["PATH"], str(tmp_path)):
        monkeypatch.setenv("PATH", path)
        file = visualize.save(picture, tmp_path / f"net.{suffix}")
        assert file == tmp_path / f"net.{suffix}"
        assert file.read_bytes().startswith(start)
        assert len(file.read_bytes()) > 2000
        assert os.listdir(tmp_path) == [file.name]
        file.unlink()


@pytest.mark.parametrize("suffix", ["dot", "gv"])
def test_dot_text_needs_no_program(suffix, tmp_path, no_program):
    picture = visualize.graph(toy())
    file = visualize.save(picture, str(tmp_path / f"net.{suffix}"))
    assert file.read_text(encoding="utf-8") == picture.source


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_what_nothing_can_draw_is_refused_with_the_remedy_and_its_text_is_kept(suffix, tmp_path, no_program, capsys):
    with pytest.raises(RuntimeError) as error:
        visualize.save(visualize.graph(toy()), tmp_path / f"net.{suffix}")
    assert re.fullmatch(
        r"save: \S+net.\w+ is not drawn: no dot program was found; install Graphviz \(graphviz.org\), or pip install "
        r"graphviz-pure, for SVG and PNG; its DOT text is in \S+net.gv",
        str(error.value),
    )
    assert (tmp_path / "net.gv").read_text(encoding="utf-8").startswith("digraph")
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / f"net.{suffix}").exists()


def test_a_program_that_fails_gives_way_to_the_next(tmp_path, no_dot, monkeypatch):
    program = no_dot / "dot"
    program.write_text('#!/bin/sh\necho "Format: not recognized" >&2\nexit 1\n')
    program.chmod(0o755)
    assert visualize.save(visualize.graph(toy()), tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(no_dot))
    with pytest.raises(RuntimeError, match=r"did not draw it as png \(Format: not recognized\)"):
        visualize.save(visualize.graph(toy()), tmp_path / "net.png")


def titles(picture, tmp_path):
    """What the mouse shows: of every node and arrow of the SVG, as text."""
    root = ElementTree.parse(visualize.save(picture, tmp_path / "tips.svg")).getroot()
    svg, link = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}title"
    found: dict[str, list[str]] = {}
    for group in root.iter(f"{svg}g"):
        title = group.find(f"{svg}title")
        if title is not None:
            linked = group.find(f"./{svg}g/{svg}a")
            assert linked is not None
            assert linked.get(link) == title.text
            found.setdefault(group.get("class", ""), []).append(title.text or "")
    assert root.find(f"./{svg}g/{svg}title") is None
    return found


@pytest.mark.parametrize("options", [{}, {"backward": True}, {"gradients": True, "shapes": True}])
def test_the_mouse_shows_formula_shape_and_line_of_every_node(options, tmp_path):
    w, x = named([[1.0, 2.0]], "w"), Tensor([[3.0], [4.0]], name='"x" & <y> \\n')
    with visualize.trace():
        y = sigmoid(w @ x)  # a "line" & <its>
        loss = (y - 1).sum()
    loss.name = "C"
    found = titles(visualize.graph(loss, **options), tmp_path)
    assert not any(re.fullmatch(r"n\d+(->n\d+)?|cluster_\d+", title) for kind in found.values() for title in kind)
    assert "w: parameter 1×2 float32\n= [[1, 2]]" in found["node"]
    assert '"x" & <y> \\n: input 2×1 float32\n= [[3], [4]]' in found["node"]
    line = r'test_visualize.py:\d+: y = sigmoid\(w @ x\) # a "line" & <its>'
    assert any(re.fullmatch(rf"v2 = sigmoid\(v1\)\nsigmoid: 1×1 float32\n{line}", title) for title in found["node"])
    if "backward" in options:
        assert any(
            re.fullmatch(rf"∂C/∂v1 = .* \* \(v2 \* \(1 - v2\)\)\ngradient of v1: 1×1 float32\n{line}", title)
            for title in found["node"]
        )
    assert "w → v1" in found["edge"]


def test_frames_and_folded_modules_have_tooltips_too(tmp_path):
    _, cost = step()
    kinds: Any = (({}, "cluster"), ({"collapse": 0}, "node"))
    for options, kind in kinds:
        found = titles(visualize.graph(cost, **options), tmp_path)
        assert any("Network" in title or "Sequential" in title or "Linear" in title for title in found[kind])


def test_without_a_trace_no_line_is_looked_for(tmp_path):
    w = named(2.0, "w")
    found = titles(visualize.graph(w * w), tmp_path)
    assert found["node"] == ["w: parameter scalar float32\n= 2", "v1 = w * w\nmul: scalar float32"]


@pytest.mark.parametrize("name", ["net", "net.jpg", "net.svg.gz", ".svg"])
def test_unknown_suffixes_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"^save: expected a file name that ends in \.svg, .*, got '.*'$"):
        visualize.save(visualize.graph(toy()), tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_are_named_and_nothing_is_left(tmp_path):
    picture = visualize.graph(toy())
    (tmp_path / "file").write_text("")
    (tmp_path / "net.dot").mkdir()
    for place in ("missing/net.dot", "file/net.dot", "net.dot"):
        with pytest.raises(OSError, match=r"^save: cannot write .*net\.dot: .*; choose another place$"):
            visualize.save(picture, tmp_path / place)
    assert sorted(os.listdir(tmp_path)) == ["file", "net.dot"]


def test_what_is_no_picture_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"save: expected a picture, as graph\(t\) makes one, got a Tensor$"):
        visualize.save(toy(), tmp_path / "net.svg")
    assert not any(tmp_path.iterdir())


def test_a_picture_shows_itself_in_jupyter(no_dot):
    assert visualize.graph(toy())._repr_mimebundle_()["image/svg+xml"].startswith("<?xml")


def test_without_any_program_jupyter_shows_the_text_and_the_remedy(no_program):
    text = visualize.graph(toy())._repr_mimebundle_()["text/plain"]
    assert text.startswith("digraph")
    assert "pip install graphviz-pure" in text


def test_nothing_of_graphviz_is_imported_before_a_picture_is_made():
    code = "import sys; from tinygrad_mnist import visualize; print('graphviz' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_graphviz_reads_every_kind_of_picture_without_a_warning(tmp_path):
    _, cost = step()
    both = {"backward": True, "gradients": True, "shapes": True, "values": True}
    kinds: Any = ({}, {"collapse": 1}, {"gradients": True}, {"backward": True}, both)
    for options in kinds:
        source = visualize.graph(cost, **options).source
        read = json.loads(rendered(source, "json"))
        assert len([o for o in read["objects"] if "shape" in o]) == len(
            Picture(visualize.graph(cost, **options)).labels
        )


def test_an_op_of_the_users_own_is_drawn():
    cube = unary("cube", lambda x: x**3, lambda g, out, x: g * 3 * x**2, sign="x³")
    try:
        w = named(2.0, "w")
        picture = Picture(visualize.graph(cube(w), backward=True))
        assert picture.labels[picture.called("x³")][-1] == "cube scalar"
        assert picture.labels[picture.called("∂v1/∂w")][1] == "= ∂v1/∂v1 * 3 * w ** 2"
    finally:
        del OPS["cube"]


class Layered(nn.Module):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.hidden, self.output = nn.Linear(3, 2, rng=rng), nn.Linear(2, 1, rng=rng)

    def forward(self, x):
        return sigmoid(self.output(sigmoid(self.hidden(x))))


def traced_cost():
    with visualize.trace():
        cost = quadratic_cost(Layered()(named(np.ones((1, 3)), "x")), named(np.ones((1, 1)), "y"))
    cost.name = "C"
    return cost


def test_gradients_stand_in_the_frame_of_the_module_of_their_value():
    source = visualize.graph(traced_cost(), backward=True).source
    frame = source[source.index("hidden: Linear") : source.index("output: Linear")]
    for name in ("hidden.weight", "hidden.bias", "∂C/∂hidden.weight", "∂C/∂hidden.bias", "∂C/∂v1"):
        assert f"<B>{name}</B>" in frame
    assert "∂C/∂output" not in frame


def test_a_backward_picture_collapses_by_module_with_the_gradients_beside():
    source = visualize.graph(traced_cost(), backward=True, collapse=1).source
    assert "<B>∂ hidden</B><BR/>" in source
    assert len(re.findall(">3 gradients<", source)) == 2
    assert "<B>hidden.weight</B>" not in source
    keys = dict(re.findall(r"(n\d+) \[label=<<B>([^<]*)</B>", source))
    pairs = {
        (keys.get(a), keys.get(b)) for a, b in re.findall(r"(n\d+) -> (n\d+) \[[^\]]*style=dotted[^\]]*\]", source)
    }
    assert {("hidden", "∂ hidden"), ("output", "∂ output")} <= pairs


def test_a_large_backward_picture_is_collapsed_as_far_as_needed():
    rng = np.random.default_rng(0)
    deep = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2, rng=rng), sigmoid) for _ in range(50)))
    with visualize.trace():
        cost = deep(named(np.ones((1, 2)), "x")).sum()
    nodes = re.findall(r"^\s*n\d+ \[label", visualize.graph(cost, backward=True, limit=250).source, re.MULTILINE)
    assert 100 < len(nodes) <= 250


def test_arrows_of_the_backward_pass_lead_from_later_values_to_earlier_ones():
    """Drawn from the earlier value's gradient with `dir=back`, so that the picture keeps its order."""
    x = Tensor(0.5, requires_grad=True)
    source = visualize.graph(x.exp().sigmoid(), backward=True).source
    value_of = {gradient: int(value) for value, gradient in re.findall(r"n(\d+) -> n(\d+) \[.*style=dotted", source)}
    arrows = re.findall(r"n(\d+) -> n(\d+) \[.*dir=back", source)
    chain = [(a, b) for a, b in arrows if a in value_of and b in value_of]
    assert len(chain) >= 2
    assert all(value_of[a] < value_of[b] for a, b in chain)


def test_where_takes_its_condition_from_the_left_and_what_it_chooses_in_order():
    condition, a, b = (Tensor(np.ones(2), requires_grad=True, name=name) for name in "cab")
    source = visualize.graph(where(condition > 0, a, b).sum()).source
    label = dict(re.findall(r"n(\d+) \[label=<<B>(\w+)</B>", source))
    ends = re.findall(r"n(\d+) -> n\d+ \[.*?headport=(\w+)", source)
    assert [port for name, port in ends if label.get(name) == "a"] == ["n"]
    assert [port for name, port in ends if label.get(name) == "b"] == ["ne"]
