"""explanation.py: the backward pass as text; every formula in it is evaluated and must give the gradient."""

import re

import numpy as np
import pytest

from tinygrad_mnist import OPS, concatenate, grad, nn, no_grad, ops, sigmoid, unary, visualize
from tinygrad_mnist.losses import cross_entropy_cost, quadratic_cost
from tinygrad_mnist.visualize import explain
from tinygrad_mnist.visualize.notation import in_lines, value_text

from .helpers import named


def evaluated(text, leaves):
    """Compute what the text says, line by line; the values by name, `d_x` for ∂x."""
    known = {name: function for name, function in vars(ops).items() if callable(function)}
    known |= {name: op.function for name, op in OPS.items()} | {"float64": np.float64, "nan": np.nan, "inf": np.inf}
    known |= {t.name: t.detach() for t in leaves}
    with no_grad():
        for line in text.splitlines():
            step = re.split(r"  +", line)[0].replace("∂", "d_")
            if match := re.fullmatch(r"(\w+) (\+?=) (.*?)(, summed to .*)?", step):
                name, sign, formula, summed = match.groups()
                value = eval(formula, known)
                if summed and np.ndim(value):
                    target = known[name[2:]]
                    extra = value.ndim - target.ndim
                    axes = [i for i in range(value.ndim) if i < extra or target.shape[i - extra] != value.shape[i]]
                    value = value.sum(tuple(axes)).reshape(target.shape)
                known[name] = known[name] + value if sign == "+=" else value
    return known


def check(output, *leaves):
    """The text's formulas give the output and the gradients."""
    known = evaluated(explain(output), leaves)
    for t, expected in zip(leaves, grad(output, leaves, retain_graph=True), strict=True):
        np.testing.assert_allclose(known.get(f"d_{t.name}", 0), expected, rtol=1e-3, err_msg=explain(output))
        assert t.grad is None


def test_the_steps_of_the_chain_rule_in_the_order_in_which_they_happen():
    a, b = named(2.0, "a"), named(3.0, "b")
    y = a * b + a
    y.name = "y"
    assert [re.split("  +", line) for line in explain(y).splitlines()] == [
        ["forward"],
        ["a", "parameter", "scalar", "2"],
        ["b", "parameter", "scalar", "3"],
        ["v1 = a * b", "mul", "scalar", "6"],
        ["y = v1 + a", "add", "scalar", "8"],
        ["backward, where ∂x stands for d y / d x"],
        ["∂y = 1", "scalar", "1"],
        ["∂v1 = ∂y", "add", "scalar", "1"],
        ["∂a = ∂y", "add", "scalar", "1"],
        ["∂a += ∂v1 * b", "mul", "scalar", "4"],
        ["∂b = ∂v1 * a", "mul", "scalar", "2"],
    ]


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.domain and op.differentiable])
def test_the_formulas_of_every_elementwise_op_are_right(name):
    op = OPS[name]
    x = np.array([[0.3, 0.6], [0.45, 0.7]]) + (name == "arccosh")
    leaves = [named(x * (1 + i / 7), f"i{i}") for i in range(len(op.domain or ()))]
    parameters = {k: v if isinstance(v, int | float) else np.float64 for k, v in op.defaults.items()}
    if name == "where":
        leaves[0] = named(np.array([[0.0, 1.0], [1.0, 0.0]]), "i0")
    check((op.function(*leaves, **parameters) * 1.5).sum(), *leaves)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: (x @ y.T).sum(),
        lambda x, y: ops.linear(x * y, y.T + 1, y.sum(axis=1)).sum(),
        lambda x, y: (x.max(axis=0) - y.min(axis=1, keepdims=True) / (x + y).mean()).sum(),
        lambda x, y: concatenate([x, y], axis=1).logsumexp(),
        lambda x, y: (x.softmax() * y.log_softmax()).sum(),
        lambda x, y: (-(x - (y - x)) / (x / (y / x)) * (x * (y * x)) ** 2).sum(),
        lambda x, y: ((2**x) ** y - x ** (-y) - x * -2).sum(),
        lambda x, y: (x.reshape(3, 2) @ y - 1).transpose(1, 0).mean(),
        lambda x, y: quadratic_cost(x, y) + cross_entropy_cost(x, y),
    ],
)
def test_formulas_of_compositions_are_right(function):
    x = named(np.array([[0.3, 0.6, 0.9], [0.45, 0.7, 0.1]]), "x")
    y = named(np.array([[0.2, 0.5, 0.8], [0.25, 0.4, 0.6]]), "y")
    check(function(x, y), x, y)


