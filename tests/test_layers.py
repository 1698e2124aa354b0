"""Layers and costs beside the book's: PyTorch's values and gradients, running statistics, what is refused, reprs."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tinygrad_mnist import Tensor, compile, grad, losses, nn, ops, optim, summary
from tinygrad_mnist.gradcheck import check_gradients
from tinygrad_mnist.testing import check_derivatives

from .helpers import needs_compiler, refused, variable

STORED = json.loads((Path(__file__).parent / "reference" / "layers.json").read_text(encoding="utf-8"))
LABELS = np.array([0, 4, 2, 2])
INDICES = np.array([[0, 2, 5], [2, 2, 1]])
F = np.float32


def rng(seed=0):
    return np.random.default_rng(seed)


def compared(case, compute, rename=lambda name: name):
    """Compare output and gradients with the stored ones, for inputs of these names."""
    inputs = {name: variable(x) for name, x in case["inputs"].items()}
    out = compute(**{rename(name): x for name, x in inputs.items()})
    assert_allclose(out.data, case["output"], rtol=1e-12, atol=1e-13)
    gradients = grad(out, list(inputs.values()), np.array(case["v"]))
    for name, g in zip(inputs, gradients, strict=True):
        assert_allclose(g.data, case["gradients"][name], rtol=1e-11, atol=1e-12, err_msg=name)


def with_parameters(layer, **parameters):
    for name, value in parameters.items():
        setattr(layer, name, value)
    return layer


def embedded(padding_idx):
    return lambda weight: with_parameters(nn.Embedding(6, 3, padding_idx=padding_idx, rng=rng()), weight=weight)(
        INDICES
    )


FUNCTIONS: dict[str, Any] = {
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "softplus": nn.Softplus(),
    "leaky_relu": nn.LeakyReLU(0.25),
    "avg_pool2d": nn.AvgPool2d(2),
    "avg_pool2d stride": nn.AvgPool2d((3, 2), (1, 2)),
    "cross_entropy": lambda x: losses.cross_entropy(x, LABELS),
    "nll_loss": lambda x: losses.nll_loss(x, LABELS),
    "mse_loss": lambda x, y: losses.mse_loss(x, y),
    "bce": lambda x, y: losses.binary_cross_entropy_with_logits(x, y),
    "layer_norm": lambda x, weight, bias: with_parameters(nn.LayerNorm(5), weight=weight, bias=bias)(x),
    "layer_norm two axes": lambda x, weight, bias: with_parameters(nn.LayerNorm((4, 5)), weight=weight, bias=bias)(x),
    "embedding": embedded(None),
    "embedding padding": embedded(2),
}


def test_all_stored_cases_are_compared():
    assert STORED["functions"].keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_pytorchs(name):
    function = FUNCTIONS[name]
    case = STORED["functions"][name]
    compared(case, (lambda x: function(x)) if isinstance(function, nn.Module) else function)


@pytest.mark.parametrize("name", ["self", "causal", "other"])
def test_attention_is_pytorchs(name):
    """Its three input weights are one matrix, with outputs before inputs."""

    def compute(**given):
        layer = nn.MultiheadAttention(6, 2, causal=name == "causal", rng=rng(), dtype=np.float64)
        for i, part in enumerate((layer.query, layer.key, layer.value)):
            vars(part)["weight"] = given["in_proj_weight"][6 * i : 6 * i + 6].T  # a result: no parameter any more
            if part is not layer.key:  # whose bias has no effect, in PyTorch either
                vars(part)["bias"] = given["in_proj_bias"][6 * i : 6 * i + 6]
        vars(layer.output).update(weight=given["out_proj_weight"].T, bias=given["out_proj_bias"])
        return layer(given["x"], given.get("other"))

    compared(STORED["attention"][name], compute, rename=lambda key: key.replace(".", "_"))


@pytest.mark.parametrize("case", STORED["batch_norm"])
def test_batch_norm_and_its_running_statistics_are_pytorchs(case):
    layer = getattr(nn, case["kind"])(3, momentum=case["momentum"], dtype=np.float64)

    def compute(x, weight, bias):
        return with_parameters(layer, weight=weight, bias=bias)(x)

    for step in case["steps"]:
        compared(step, compute)
        assert_allclose(layer.running_mean.data, step["running"]["mean"], rtol=1e-12)
        assert_allclose(layer.running_var.data, step["running"]["var"], rtol=1e-12)
    assert layer.num_batches_tracked.item() == 3
    layer.eval()
    compared(case["evaluated"], compute)
    assert layer.num_batches_tracked.item() == 3


# ---- float32, derivatives of second order, state


LAYERS: dict[str, tuple[Any, Any]] = {
    "LayerNorm": (lambda: nn.LayerNorm(4), (3, 4)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (3, 4)),
    "BatchNorm1d None": (lambda: nn.BatchNorm1d(4, momentum=None), (3, 4)),
    "BatchNorm1d bare": (lambda: nn.BatchNorm1d(4, affine=False), (3, 4)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(2), (3, 2, 2, 2)),
    "GELU": (nn.GELU, (3, 4)),
    "GELU tanh": (lambda: nn.GELU("tanh"), (3, 4)),
    "SiLU": (nn.SiLU, (3, 4)),
    "Softplus": (nn.Softplus, (3, 4)),
    "LogSoftmax": (nn.LogSoftmax, (3, 4)),
    "AvgPool2d": (nn.AvgPool2d, (3, 1, 4, 4)),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, rng=rng()), (2, 3, 4)),
    "causal": (lambda: nn.MultiheadAttention(4, 2, causal=True, rng=rng()), (2, 3, 4)),
    "one sequence": (lambda: nn.MultiheadAttention(4, 1, bias=False, rng=rng()), (3, 4)),
}


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(*layer, id=name, marks=[pytest.mark.slow] * (name in ("causal", "one sequence")))
        for name, layer in LAYERS.items()
    ],
)
def test_float32_stays_and_all_derivatives_are_right(make, shape):
    layer, x = make(), rng(3).standard_normal(shape)
    out = layer(Tensor(x.astype(F), requires_grad=True))
    assert out.dtype == F
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == F for p in layer.parameters())
    check_derivatives(layer, x, parameters=layer)
    assert {name: x.dtype for name, x in layer.state_dict().items() if name != "num_batches_tracked"} == {
        name: np.dtype(F) for name in layer.state_dict() if name != "num_batches_tracked"
    }


@pytest.mark.parametrize("backend", ["numpy", pytest.param("c", marks=pytest.mark.slow)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_networks_of_these_layers_train_compiled_with_the_bits_of_the_step(momentum, backend):
    if backend == "c":
        needs_compiler()

    def course(wrap: Any) -> Any:
        r = rng(5)
        model = nn.Sequential(
            nn.Linear(12, 8, bias=False, rng=r), nn.BatchNorm1d(8, momentum=momentum), nn.SiLU(), nn.LayerNorm(8),
            nn.GELU("tanh"), lambda x: x.reshape(-1, 2, 4), nn.MultiheadAttention(4, 2, causal=True, rng=r),
            nn.Flatten(), nn.Linear(8, 3, rng=r),
        )  # fmt: skip
        optimizer = optim.Momentum(model.parameters(), lr=0.05)

        def step(x, y):
            cost = losses.cross_entropy(model(x), y)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            return cost

        step, seen = wrap(step), []
        for k in range(12):
            batch = rng(k)
            cost = step(Tensor(batch.standard_normal((6, 12)).astype(F)), Tensor(batch.integers(0, 3, 6)))
            seen.append(cost.item())
        return seen, model.state_dict(), step

    costs, state, _ = course(lambda step: step)
    compiled_costs, compiled_state, step = course(lambda step: compile(step, backend=backend))
    assert step.replays >= 7
    for name, value in state.items():
        if backend == "numpy":
            assert compiled_state[name].tobytes() == value.tobytes(), name
        else:
            assert_allclose(compiled_state[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert_allclose(compiled_costs, costs, rtol=0 if backend == "numpy" else 1e-4)
    assert costs[-1] < costs[0] or momentum is None
    assert state["layers.1.num_batches_tracked"] == 12


def test_a_compiled_step_looks_at_the_indices_of_each_call():
    letters = nn.Embedding(5, 3, rng=rng())
    optimizer = optim.SGD(letters.parameters(), lr=0.1)

    def step(indices):
        cost = (letters(indices) ** 2).sum()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        return cost

    compiled, twin = compile(step), letters.weight.data.copy()
    for k in range(6):
        indices = np.array([k % 5, 1, 1])
        compiled(indices)
        slope = np.zeros_like(twin)
        np.add.at(slope, indices, 2 * twin[indices])
        twin -= F(0.1) * slope
    assert compiled.replays > 1
    assert_allclose(letters.weight.data, twin, rtol=1e-6)
    with refused(IndexError, "0 to 4", "7"):
        compiled(np.array([7, 1, 1]))


def test_state_goes_round_with_running_statistics():
    one, two = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    one(rng().standard_normal((5, 2)).astype(F))
    two.load_state_dict(one.state_dict())
    assert two.running_mean.data.any()
    assert two.num_batches_tracked.item() == 1
    x = rng(1).standard_normal((1, 2)).astype(F)
    assert np.array_equal(one.eval()(x).data, two.eval()(x).data)


def test_what_may_look_at_nothing_gets_0_and_its_gradients_are_finite():
    q, k, v = (variable(rng(i).standard_normal((3, 2))) for i in range(3))
    mask = np.array([[True, False, True], [False, False, False], [False, True, False]])
    out = nn.scaled_dot_product_attention(q, k, v, mask)
    assert_allclose(out.data[1], 0)
    assert_allclose(out.data[2], v.data[1])
    check_gradients(lambda q, k, v: nn.scaled_dot_product_attention(q, k, v, mask), q.data, k.data, v.data)
    assert not grad(out, q, np.ones((3, 2))).data[1].any()


def test_costs_are_what_their_docstrings_say():
    z, y = variable(rng().standard_normal((4, 3))), rng(1).integers(0, 2, (4, 3)).astype(float)
    labels = np.array([2, 0, 1, 1])
    assert_allclose(losses.mse_loss(z, y).item(), losses.quadratic_cost(z, y).item() * 2 / 3)
    assert_allclose(losses.nll_loss(ops.log_softmax(z), labels).item(), losses.softmax_cross_entropy(z, labels).item())
    ours = losses.binary_cross_entropy_with_logits(z, y)
    assert_allclose(ours.item(), losses.cross_entropy_cost(ops.sigmoid(z), y).item() / 3)
    far = variable([[50.0, -50.0]], F)
    cost = losses.binary_cross_entropy_with_logits(far, np.array([[1.0, 0.0]], F))
    assert cost.item() == pytest.approx(np.exp(-50), rel=1e-5)
    for function in (losses.mse_loss, losses.nll_loss, losses.binary_cross_entropy_with_logits, losses.cross_entropy):
        with refused(ValueError, "labels", "3"):
            function(z, np.array([0, 1, 2, 3]))
        with refused(ValueError, "(4, 3)", "(4, 2)"):
            function(z, y[:, :2])
    targets = variable([[0.0, 1.0]])
    assert_allclose(grad(losses.nll_loss(constant_logs(), targets), targets).data, [[2.0, 0.5]])


def constant_logs():
    return Tensor(np.array([[-2.0, -0.5]]))


def test_indices_and_masks_may_be_lists_and_numbers():
    embedding = nn.Embedding(3, 2, rng=rng())
    for index in (2, np.int64(2), [0, 2], (0, 2)):
        assert_allclose(embedding(index).numpy(), embedding.weight.numpy()[np.asarray(index)])
    x, rows = rng().normal(size=(2, 2)), [[True, False], [False, True]]
    for causal in (False, True):
        assert_allclose(nn.scaled_dot_product_attention(x, x, x, rows, causal=causal), x)


def test_a_causal_mask_lets_nothing_through_that_another_mask_does():
    q, k, v = rng().normal(size=(3, 4, 4))
    given = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1]], bool)
    both = nn.scaled_dot_product_attention(q, k, v, given & np.tri(4, dtype=bool))
    assert_allclose(nn.scaled_dot_product_attention(q, k, v, given, causal=True), both)
    attention = nn.MultiheadAttention(4, 2, causal=True, rng=rng())
    x = variable(rng(1).normal(size=(1, 4, 4)))
    for mask in (None, np.ones((4, 4), bool)):
        assert not grad(attention(x, mask=mask)[:, 1].sum(), x).data[:, 2:].any()


@pytest.mark.parametrize("padding_idx", [0, 2, 5])
def test_a_row_that_stands_for_nothing_stays_0(padding_idx):
    embedding = nn.Embedding(6, 3, padding_idx=padding_idx, rng=rng())
    gradient = grad(embedding(INDICES).sum(), embedding.weight).data
    assert not gradient[padding_idx].any()
    assert gradient[2 if padding_idx != 2 else 5].any()


def test_dropout_of_nothing_draws_no_random_numbers():
    generator = rng()
    before = str(generator.bit_generator.state)
    x = Tensor(np.ones((2, 3), F))
    assert nn.Dropout(0.0, rng=generator)(x) is x
    assert nn.Dropout(0.5, rng=generator).eval()(x) is x
    assert str(generator.bit_generator.state) == before


# ---- What is refused


TRAINED: Any = [0.5]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: nn.BatchNorm1d(3)(np.ones((1, 3), F)), ValueError, ["BatchNorm1d", "1 value", "eval()"]),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 4), F)), ValueError, ["BatchNorm1d", "(n, 3)", "(2, 4)"]),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 3), F)), ValueError, ["BatchNorm2d", "4 axes", "(2, 3)"]),
        (lambda: nn.BatchNorm1d(0), ValueError, ["BatchNorm1d", "at least 1"]),
        (lambda: nn.BatchNorm1d(3, momentum=1.5), ValueError, ["momentum", "1.5"]),
        (lambda: nn.LayerNorm(3)(np.ones((2, 4), F)), ValueError, ["LayerNorm", "(3,)", "(2, 4)"]),
        (lambda: nn.LayerNorm(()), ValueError, ["LayerNorm", "()"]),
        (lambda: nn.Embedding(3, 2, rng=rng())(np.array([3])), IndexError, ["embedding", "0 to 2", "3"]),
        (lambda: nn.Embedding(3, 2, rng=rng())(np.array([-1])), IndexError, ["embedding", "0 to 2", "-1"]),
        (lambda: nn.Embedding(3, 2, rng=rng())(np.array([0.5])), TypeError, ["embedding", "integers"]),
        (lambda: nn.Embedding(3, 2, padding_idx=3, rng=rng()), ValueError, ["padding_idx", "3"]),
        (lambda: nn.MultiheadAttention(6, 4, rng=rng()), ValueError, ["heads", "6", "4"]),
        (lambda: nn.GELU("erf"), ValueError, ["gelu", "'none'", "'tanh'", "'erf'"]),
        (
            lambda: nn.scaled_dot_product_attention(np.eye(2), np.eye(2), np.eye(2), np.zeros((2, 2))),
            TypeError,
            ["mask", "float64"],
        ),
        (lambda: nn.Sigmoid().apply(TRAINED), TypeError, ["apply", "[0.5]"]),
    ],
)
def test_what_is_refused_is_named_in_one_line(call, kind, words):
    with refused(kind, *words):
        call()


def test_a_batch_that_is_refused_leaves_the_running_statistics():
    norm = nn.BatchNorm1d(2)
    before = norm.state_dict()
    with refused(ValueError, "1 value"):
        norm(np.ones((1, 2), F))
    assert all(np.array_equal(value, before[name]) for name, value in norm.state_dict().items())


# ---- How a network is shown


class Block(nn.Module):
    """As users write them: layers, lists, functions, numbers, a generator, Tensors."""

    def __init__(self):
        self.layers: list[Any] = [
            nn.Linear(4, 4, rng=rng()),
            ops.relu,
            lambda x: x,
            functools.partial(ops.leaky_relu, slope=0.5),
        ]
        self.more: dict[str, Any] = {"norm": nn.LayerNorm(4), "scale": Tensor(np.ones(4), requires_grad=True)}
        self.activation = np.tanh
        self.rate, self.sizes, self.name = 0.5, [784, 30], "block"
        self.rng, self.dtype, self.array = rng(), np.float32, np.ones(100)
        self.pool = nn.Conv2d(1, 2, 3, stride=2, rng=rng())
        self._cache = nn.Dropout(0.25, rng=rng())


def test_repr_shows_one_layer_a_line_with_sizes_and_no_addresses():
    network = nn.Sequential(
        Block(), nn.MultiheadAttention(4, 2, bias=False, rng=rng()), nn.BatchNorm2d(3, momentum=None)
    )
    text = repr(network.train())
    assert (
        text
        == """Sequential(
  layers.0: Block(more.scale=(4,), rate=0.5, sizes=[784, 30], name='block'
    layers.0: Linear(4, 4)
    layers.1: relu
    layers.2: <lambda>
    layers.3: leaky_relu(slope=0.5)
    more.norm: LayerNorm(4)
    activation: tanh
    pool: Conv2d(1, 2, 3, stride=2)
    _cache: Dropout(0.25)
  )
  layers.1: MultiheadAttention(4, 2
    query: Linear(4, 4, bias=False)
    key: Linear(4, 4, bias=False)
    value: Linear(4, 4, bias=False)
    output: Linear(4, 4, bias=False)
  )
  layers.2: BatchNorm2d(3, momentum=None)
)"""
    )
    assert "0x" not in text


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.MaxPool2d(2), "MaxPool2d(2)"),
        (nn.AvgPool2d((2, 3), 1), "AvgPool2d((2, 3), stride=1)"),
        (nn.Conv2d(1, 2, (3, 5), padding=1, bias=False, rng=rng()), "Conv2d(1, 2, (3, 5), padding=1, bias=False)"),
        (nn.Embedding(5, 3, rng=rng()), "Embedding(5, 3)"),
        (nn.Embedding(5, 3, padding_idx=0, rng=rng()), "Embedding(5, 3, padding_idx=0)"),
        (nn.LayerNorm((2, 3), affine=False), "LayerNorm((2, 3), affine=False)"),
        (nn.GELU("tanh"), "GELU(approximate='tanh')"),
        (nn.LeakyReLU(), "LeakyReLU(slope=0.01)"),
        (nn.Flatten(), "Flatten()"),
    ],
)
def test_repr_of_each_layer(layer, text):
    assert repr(layer) == text


def test_a_module_inside_itself_has_a_repr_and_is_visited_once():
    block = Block()
    block.more["me"] = block
    assert "more.me: ..." in repr(block)
    visited: list[Any] = []
    assert block.apply(visited.append) is block
    assert len(visited) == len({id(module) for module in visited}) == len(block.modules())
    assert visited[-1] is block


def test_apply_visits_parts_first_and_children_are_direct():
    inner = nn.Sequential(nn.Sigmoid(), nn.Tanh())
    outer = nn.Sequential(inner, nn.ReLU(), inner)
    names: list[str] = []
    outer.apply(lambda module: names.append(type(module).__name__))
    assert names == ["Sigmoid", "Tanh", "Sequential", "ReLU", "Sequential"]
    assert outer.children() == [inner, outer.layers[1]]


# ---- A network as a table


class Shared(nn.Module):
    def __init__(self):
        self.blocks = nn.Sequential(
            nn.Linear(4, 4, rng=rng()), nn.BatchNorm1d(4), nn.Dropout(0.5, rng=rng()), nn.ReLU()
        )
        self.again: list[Any] = [self.blocks.layers[0], nn.Linear(4, 2, rng=rng())]
        self.scale = Tensor(np.ones(2), requires_grad=True)
        self.unused = nn.Embedding(5, 3, rng=rng())

    def forward(self, x):
        return self.again[1](self.again[0](self.blocks(x))) * self.scale, x


def test_a_summary_counts_every_parameter_once_and_leaves_the_network_as_it_was():
    network: Any = Shared()
    network.unused.weight.requires_grad = False
    network.blocks.layers[1].train()
    before, dropout = network.state_dict(), network.blocks.layers[2]
    chance = dropout.rng.bit_generator.state
    table = summary(network, (3, 4))
    assert table.parameters == sum(p.size for p in network.parameters()) == 20 + 8 + 10 + 2
    assert table.frozen == 15 + 4 + 4 + 1
    assert (
        str(table)
        == """\
