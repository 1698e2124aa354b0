"""visualize/pages/: the page of a training step, and what it says compared with what Python computes."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import (
    OPS,
    Tensor,
    binary,
    compile,
    concatenate,
    grad,
    mnist,
    nn,
    no_grad,
    optim,
    relu,
    sigmoid,
    unary,
    visualize,
)
from tinygrad_mnist.losses import quadratic_cost, softmax_cross_entropy
from tinygrad_mnist.visualize.nodes import Node
from tinygrad_mnist.visualize.pages import document, events
from tinygrad_mnist.visualize.pages.arrays import DETAILS, described
from tinygrad_mnist.visualize.pages.layout import HEIGHT, WIDTH, layout
from tinygrad_mnist.visualize.pages.making import MOST_BYTES, SCRIPTS
from zoo import pictures
from zoo.custom import Adam, Custom
from zoo.training import Training

from .helpers import named, refused


def told(page: Any) -> Any:
    """What a page tells, taken out of its HTML as a browser would."""

    class Reader(HTMLParser):
        text, inside = "", False

        def handle_starttag(self, tag, attrs):
            self.inside = ("id", "data") in attrs

        def handle_endtag(self, tag):
            self.inside = False

        def handle_data(self, data):
            self.text += data * self.inside

    reader = Reader()
    reader.feed(page.html)
    return json.loads(reader.text)


def numbers(data: Any, index: int) -> Any:
    """A whole array of the page."""
    about = data["arrays"][index]
    return np.array(about["values"].split(), about["dtype"]).reshape(about["shape"])


def item(data: Any, name: str) -> Any:
    (found,) = (one for one in data["items"] if one["name"] == name)
    return found


def words(step: Any) -> str:
    return " ".join([step["title"], formula(step), *step["why"]])


def formula(step: Any) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in step.get("formula", []))


def titled(data: Any, begin: str) -> Any:
    (found,) = (step for step in data["steps"] if step["title"].startswith(begin))
    return found


def cells(row: Any) -> list[np.float32]:
    """The numbers in a row of a table."""
    return [np.float32(cell[0]) for cell in row if isinstance(cell, list)]


def place_of(title: str) -> tuple[int, ...]:
    """Where the number stands that a table is of, as in ∂w[3, 4]."""
    found = re.search(r"\[([\d, ]*)\]", title)
    return tuple(map(int, found[1].split(", "))) if found else ()


def toy() -> Any:
    a, b, c = named(2.0, "a"), named(-1.0, "b"), named(0.5, "c")
    y = sigmoid(a * b + c) * a
    y.name = "y"
    return y, (a, b, c)


def step_of(sizes: tuple[int, ...] = (784, 30, 10), rule: Any = optim.SGD) -> Any:
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        *(part for m, n in itertools.pairwise(sizes) for part in (nn.Linear(m, n, rng=rng), nn.Sigmoid()))
    )
    optimizer = rule(model.parameters(), lr=0.5)
    x, y = (
        named(rng.random((10, sizes[0]), np.float32), "x", False),
        named(np.eye(10, sizes[-1], dtype="f"), "y", False),
    )
    with visualize.trace():
        cost = quadratic_cost(model(x), y)
    cost.name = "C"
    return cost, model, optimizer


# --- the numbers ---


def test_values_and_gradients_are_those_that_python_computes():
    y, leaves = toy()
    data = told(visualize.page(y))
    for t in (y, *leaves):
        assert numbers(data, item(data, t.name)["value"]) == t.data
    for t, g in zip(leaves, grad(y, leaves, retain_graph=True), strict=True):
        assert numbers(data, item(data, t.name)["gradient"]) == g.data
        assert float(item(data, t.name)["rms"]) == abs(g.item())
        assert t.grad is None


class InPlace(optim.SGD):
    """A formula that goes on in the array that it keeps."""

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        velocity = state.setdefault("velocity", 0 * gradient)
        velocity *= 0.5
        velocity += gradient
        return velocity


@pytest.mark.parametrize("rule", [optim.SGD, optim.Momentum, optim.Nesterov, InPlace])
def test_the_update_is_that_of_the_optimizer_to_the_bit_and_nothing_is_changed(rule: Any):
    _, model, optimizer = step_of((6, 4, 3), rule)
    x, y = np.ones((2, 6), "f"), np.ones((2, 3), "f")
    for _ in range(2):  # with a velocity from the first
        cost = quadratic_cost(model(x), y)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    cost = quadratic_cost(model(x), y)
    before = [p.data.copy() for p in model.parameters()]
    kept = {p: {k: v.copy() for k, v in state.items()} for p, state in optimizer.state.items()}
    data = told(visualize.page(cost, model=model, optimizer=optimizer))
    assert all(np.array_equal(p.data, was) for p, was in zip(model.parameters(), before, strict=True))
    for p, state in kept.items():
        assert all(np.array_equal(optimizer.state[p][name], array) for name, array in state.items())
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    updates = {step["item"]: step for step in data["steps"] if step["phase"] == "update"}
    assert len(updates) == 4
    for name, p in model.named_parameters():
        step = updates[data["items"].index(item(data, name))]
        assert np.array_equal(numbers(data, step["cards"][-1]["array"]), p.data)
        assert f"{name} ← {name} - " in formula(step)
        assert p.grad is not None
        assert np.array_equal(numbers(data, item(data, name)["gradient"]), p.grad.data)
    again = quadratic_cost(model(x), y)
    assert numbers(data, titled(data, "The next step")["cards"][1]["array"]) == again.data


def test_a_float32_is_written_with_the_digits_that_tell_it_from_all_others():
    x = np.array([0.1, 1 / 3, 1e-42, np.inf, -np.inf, np.nan], "f")
    about = described(x, DETAILS[0])
    assert about["values"].split()[:2] == ["0.1", "0.33333334"]
    np.testing.assert_array_equal(np.array(about["values"].split(), "f"), x)


def test_large_arrays_have_a_picture_and_the_part_around_the_largest():
    x = np.zeros((784, 30), "f")
    x[300, 20] = -2.5
    about = described(x, DETAILS[0])
    assert "values" not in about
    assert about["image"]["png"].startswith("data:image/png;base64,")
    assert about["image"]["note"] == "30 columns, 28×28"
    part = about["part"]
    assert part["values"].split()[(300 - part["row"]) * part["columns"] + 20 - part["column"]] == "-2.5"
    assert (about["min"], about["max"], about["rms"]) == ("-2.5", "0.0", repr(2.5 / (784 * 30) ** 0.5))


# --- the steps ---


def test_forward_in_order_then_zero_grad_then_gradients_youngest_first_then_the_update():
    data = told(visualize.page(toy()[0]))
    assert list(dict.fromkeys(step["phase"] for step in data["steps"])) == [
        "given", "forward", "clear", "backward", "update", "next",
    ]  # fmt: skip
    assert [formula(s) for s in data["steps"] if s["phase"] == "forward"] == [
        "v1 = a * b", "v2 = v1 + c", "v3 = sigmoid(v2)", "y = v3 * a",
    ]  # fmt: skip
    assert [formula(s) for s in data["steps"] if "gradient" in s] == [
        "∂y = 1", "∂v3 = ∂y * a", "∂a = ∂y * v3", "∂v2 = ∂v3 * (v3 * (1 - v3))", "∂v1 = ∂v2", "∂c = ∂v2",
        "∂a += ∂v1 * b", "∂b = ∂v1 * a",
    ]  # fmt: skip


def test_gradients_along_two_paths_are_shown_to_add_up():
    y, (a, _, _) = toy()
    data = told(visualize.page(y))
    (step,) = (s for s in data["steps"] if "+=" in formula(s))
    so_far, part, total = (numbers(data, card["array"]) for card in step["cards"][-3:])
    assert so_far + part == total == grad(y, a).data
    assert step["gradient"][2:] == [2, 2]
    assert "a is used 2 times" in words(step)


def test_paths_are_named_with_their_numbers_and_the_sum():
    y, (a, _, _) = toy()
    (step,) = (s for s in told(visualize.page(y))["steps"] if "+=" in formula(s))
    (table,) = step["tables"]
    assert [row[0] for row in table["rows"]] == ["through y, by mul", "through v1, by mul"]
    first, second = (cells(row)[0] for row in table["rows"])
    assert [first + second] == cells(table["foot"]) == [grad(y, a).item()]


@pytest.mark.parametrize("name", ["v2", "layers.2.weight", "layers.2.bias", "layers.0.weight", "layers.0.bias"])
def test_one_number_of_a_gradient_is_told_as_the_sum_of_its_terms(name: str):
    cost, model, _ = step_of((6, 4, 3))
    data = told(visualize.page(cost, model=model))
    (step,) = (s for s in data["steps"] if s.get("flow") and s["title"].endswith(f"to {name}"))
    (table,) = step["tables"]
    g = numbers(data, item(data, name)["gradient"])
    place = place_of(table["title"])
    assert cells(table["foot"]) == [g[place]] == [g.ravel()[np.abs(g).argmax()]]
    terms = np.array([cells(row)[-1] for row in table["rows"]])
    assert len(terms) == (3 if name == "v2" else 10)
    np.testing.assert_allclose(terms.sum(), g[place], rtol=1e-5)
    for row in table["rows"]:
        if len(cells(row)) == 3:  # of a matrix product
            left, right, term = cells(row)
            assert left * right == term
    assert ("Gradients of several uses add up" in words(step)) != name.endswith("bias")
    assert f"a sum of {len(terms)} terms" in table["title"]


def test_of_many_terms_the_smallest_are_shown_as_their_sum():
    x, w = named(np.arange(1, 41, dtype="f").reshape(40, 1), "x"), named(np.ones((1, 1), "f"), "w")
    (step,) = (s for s in told(visualize.page((x @ w).sum()))["steps"] if s["title"].endswith("to w"))
    rows = step["tables"][0]["rows"]
    assert [row[0] for row in rows] == [*(f"n = {i}" for i in range(30, 40)), "30 smaller ones"]
    assert cells(rows[-1]) == [np.arange(1, 31).sum()]
    assert cells(step["tables"][0]["foot"]) == [np.arange(1, 41).sum()]


def test_a_rule_that_is_no_matrix_product_is_not_told_as_one(monkeypatch: Any):
    matmul = OPS["matmul"]
    rules = tuple((lambda g, out, x, w, rule=rule: 2 * rule(g, out, x, w)) for rule in matmul.rules)
    monkeypatch.setitem(vars(matmul), "rules", rules)
    w = named(np.ones((3, 2), "f"), "w")
    steps = [s for s in told(visualize.page((np.ones((4, 3), "f") @ w).sum()))["steps"] if s.get("flow")]
    assert "to w" in steps[-1]["title"]
    assert steps[-1]["tables"] == []


def test_what_a_neuron_looks_for_is_shown_at_the_largest_weighted_input():
    cost, model, _ = step_of()
    data = told(visualize.page(cost, model=model))
    step = titled(data, "forward: v1")
    found = re.search(r"v1\[(\d+), (\d+)\] = ([\d.e-]+)", words(step))
    assert found is not None
    z = cost
    while z.size != 300:
        z = z.inputs[0]
    assert found[3] == f"{z.inputs[0].data.max():.4g}"
    assert (int(found[1]), int(found[2])) == np.unravel_index(z.inputs[0].data.argmax(), z.shape)
    assert [card["label"] for card in step["cards"][:2]] == [
        f"layers.0.weight[:, {found[2]}]", f"x[{found[1]}] × layers.0.weight[:, {found[2]}]",
    ]  # fmt: skip
    assert data["arrays"][step["cards"][0]["array"]]["shape"] == [28, 28]


def test_a_result_waits_until_all_its_uses_have_passed_their_parts_on():
    x = named([1.0, 2.0], "x")
    h = x * 3
    y = (h * h + h.exp()).sum()
    steps = [s for s in told(visualize.page(y))["steps"] if "flow" in s]
    arrived: dict[int, int] = {}
    for step in steps:
        source, target, _ = step["flow"]
        assert source == steps[0]["flow"][0] or arrived[source] == 0, "passed on before it was complete"
        part, uses = step["gradient"][2:]
        arrived[target] = uses - part
        assert all(seen <= wanted for _, seen, wanted in step["waiting"])
    assert [s["gradient"][3] for s in steps if s["gradient"][2] == 3] == [3]


def test_broadcasting_is_undone_by_a_sum_with_both_shapes():
    x, b = named(np.ones((4, 3), "f"), "x"), named(np.ones(3, "f"), "b")
    data = told(visualize.page((x * b).sum()))
    (step,) = (s for s in data["steps"] if s.get("flow") and "∂b" in formula(s))
    before, after = (numbers(data, card["array"]) for card in step["cards"][-2:])
    assert (before.shape, after.shape) == ((4, 3), (3,))
    assert np.array_equal(before.sum(0), after)
    assert "used 4 times along axis 0" in words(step)
    assert "summed to (3,)" in formula(step)


def test_saturated_neurons_are_counted_and_their_slopes_shown():
    z = named(np.array([-20.0, 0.0, 20.0, 1.0], "f"), "z")
    out = sigmoid(z)
    data = told(visualize.page(out.sum()))
    (forward,) = (s for s in data["steps"] if s["phase"] == "forward" and "sigmoid" in formula(s))
    (slope,) = (card for card in forward["cards"] if card.get("kind") == "slope")
    assert np.array_equal(numbers(data, slope["array"]), out.data * (1 - out.data))
    assert "2 of these 4 activations are saturated" in words(forward)
    assert item(data, "v1")["saturated"] == 2
    (backward,) = (s for s in data["steps"] if s.get("flow") and "to z" in s["title"])
    assert "2 of 4 activations are saturated" in words(backward)
    (table,) = backward["tables"]
    for row in table["rows"]:
        arrives, slope, passes = cells(row)
        assert arrives * slope == passes
    assert [row[0].partition(":")[0] for row in table["rows"]] == ["flattest", "steepest"]
    assert cells(table["rows"][1])[1] == 0.25


def test_a_neuron_that_no_example_moves_is_told_of():
    z = named(np.array([[-20.0, 0.0], [20.0, 20.0]], "f"), "z")
    told_of = [words(step) for step in told(visualize.page(sigmoid(z).sum()))["steps"] if step.get("flow")]
    assert sum("1 of 2 neurons are saturated for all 2 examples" in text for text in told_of) == 1


def test_zero_grad_shows_what_is_left_over_and_the_next_step_what_would_add_up():
    w: Any = named([1.0, 2.0], "w")
    (w * w).sum().backward()
    data = told(visualize.page((w * w).sum()))
    (clear,) = (s for s in data["steps"] if s["phase"] == "clear")
    assert numbers(data, clear["cards"][0]["array"]).tolist() == [2.0, 4.0]
    old, new, both = (numbers(data, card["array"]) for card in data["steps"][-1]["cards"][2:5])
    assert np.array_equal(old + new, both)
    assert [cells(row) for row in data["steps"][-1]["tables"][0]["rows"]] == [[old[1], new[1], both[1]]]
    assert w.grad is not None
    assert w.grad.tolist() == [2.0, 4.0]
    w.grad = None
    (w * w).sum().backward()
    optim.SGD([w], lr=0.1).step()
    (w * w).sum().backward()
    assert np.array_equal(w.grad, both)


def test_without_zero_grad_some_numbers_would_be_moved_the_wrong_way():
    w = named([1.0, 2.0, 1.0], "w")
    data = told(visualize.page((w * w).sum(), optimizer=optim.SGD([w], lr=0.75)))  # beyond the minimum, to -w / 2
    assert "would move 3 of 3 numbers the wrong way" in words(data["steps"][-1])
    data = told(visualize.page((w * w).sum(), optimizer=optim.SGD([w], lr=0.25)))
    assert "would move 0 of 3 numbers the wrong way" in words(data["steps"][-1])


# --- momentum ---


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("rule", [optim.Momentum, optim.Nesterov])
def test_momentum_is_told_with_the_numbers_of_one_weight_and_like_for_like(rule: Any, steps: int):
    cost, model, optimizer = step_of((6, 4, 3), rule)
    x, y = np.random.default_rng(0).random((10, 6), np.float32), np.eye(10, 3, dtype="f")
    for _ in range(steps):
        optimizer.zero_grad()
        quadratic_cost(model(x), y).backward()
        optimizer.step()
    cost = quadratic_cost(model(x), y)
    data = told(visualize.page(cost, model=model, optimizer=optimizer))
    p = dict(model.named_parameters())["layers.2.weight"]
    step = titled(data, "update of layers.2.weight")
    assert formula(step).splitlines()[0] == "velocity ← 0.9 * velocity + ∂layers.2.weight"
    worked, repeated = step["tables"]
    place = place_of(worked["title"])
    g = numbers(data, item(data, "layers.2.weight")["gradient"])[place]
    before = optimizer.state[p]["velocity"][place] if steps else np.float32(0)
    lr, mu = np.float32(0.5), np.float32(0.9)
    velocity = mu * before + g
    change = lr * (g + mu * velocity if rule is optim.Nesterov else velocity)
    shown = [number for row in worked["rows"] for number in cells(row)]
    assert shown == [g, *([before] * (steps > 0)), velocity, change, lr * g, p.data[place] - change]
    for i, row in enumerate(repeated["rows"]):
        assert cells(row) == [velocity, change, lr * g]
        assert row[-1] == f"{float(change) / float(lr * g):.3g} ×"
        velocity = mu * velocity + g
        change = lr * (g + mu * velocity if rule is optim.Nesterov else velocity)
        assert i < len(repeated["rows"])
    assert len(repeated["rows"]) == 8
    assert "towards η / (1 - μ) = 0.5 / (1 - 0.9) = 5 times the gradient" in words(step)
    assert ("At the first step there is nothing yet" in words(step)) == (steps == 0)


def test_steps_on_the_same_data_are_those_of_the_optimizers_themselves():
    _, model, optimizer = step_of((6, 4, 3), optim.Momentum)
    x, y = np.random.default_rng(0).random((10, 6), np.float32), np.eye(10, 3, dtype="f")
    data = told(visualize.page(quadratic_cost(model(x), y), model=model, optimizer=optimizer))
    step = data["steps"][-1]
    assert step["title"] == "6 steps on the same data: Momentum beside plain SGD"
    columns = []
    for rule in (optim.Momentum, optim.SGD):
        _, model, _ = step_of((6, 4, 3))
        optimizer, outputs = rule(model.parameters(), lr=0.5), []
        for _ in range(7):
            cost = quadratic_cost(model(x), y)
            outputs.append(cost.data[()])
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
        columns.append(outputs)
    assert [cells(row)[:2] for row in step["tables"][0]["rows"]] == [list(pair) for pair in zip(*columns, strict=True)]
    assert columns[0][-1] != columns[1][-1]


def test_a_formula_that_mixes_places_is_not_told_with_the_numbers_of_one():
    class Normed(optim.Optimizer):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            return gradient / (gradient * gradient).sum()

    w = named([3.0, 4.0], "w")
    step = titled(told(visualize.page((w * w).sum(), optimizer=Normed([w], lr=1.0))), "update of w")
    assert formula(step) == "w ← w - 1 * (∂w / sum(∂w * ∂w))"
    assert step["tables"] == []


def test_the_change_is_compared_with_the_size_of_the_parameter_if_it_has_one():
    for value, expected in ((2.0, "The change is 0.05 times the parameter's own size"), (0.0, "is to become smaller.")):
        w = named(value, "w")
        step = titled(told(visualize.page(w + w * 0, optimizer=optim.SGD([w], lr=0.1))), "update of w")
        assert step["why"][0] == "The numbers of the formula: η = 0.1, the learning rate (lr)."
        assert expected in step["why"][1]
        assert ("own size" in step["why"][1]) == bool(value)


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        (optim.SGD, {"lr": 0.5, "weight_decay": 0.01}, "η = 0.5, the learning rate (lr); 0.01, the weight decay"),
        (optim.Momentum, {"lr": 0.5, "momentum": 0.25}, "η = 0.5, the learning rate (lr); μ = 0.25, the momentum."),
        (optim.Adam, {"lr": 0.5}, "η = 0.5, the learning rate (lr)."),
    ],
)
def test_the_numbers_of_an_update_are_named(rule: Any, options: dict[str, float], words: str):
    w = named(2.0, "w")
    step = titled(told(visualize.page(w * w, optimizer=rule([w], **options))), "update of w")
    assert any(text.startswith(f"The numbers of the formula: {words}") for text in step["why"])


def test_plain_sgd_is_not_compared_with_itself():
    cost, model, optimizer = step_of((6, 4, 3))
    data = told(visualize.page(cost, model=model, optimizer=optimizer))
    assert titled(data, "The next step") is data["steps"][-1]
    (worked,) = titled(data, "update of layers.0.weight")["tables"]
    g, change, after = (number for row in worked["rows"] for number in cells(row))
    assert change == np.float32(0.5) * g
    before = numbers(data, item(data, "layers.0.weight")["value"])[place_of(worked["title"])]
    assert after == before - change


def test_an_optimizer_of_the_users_own_is_told_too():
    class Clipped(optim.Optimizer):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            state["norm"] = (gradient * gradient).sum()
            return gradient / state["norm"]

    w = named([3.0, 4.0], "w")
    data = told(visualize.page((w * w).sum(), optimizer=Clipped([w], lr=1.0)))
    step = titled(data, "update of w")
    assert formula(step) == "norm ← sum(∂w * ∂w)\nw ← w - 1 * (∂w / norm)"
    assert not any("where ∂ is" in table["title"] for table in step["tables"])  # one place does not tell


# --- code ---


def test_the_users_lines_and_those_of_its_modules_are_found():
    with visualize.trace():
        x = named([0.5], "x")
        y = (x * 2).sum()
    data = told(visualize.page(y))
    lines = [data["sources"][f]["lines"][n - data["sources"][f]["first"]] for f, n in item(data, "v1")["lines"]]
    assert [line.strip() for line in lines] == ["y = (x * 2).sum()"]
    assert data["sources"][0]["title"].endswith("in test_the_users_lines_and_those_of_its_modules_are_found")
    cost, _, _ = step_of((6, 4, 3))
    data = told(visualize.page(cost))
    lines = [data["sources"][f]["lines"][n - data["sources"][f]["first"]].strip() for f, n in item(data, "v1")["lines"]]
    assert lines[0] == "cost = quadratic_cost(model(x), y)"
    assert lines[-1].startswith("return ops.matmul(x, self.weight) if self.bias is None")


def test_the_lines_that_clear_go_back_and_update_are_marked():
    w = named([1.0, 2.0], "w")
    optimizer = optim.SGD([w], 0.1)
    with visualize.trace():
        cost = (w * w).sum()
    page = visualize.page(cost, optimizer=optimizer)
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    data = told(page)
    found = {
        phase: [data["sources"][f]["lines"][n - data["sources"][f]["first"]].strip() for f, n in places]
        for phase, places in data["marks"].items()
    }
    assert found == {
        "clear": ["optimizer.zero_grad()"],
        "backward": ["cost.backward()"],
        "update": ["optimizer.step()"],
    }


def test_the_statements_are_those_of_the_compiled_program():
    cost, model, optimizer = step_of((6, 4, 3))
    data = told(visualize.page(cost, model=model, optimizer=optimizer))

    @compile
    def step(x: Any, y: Any) -> Any:
        loss = quadratic_cost(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step(np.ones((10, 6), "f"), np.ones((10, 3), "f"))

    def called(line: str) -> str:  # but for the names of values, which a page calls as its formulas do
        return line.partition("(")[0].rpartition(" = ")[2]

    ours = [line.strip() for line in data["program"]["lines"] if "(" in line and not line.strip().startswith("#")]
    theirs = [line.strip() for line in step.source.split("\n\n\n")[1].splitlines() if line.startswith("    ")]
    theirs = [line for line in theirs if "(" in line and not line.startswith("#")]
    assert [called(line) for line in ours[1:]] == [called(line) for line in theirs]
    lines = data["program"]["lines"]
    assert [lines[i].strip() for i in item(data, "v1")["program"]["forward"]] == [
        "# v1 = x @ layers.0.weight + layers.0.bias",
        "matmul(x, layers_0_weight, out=matmul_1)",
        "add(matmul_1, layers_0_bias, out=v1)",
    ]
    backward = [lines[i].strip() for i in item(data, "v1")["program"]["backward"]]
    assert "add.reduce(d_v1, axis=0, out=d_layers_0_bias, keepdims=False)" in backward
    assert any("SGD.step()" in lines[i] for i in item(data, "layers.0.bias")["program"]["update"])


def test_each_step_of_the_backward_pass_has_statements_of_its_own():
    cost, model, optimizer = step_of((6, 4, 3))
    data = told(visualize.page(cost, model=model, optimizer=optimizer))
    lines = data["program"]["lines"]
    flows = {step["title"].rpartition(" to ")[2]: step["lines"] for step in data["steps"] if step.get("flow")}
    assert [lines[i].strip() for i in flows["v2"]] == [
        "# gradient of v3 = v2 @ layers.2.weight + layers.2.bias, to v2", "matmul(d_v3, transpose_1, out=d_v2)",
    ]  # fmt: skip
    assert [lines[i].strip() for i in flows["layers.2.weight"][1:]] == [
        "matmul(transpose_2, d_v3, out=d_layers_2_weight)"
    ]
    every = [i for own in flows.values() for i in own]
    assert len(every) == len(set(every))
    start = min(every)
    stop = min(i for step in data["steps"] if step["phase"] == "update" for i in step["lines"])
    assert set(every) == {i for i in range(start, stop) if lines[i]}
    (seed,) = (step for step in data["steps"] if step["title"].startswith("backward begins"))
    assert "lines" not in seed


def test_a_gradient_that_is_passed_on_as_it_is_is_one_array_under_several_names():
    legend = told(visualize.page(toy()[0]))["program"]["legend"]
    assert legend["d_v2"] == "∂v2 and ∂v1, the same array"


def test_statements_are_told_of_the_input_that_they_are_for(table: Any):
    twice = binary("twice", lambda x, y: 2 * x * y, lambda g, out, x, y: (g + g) * y, lambda g, out, x, y: (g + g) * x)
    x = named([1.0, 2.0], "x")
    data = told(visualize.page((twice(x, x.exp()) ** 2).sum()))
    lines = data["program"]["lines"]
    found = {s["title"]: [lines[i].strip() for i in s["lines"][1:]] for s in data["steps"] if s.get("flow")}
    assert found["backward through twice: to x"] == ["add(d_v2, d_v2, out=add_1)", "multiply(add_1, v1, out=mul_2)"]
    assert found["backward through twice: to v1"] == ["multiply(add_1, x, out=d_v1)"]
    assert found["backward through exp: to x"] == ["multiply(d_v1, v1, out=mul_3)", "add(mul_2, mul_3, out=d_x)"]
    assert found["backward through sum: to v3"] == []
    assert titled(data, "backward through sum")["about"].startswith("No statement of its own")


@pytest.mark.parametrize("rule", [optim.SGD, optim.Nesterov, Adam])
def test_every_name_of_the_program_is_explained(rule: Any):
    cost, model, optimizer = step_of((6, 4, 3), rule)
    program = told(visualize.page(cost, model=model, optimizer=optimizer))["program"]
    code = "\n".join(line for line in program["lines"] if not line.strip().startswith("#"))
    tree = ast.parse(code)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    legend = program["legend"]
    assert {name for name in names - legend.keys() if not hasattr(np, name)} == set()
    assert not any("an array from outside" in words for words in legend.values())
    assert legend["div"] == "0.1, computed once, when the step was recorded, as it never changes"
    assert legend["transpose_2"] == "v2, with rows and columns exchanged: a view of the same memory"
    assert legend["layers_0_weight"] == "the array of layers.0.weight itself"
    assert legend["d_v3"] == "∂v3"
    if rule is optim.SGD:
        assert legend["lr_d_layers_0_weight"] == "lr times ∂layers.0.weight, its part of lr_gradients"
    if rule is optim.Nesterov:
        assert legend["velocity_layers_0_bias"] == "the velocity that Nesterov has kept for layers.0.bias"
    calls = sum(bool(re.match(r" +(\w+ = )?[\w.]+\(", line)) for line in program["lines"])  # not lr_float32[()] = lr
    assert f"became {calls} calls" in program["about"]


# --- any graph ---


def second_derivative() -> Tensor:
    x = named([1.0, 2.0], "x")
    slope = grad((x**3).sum(), x, create_graph=True)
    return (slope * slope).sum()


def of_labels() -> Tensor:
    w = named(np.ones((3, 2), "f"), "w")
    return softmax_cross_entropy(Tensor(np.ones((4, 3), "f")) @ w, np.array([0, 1, 1, 0]))


GRAPHS: dict[str, Callable[[], Any]] = {
    "a leaf": lambda: named(2.0, "w"),
    "a leaf of several": lambda: named([2.0, 1.0], "w", False),
    "unnamed": lambda: (Tensor([1.0, 2.0], requires_grad=True) * 2).sum(),
    "a number twice": lambda: named(2.0, "w") ** 2 * 2,
    "several numbers": lambda: named([1.0, 2.0], "w") * 3,
    "second derivatives": second_derivative,
    "integer labels": of_labels,
    "an index": lambda: named(np.ones((3, 4)), "x")[np.array([0, 0, 1]), :2].sum(),
    "many inputs": lambda: concatenate([named([float(i)], f"x{i}") for i in range(12)]).sum(),
    "empty": lambda: named(np.zeros((0, 3)), "e").sum(),
    "not finite": lambda: (named([np.nan, np.inf, 1.0], "x") * 2).sum(),
    "infinite slopes": lambda: named([0.0, 1.0], "x").sqrt().sum(),
    "half precision": lambda: (named(np.ones(3, np.float16), "h") * 2).sum(),
    "more than double precision": lambda: (named(np.ones(3, np.longdouble), "l") / 3).sum(),
    "complex numbers": lambda: Tensor(np.array([1 + 2j, 3])),
    "many complex numbers": lambda: Tensor(np.full((30, 30), 1 + 2j)),
    "booleans": lambda: (named([1.0, 2.0], "x") * Tensor(np.array([True, False]))).sum(),
    "one of many users": lambda: (lambda t: sum((t * i for i in range(20)), t))(named(1.0, "t")),
    "a use of a result and of its parts": lambda: (lambda t: t.relu().sum() + t.mean() + t[0])(named([1.0, -2.0], "t")),
    "float64 and float32": lambda: (named(np.ones(2), "a") * named(np.ones(2, "f"), "b")).sum(),
    "no path": lambda: (named([1.0, 2.0], "x") * (named([1.0, 2.0], "y") > 1)).sum(),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_has_a_page(name: str):
    output = GRAPHS[name]()
    page = visualize.page(output)
    data = told(page)
    assert page.size < MOST_BYTES
    assert len(data["steps"]) >= 1
    assert all(0 <= card["array"] < len(data["arrays"]) for step in data["steps"] for card in step["cards"])
    assert all(node is not None for node in (one["node"] for one in data["items"]))
    if output.op is not None and output.size == 1 and "finite" not in name:
        assert not data["program"]["problem"]
    visualize.page(output)  # the graph is kept


def test_it_does_not_matter_where_a_page_is_made():
    y, _ = toy()
    first = visualize.page(y).html
    with no_grad():
        assert visualize.page(y).html == first
    with visualize.trace():
        assert visualize.page(y).html == first
    with visualize.detect_anomaly():
        assert visualize.page(y).html == first


def test_what_has_no_backward_pass_says_why():
    assert "has the shape (2,): reduce it first" in words(told(visualize.page(named([1.0, 2.0], "w") * 3))["steps"][-1])
    assert "requires gradients" in words(told(visualize.page(Tensor([1.0])))["steps"][-1])


def test_an_op_of_the_users_own_is_told_with_its_rule(table: Any):
    cube = unary("cube", lambda x: x**3, lambda g, out, x: 3 * g * x**2)
    data = told(visualize.page(cube(named(2.0, "w"))))
    (step,) = (s for s in data["steps"] if "flow" in s)
    assert formula(step) == "∂w = 3 * ∂v1 * w ** 2"
    assert step["note"] == "the rule: lambda g, out, x: 3 * g * x**2"
    assert "forward_cube" in "".join(data["program"]["lines"])


def test_a_large_graph_is_folded_and_every_node_has_a_step(monkeypatch: Any):
    rng = np.random.default_rng(0)
    model = nn.Sequential(*(part for _ in range(20) for part in (nn.Linear(3, 3, rng=rng), relu)))
    with visualize.trace():
        y = model(np.ones((2, 3), np.float32)).sum()
    whole = told(visualize.page(y))
    monkeypatch.setattr(events, "MOST_STEPS", 100)
    data = told(visualize.page(y, limit=60))
    nodes = data["graph"]["nodes"]
    assert len(nodes) < 60 < len(whole["graph"]["nodes"])
    assert len(data["steps"]) < len(whole["steps"])
    told_of = [i for s in data["steps"] for i in [s.get("item"), *s.get("items", [])] if i is not None]
    assert {data["items"][i]["node"] for i in told_of} == {
        i for i in range(len(nodes)) if nodes[i]["kind"] != "constant"
    }
    assert [s["phase"] for s in data["steps"]] == sorted(
        (s["phase"] for s in data["steps"]), key=["given", "forward", "clear", "backward", "update", "next"].index
    )


def test_layers_that_repeat_are_drawn_once_and_stand_for_all_of_them():
    rng = np.random.default_rng(0)
    model = nn.Sequential(*(part for _ in range(5) for part in (nn.Linear(3, 3, rng=rng), relu)))
    with visualize.trace():
        y = model(np.ones((2, 3), np.float32)).sum()
    data = told(visualize.page(y, collapse=1))
    assert sorted(len(node["items"]) for node in data["graph"]["nodes"])[-2:] == [5, 15]
    assert sorted(i for node in data["graph"]["nodes"] for i in node["items"]) == list(range(len(data["items"])))


def test_a_graph_too_large_to_read_is_refused():
    t = x = named(1.0, "x")
    for _ in range(400):
        t = t * x
    with refused(ValueError, "page: ", "too many to read", "visualize.trace()"):
        visualize.page(t)


def test_what_is_wrong_is_said_in_one_line():
    w = named(2.0, "w")
    for given, words in (
        ((w.data,), "expected a Tensor, as in page(loss)"),
        ((w * w, {"model": 3}), "expected a Module, got 3"),
        ((w * w, {"optimizer": "SGD"}), "expected an Optimizer such as SGD, got 'SGD'"),
    ):
        with refused(TypeError, "page: ", words):
            visualize.page(given[0], **(given[1] if len(given) > 1 else {}))  # type: ignore[arg-type]
    y = w * w
    y.backward()
    with refused(RuntimeError, "was freed"):
        visualize.page(y)
    y = w * w
    w.data *= 2
    with refused(RuntimeError, "changed in place"):
        visualize.page(y)


# --- the file ---


def test_the_zoos_network_fits_into_300_kb_and_says_the_same_each_time():
    pages = [
        visualize.page(cost, model=model, optimizer=optimizer) for cost, model, optimizer in [step_of(), step_of()]
    ]
    assert pages[0].html == pages[1].html
    assert 100_000 < pages[0].size <= MOST_BYTES


def test_hostile_names_stay_text():
    name = "</script><script>alert(1)</script>\u2028 ﬁ\n\"'&<!--"
    page = visualize.page((named([1.0, 2.0], name) * 2).sum())
    assert "alert(1)</script>" not in page.html
    assert item(told(page), name.replace("\u2028", "\\u2028").replace("\n", "\\n"))
    assert page.html.count("<script") == 2
    assert re.search(r"<title>[^<]*</title>", page.html)


def test_nothing_but_its_own_script_may_run_and_nothing_may_be_fetched():
    html = visualize.page(toy()[0]).html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", html)
    assert " style=" not in re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert "http" not in re.sub(r'"http://www.w3.org/2000/svg"', "", html.replace("http-equiv", ""))


def test_the_scripts_are_one_without_a_name_twice():
    script = document.joined(SCRIPTS)
    names = re.findall(r"^(?:function|const|let) (\w+)", script, flags=re.M)
    assert len(names) == len(set(names)) > 20
    assert not re.search(r"^(import|export)\b", script, flags=re.M)
    assert "</script" not in script.lower()
    assert "innerHTML" not in script


def test_it_is_written_whole_or_not_at_all(tmp_path):
    page = visualize.page(toy()[0])
    assert page.save(tmp_path / "step.html").read_text(encoding="utf-8") == page.html == str(page)
    with refused(ValueError, "save: expected a file name that ends in .html, got "):
        page.save(tmp_path / "step.svg")
    with refused(OSError, "nowhere"):
        page.save(tmp_path / "nowhere" / "step.html")
    assert [path.name for path in tmp_path.iterdir()] == ["step.html"]


def test_notebooks_show_it_in_a_frame_of_its_own():
    page = visualize.page(toy()[0])
    frame = page._repr_html_()
    match = re.fullmatch(r'<iframe srcdoc="([^"]*)" .*sandbox="allow-scripts" .*></iframe>', frame, flags=re.S)
    assert match is not None
    assert unescape(match[1]) == page.html
    assert len(repr(page)) < 100


# --- the zoo ---


@pytest.mark.parametrize("name", ["network", *(pytest.param(f"network{i}", marks=pytest.mark.slow) for i in (1, 2, 3))])
def test_the_zoos_networks_write_the_page_of_a_step(here: Any, name: str):
    status, output, _ = here(f"zoo.{name}", "--epochs", 0, "--page", "s.html")
    assert status == 0
    assert output.endswith("s.html: a step of training on the first digits, to walk through in a browser\n")
    text = Path("s.html").read_text(encoding="utf-8")
    assert 100_000 < len(text.encode()) <= MOST_BYTES
    data = told(document.Page(text))
    titles = [source["title"].partition(" in ")[2] for source in data["sources"]]
    assert titles[:3] == [f"N{name[1:]}.optimizer", "BaseNetwork.model", "step"]  # its own before the zoo's
    assert all(data["marks"][phase] for phase in ("clear", "backward", "update"))
    assert not data["program"]["problem"]
    _, output, _ = here(f"zoo.{name}", "--epochs", 0, "--page", "s.html", "--save", "m.npz", "--overwrite")
    assert output.endswith("no epoch was asked for: nothing is saved or plotted\n")
    status, _, error = here(f"zoo.{name}", "--epochs", 0, "--page", "s.html")
    assert (status, Path("s.html").read_text(encoding="utf-8")) == (1, text)
    assert "s.html: already exists; name another file, or add --overwrite" in error
    assert here(f"zoo.{name}", "--epochs", 0, "--page", "s.html", "--overwrite")[0] == 0


def test_a_page_changes_nothing_of_the_training(here: Any):
    for more in ((), ("--page", "s.html")):
        here("zoo.network2", "--epochs", 1, "--history", f"h{len(more)}.json", *more)
    runs = [json.loads(Path(f"h{n}.json").read_text(encoding="utf-8"))["epochs"][0] for n in (0, 2)]
    assert runs[0] | {"seconds": 0} == runs[1] | {"seconds": 0}


def test_a_page_with_another_ending_is_wrong_usage(here: Any):
    status, _, error = here("zoo.network", "--page", "s.svg")
    assert status == 2
    assert "--page: expected a file name that ends in .html, .htm, got 's.svg'" in error


@pytest.mark.slow
def test_the_network_with_convolutions_has_a_page_too(digits: Any, tmp_path: Path):
    training = Training(Custom(), mnist.load(digits))
    before = training.model.state_dict()
    file = pictures.page(training, tmp_path / "c.html")
    assert file.stat().st_size <= MOST_BYTES
    assert all(np.array_equal(training.model.state_dict()[name], array) for name, array in before.items())
    data = told(document.Page(file.read_text(encoding="utf-8")))
    titles = [source["title"].partition(" in ")[2] for source in data["sources"]]
    assert titles[:3] == ["Custom.model", "Custom.optimizer", "step"]
    assert data["sources"][3]["lines"][0].startswith("def forward(self, x: Tensor)")
    (step,) = (s for s in data["steps"] if s["phase"] == "update" and "output.bias" in s["title"])
    assert "sqrt(" in formula(step)


# --- the layout ---


def test_nodes_do_not_overlap_and_inputs_stand_above_or_beside():
    rng = np.random.default_rng(0)
    for _ in range(20):
        nodes = [Node("parameter", f"w{i}") for i in range(3)]
        for i in range(12):
            node = Node("op", f"v{i}")
            node.inputs = [(nodes[j], "") for j in rng.integers(0, len(nodes), int(rng.integers(1, 4)))]
            nodes.append(node)
        made = layout(nodes)
        boxes = list(made.boxes.values())
        assert len(boxes) == len(nodes)
        for i, a in enumerate(boxes):
            assert 0 <= a.x <= made.width - WIDTH
            assert 0 <= a.y <= made.height - HEIGHT
            for b in boxes[:i]:
                assert abs(a.x - b.x) >= WIDTH or abs(a.y - b.y) >= HEIGHT
        for node in nodes:
            for x, _ in node.inputs:
                above, beside = made.boxes[x].y + HEIGHT < made.boxes[node].y, made.boxes[x].x > made.boxes[node].x
                assert above or beside
        assert len(made.arrows) == sum(len(node.inputs) for node in nodes)
        for arrow in made.arrows:
            assert not re.search(r"(\d+)V\1\b", arrow.path)  # the head of an arrow without length points anywhere
            others = [box for node, box in made.boxes.items() if node not in (arrow.source, arrow.target)]
            for right, down in points_of(arrow.path):
                assert not any(b.x < right < b.x + WIDTH and b.y < down < b.y + HEIGHT for b in others)


def points_of(path: str) -> list[tuple[float, float]]:
    """Points along an SVG path of M, V and C."""
    points: list[tuple[float, float]] = []
    for command, text in re.findall(r"([MVC])([-\d .]+)", path):
        numbers = [float(n) for n in text.split()]
        if command == "C":
            corners = np.array([*points[-1], *numbers]).reshape(4, 2)
            shares = np.linspace(0, 1, 20)[1:, None]
            weights = [(1 - shares) ** 3, 3 * shares * (1 - shares) ** 2, 3 * shares**2 * (1 - shares), shares**3]
            points += [tuple(p) for p in sum(w * c for w, c in zip(weights, corners, strict=True))]
        elif command == "V":
            x, y = points[-1]
            points += [(x, y + (numbers[0] - y) * share) for share in np.linspace(0, 1, 10)[1:]]
        else:
            points.append((numbers[0], numbers[1]))
    return points


def test_the_table_is_as_it_was():
    assert "cube" not in OPS