def test_indices_are_written_as_in_python():
    x, rows = named(np.ones((3, 4)), "x"), np.array([0, 0, 1])
    text = explain((x[1:, ::2, None][..., 0] + x[rows, :2][0]).sum())
    for formula in (
        "v1 = x[1:, ::2, None]",
        "v2 = v1[..., 0]",
        "v3 = x[x1, :2]",
        "scatter(∂v3, index=[x1, :2], shape=",
    ):
        assert formula in text


def test_parameters_that_are_texts_are_quoted():
    assert "einsum(x, x, subscripts='ij,ij->i')" in explain(
        np.einsum("ij,ij->i", x := named(np.ones((2, 2)), "x"), x).sum()
    )


def test_broadcasting_that_is_undone_is_said():
    x, b = named(np.ones((4, 3)), "x"), named(np.ones(3), "b")
    assert "∂b = ∂v1, summed to (3,) " in explain((x + b).sum())
    check((x * b).sum(), x, b)


def test_names_come_from_the_model_and_from_trace():
    layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    network = nn.Sequential(layer, sigmoid)
    with visualize.trace():
        y = network(np.ones((4, 3), np.float32)).sum()
    for text in (explain(y, model=network), explain(y)):
        assert "∂layers.0.weight = x1.T @ ∂v1" in text
    assert "∂weight = " in explain(network(np.ones((4, 3))).sum())


def test_two_tensors_of_one_name_are_told_apart():
    assert "v1 = w * w_2" in explain(named(1.0, "w") * named(2.0, "w"))


def test_numbers_are_shown_for_small_arrays_alone():
    text = explain(named(np.full(6, 0.5), "small").sum() + named(np.full(7, 0.5), "large").sum())
    assert "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]" in text
    assert re.search(r"^large +parameter +\(7,\)$", text, re.M)
    assert value_text(np.float32(1 / 3)) == "0.3333"
    assert value_text(np.array([True, False])) == "[True, False]"


def test_a_rule_that_cannot_be_watched_is_named():
    cube = unary("cube", lambda x: x**3, lambda g, out, x: g * 3 * np.square(np.asarray(x), out=None, where=True))
    try:
        w = named(2.0, "w")
        text = explain(cube(w))
        assert re.search(r"∂w = \S.* +cube +scalar +12$", text, re.M)
    finally:
        del OPS["cube"]


def test_a_rule_for_arrays_alone_is_named():
    def rule(g, out, x):
        assert isinstance(x, np.ndarray)
        return 3 * g

    triple = unary("triple", lambda x: x * 3, rule)
    try:
        assert re.search(r"∂w = the rule of triple +triple +scalar +3$", explain(triple(named(2.0, "w"))), re.M)
    finally:
        del OPS["triple"]


def test_the_graph_is_kept_and_a_freed_one_refused():
    w = named(2.0, "w")
    y = w * w
    explain(y)
    y.backward()
    with pytest.raises(RuntimeError, match="graph of this mul was freed by a backward pass; look at it before"):
        explain(y)


@pytest.mark.parametrize("output", [lambda w: w, lambda w: (w * 2).detach().sum()])
def test_what_has_no_backward_pass_is_refused(output):
    with pytest.raises(
        ValueError, match=r"^explain: expected one number that requires gradients, got shape .* as with"
    ):
        explain(output(named([1.0, 2.0], "w")))


def test_a_long_chain_takes_linear_time():
    t = named(1.0, "t")
    for _ in range(3000):
        t = t * 1.0001
    assert len(explain(t).splitlines()) == 3000 * 2 + 4


def test_made_up_names_are_none_that_a_tensor_has():
    v1, x1 = named(2.0, "v1"), named(3.0, "x1")
    assert "v2 = v1 * x1 " in explain(v1 * x1)


def test_a_long_formula_has_a_line_for_each_term_of_its_sum():
    assert in_lines("= a @ b + c", 44) == ["= a @ b + c"]
    long = "= v4.T @ ∂v8 + f(v2 + v1) * (h + 1) + h0[a + b] @ ∂v1"
    assert in_lines(long, 30) == ["= v4.T @ ∂v8", "+ f(v2 + v1) * (h + 1)", "+ h0[a + b] @ ∂v1"]
    assert in_lines("= " + "a * " * 12 + "a", 30)[1].startswith("    ")


def test_results_are_not_called_after_a_tensor_of_the_users_own():
    assert "t1 = u * v " in explain(named(2.0, "u") * named(3.0, "v"))


def test_remainders_are_written_as_python_does():
    x = named([7.0, 5.0], "x")
    assert "= x % 3" in visualize.explain((x % 3).sum())
    assert "* (x // v1)" in visualize.explain((x % (x * 2)).sum())