layer                       output          parameters
------------------------------------------------------
Shared                      (3, 2), (3, 4)           2
blocks: Sequential          (3, 4)
  layers.0: Linear(4, 4)    (3, 4)                  20
  layers.1: BatchNorm1d(4)  (3, 4)                   8
  layers.2: Dropout(0.5)    (3, 4)
  layers.3: ReLU()          (3, 4)
again.1: Linear(4, 2)       (3, 2)                  10
unused: Embedding(5, 3)     not called
40 parameters, 24 numbers that are not trained"""
    )
    assert all(np.array_equal(value, before[name]) for name, value in network.state_dict().items())
    assert dropout.rng.bit_generator.state == chance
    assert "training" not in vars(network)
    assert network.blocks.layers[1].training
    assert nn.Module.__call__.__qualname__ == "Module.__call__"


def test_a_summary_fits_a_terminal_and_a_notebook():
    network: Any = nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())))
    network.layers[0].layers[0].layers = [nn.Sequential(nn.LayerNorm((2, 3, 4, 5, 6, 7, 8, 9, 10), affine=False))]
    network.layers[0].layers[0].layers[0].name = "<" + "b" * 38
    table = summary(network, (2, 3, 4, 5, 6, 7, 8, 9, 10))
    assert max(map(len, str(table).splitlines())) <= 80
    page = table._repr_html_()
    assert page.count("<tr>") == 1 + len(table.rows)
    assert "layers.0: " in page
    assert "LayerNorm((2, 3" in page
    parse = __import__("xml.etree.ElementTree", fromlist=["fromstring"]).fromstring
    parse(f"<div>{page}</div>")


def test_a_summary_gives_a_tuple_of_arrays_as_it_is():
    class Both(nn.Module):
        def forward(self, both):
            return both[0] + both[1]

    assert "(2, 3)" in str(summary(Both(), (np.ones((2, 3)), np.ones(3))))


def test_what_has_no_summary():
    with refused(TypeError, "summary", "nn.Sequential"):
        summary(ops.relu, (1, 2))  # type: ignore[arg-type]
    with refused(TypeError, "summary", "shape"):
        summary(nn.ReLU())
    with refused(ValueError, "summary: expected a shape", "at least 0, got (-1, 3)"):
        summary(nn.ReLU(), (-1, 3))
    network = nn.Sequential(nn.Linear(3, 2, rng=rng()))
    with pytest.raises(ValueError, match="linear"):
        summary(network, (1, 2))
    assert network.training
    assert nn.Module.__call__.__qualname__ == "Module.__call__"
