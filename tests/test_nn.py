"""nn: how parameters are found, start, are saved and put back; what each layer computes."""

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import OPS, Tensor, grad, no_grad, ops
from tinygrad_mnist.nn import (
    INITIALIZERS,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Buffer,
    Conv2d,
    Dropout,
    Flatten,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinygrad_mnist.tensor import values


def rng(seed=0):
    return np.random.default_rng(seed)


class Nested(Module):
    """Modules and Tensors in every place where they are looked for."""

    def __init__(self):
        self.first = Linear(3, 4, rng=rng())
        self.more: list[Any] = [Linear(4, 4, rng=rng()), {"inside": Linear(4, 2, rng=rng())}]
        self.scale = Tensor([2.0], requires_grad=True)
        self.fixed = Tensor([5.0])
        self.again = self.first
        self.number = 7

    def forward(self, x):
        x = ops.sigmoid(self.first(x))
        return self.more[1]["inside"](self.more[0](x)) * self.scale + self.fixed


# ---- Parameters


def test_parameters_are_found_wherever_attributes_lead_and_each_once():
    module = Nested()
    names = [name for name, _ in module.named_parameters()]
    assert names == [
        "first.weight",
        "first.bias",
        "more.0.weight",
        "more.0.bias",
        "more.1.inside.weight",
        "more.1.inside.bias",
        "scale",
    ]
    assert [id(p) for p in module.parameters()] == [id(p) for _, p in module.named_parameters()]


def test_a_module_that_contains_itself_is_no_endless_search():
    module = Nested()
    vars(module)["me"] = module
    assert len(module.parameters()) == 7


def test_a_frozen_parameter_is_no_parameter_but_is_saved():
    layer = Linear(2, 2, rng=rng())
    layer.weight.requires_grad = False
    assert [name for name, _ in layer.named_parameters()] == ["bias"]
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_an_attribute_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError, match="wieght"):
        getattr(Linear(2, 2, rng=rng()), "wieght")  # noqa: B009


def test_zero_grad_clears_all():
    module = Nested()
    module(np.ones((2, 3), np.float32)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    module.zero_grad()
    assert all(p.grad is None for p in module.parameters())


def test_a_module_without_forward_says_what_to_define():
    with pytest.raises(TypeError, match=r"Module: define forward\(self, x\)"):
        Module()(1)


# ---- State


def test_a_state_goes_round():
    one, two = Nested(), Nested()
    for p in one.parameters():
        p.data += 1
    two.load_state_dict(one.state_dict())
    x = rng(3).random((5, 3), np.float32)
    assert np.array_equal(one(x).data, two(x).data)


def test_a_state_is_a_copy_both_ways():
    layer = Linear(2, 2, rng=rng())
    state = layer.state_dict()
    layer.weight.data += 1
    assert not np.array_equal(state["weight"], layer.weight.data)
    layer.load_state_dict(state)
    layer.weight.data += 1
    assert not np.array_equal(state["weight"], layer.weight.data)


def test_loading_keeps_the_dtype_and_the_tensors():
    layer = Linear(2, 2, rng=rng())
    weight = layer.weight
    layer.load_state_dict({"weight": np.ones((2, 2), np.float64), "bias": np.zeros(2, np.float64)})
    assert layer.weight is weight  # an optimizer that holds it goes on
    assert weight.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.bias"), r"'layers\.0\.bias' is missing"),
        (lambda s: s.update({"0.bais": 1}), r"'layers\.0\.bais' is not in this Sequential"),
        (lambda s: s.update({"0.weight": np.ones((3, 2))}), r"'layers.0.weight' has shape \(3, 2\), expected \(2, 3\)"),
    ],
)
def test_a_state_that_does_not_fit_is_named_and_nothing_taken_over(change, message):
    module = Sequential(Linear(2, 3, rng=rng()), Sigmoid())
    before = module.state_dict()
    state = {name.removeprefix("layers."): np.zeros_like(value) for name, value in before.items()}
    change(state)
    with pytest.raises(ValueError, match=message) as caught:
        module.load_state_dict({f"layers.{name}": value for name, value in state.items()})
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(value, before[name]) for name, value in module.state_dict().items())


# ---- How parameters start


@pytest.mark.parametrize(
    ("init", "deviation"), [("normal", 1.0), ("scaled", 1 / 20), ("xavier", (2 / 900) ** 0.5), ("he", (2 / 400) ** 0.5)]
)
def test_first_weights_have_the_deviation_that_is_promised(init, deviation):
    layer = Linear(400, 500, init=init, rng=rng(1))
    assert layer.weight.data.std() == pytest.approx(deviation, rel=0.01)
    assert layer.weight.data.mean() == pytest.approx(0, abs=deviation / 100)


@pytest.mark.parametrize("make", [partial(Linear, 4, 500), partial(Conv2d, 4, 500, 1)], ids=["Linear", "Conv2d"])
@pytest.mark.parametrize("init", INITIALIZERS)
def test_biases_start_at_0_or_from_a_normal_distribution_or_there_are_none(make, init):
    layers = {bias: make(init=init, bias=bias, rng=rng(1)) for bias in ("zeros", True, "normal", False)}
    first = layers["zeros"]
    assert not first.bias.data.any()
    assert not layers[True].bias.data.any()
    assert not make(init=init, rng=rng(1)).bias.data.any()
    assert layers["normal"].bias.data.std() == pytest.approx(1, rel=0.1)
    assert layers["normal"].bias.shape == first.bias.shape
    generator, other = rng(1), rng(1)
    make(init=init, rng=other)
    generator.standard_normal(first.weight.shape)  # weights come first: they are the same whatever the biases are
    assert generator.bit_generator.state == other.bit_generator.state  # zeros are not drawn
    drawn = generator.standard_normal(first.bias.shape).astype(np.float32)
    assert np.array_equal(layers["normal"].bias.data, drawn)
    assert all(np.array_equal(layer.weight.data, first.weight.data) for layer in layers.values())


def test_a_layer_without_biases_has_no_such_parameter():
    x = rng(1).standard_normal((5, 1, 3, 3)).astype(np.float32)
    linear, conv = Linear(3, 2, bias=False, rng=rng()), Conv2d(1, 2, 2, bias=False, rng=rng())
    assert (linear.bias, conv.bias) == (None, None)
    assert np.array_equal(linear(x).data, x @ linear.weight.data)
    assert np.array_equal(conv(x).data, ops.conv2d(x, conv.weight).data)
    network = Sequential(linear, Flatten())
    assert [name for name, _ in network.named_parameters()] == ["layers.0.weight"]
    network.load_state_dict(network.state_dict())
    assert repr(linear) == "Linear(3, 2, bias=False)"
    slope = grad(linear(x).sum(), linear.weight)
    np.testing.assert_allclose(slope.data, np.repeat(x.sum((0, 1, 2))[:, None], 2, axis=1), rtol=1e-5)


@pytest.mark.parametrize("init", INITIALIZERS)
@given(seed=st.integers(0, 2**64))
def test_one_seed_gives_the_same_bits(init, seed):
    one, two = (Linear(3, 2, init=init, rng=rng(seed)) for _ in range(2))
    assert np.array_equal(one.weight.data, two.weight.data)
    assert np.array_equal(one.bias.data, two.bias.data)


def test_all_initializers_draw_the_same_numbers_and_scale_them():
    normal, scaled = (Linear(784, 30, init=init, bias="normal", rng=rng(2)) for init in ("normal", "scaled"))
    np.testing.assert_allclose(scaled.weight.data, normal.weight.data / 28, rtol=1e-6)
    assert np.array_equal(scaled.bias.data, normal.bias.data)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"init": "huge", "rng": rng()}, ValueError, "init: expected one of normal, scaled, xavier, he, got 'huge'"),
        ({"bias": "ones", "rng": rng()}, ValueError, "bias: expected 'zeros', 'normal' or False for none, got 'ones'"),
        ({"bias": None, "rng": rng()}, ValueError, "bias: expected 'zeros', 'normal' or False for none, got None"),
        ({"bias": 0, "rng": rng()}, ValueError, "bias: expected 'zeros', 'normal' or False for none, got 0"),
        ({"rng": 0}, TypeError, r"rng: expected a numpy\.random\.Generator, .* got 0"),
        ({"rng": np.random}, TypeError, r"rng: expected a numpy\.random\.Generator"),
    ],
)
def test_what_a_layer_cannot_start_with(arguments, error, message):
    with pytest.raises(error, match=message):
        Linear(2, 2, **arguments)


# ---- Layers


def test_linear_is_x_w_plus_b_in_one_node():
    layer = Linear(3, 2, rng=rng(), dtype=np.float64)
    x = rng(1).standard_normal((5, 3))
    y = layer(x)
    np.testing.assert_allclose(y.data, x @ layer.weight.data + layer.bias.data, rtol=1e-14)
    assert y.op is OPS["linear"]
    np.testing.assert_allclose(layer(x[0]).data, y.data[0], rtol=1e-14)
    np.testing.assert_allclose(layer(x.reshape(5, 1, 3)).data, y.data.reshape(5, 1, 2), rtol=1e-14)


def test_linear_of_the_wrong_width_is_refused():
    with pytest.raises(ValueError, match="linear") as caught:
        Linear(3, 2, rng=rng())(np.ones((5, 4), np.float32))
    assert "(5, 4)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "function"),
    [(Sigmoid(), ops.sigmoid), (Tanh(), ops.tanh), (ReLU(), ops.relu), (Softmax(), ops.softmax)],
)
def test_activations_are_the_functions_of_the_table(layer, function):
    x = Tensor(rng().standard_normal((2, 3)))
    assert np.array_equal(layer(x).data, function(x).data)
    assert list(layer.named_parameters()) == []


def test_sequential_takes_modules_and_functions():
    first, last = Linear(3, 4, rng=rng()), Linear(4, 2, rng=rng(1))
    network = Sequential(first, ops.relu, Flatten(), last)
    x = rng(2).standard_normal((5, 3)).astype(np.float32)
    assert np.array_equal(network(x).data, last(ops.relu(first(x))).data)
    assert [name for name, _ in network.named_parameters()] == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.3.weight",
        "layers.3.bias",
    ]
    assert "Linear(3, 4)" in repr(network)


def test_a_convolutional_network_trains_by_one_step():
    network = Sequential(
        Conv2d(1, 3, 3, stride=2, padding=1, rng=rng()), ReLU(), MaxPool2d(2), Flatten(), Linear(12, 2, rng=rng())
    )
    x = rng(1).standard_normal((5, 1, 8, 8)).astype(np.float32)
    y = network(x)
    assert y.shape == (5, 2)
    (y * y).sum().backward()
    assert all(p.grad is not None and p.grad.data.any() for p in network.parameters())


def test_conv2d_is_the_sum_over_windows():
    layer = Conv2d(2, 1, (2, 3), rng=rng(), dtype=np.float64)
    x = rng(1).standard_normal((1, 2, 3, 4))
    expected = [
        [(x[0, :, i : i + 2, j : j + 3] * layer.weight.data[0]).sum() + layer.bias.data.item() for j in range(2)]
        for i in range(2)
    ]
    np.testing.assert_allclose(layer(x).data[0, 0], expected, rtol=1e-12)


def test_flatten_keeps_the_batch():
    assert Flatten()(Tensor(np.zeros((4, 2, 3)))).shape == (4, 6)
    assert Flatten()(Tensor(np.zeros((0, 2, 3)))).shape == (0, 6)


# ---- Training and evaluation


def test_train_and_eval_reach_every_module():
    network = Sequential(Linear(2, 2, rng=rng()), Sequential(Dropout(0.5, rng=rng())))
    assert all(module.training for module in network.modules())
    assert network.eval() is network
    assert not any(module.training for module in network.modules())
    network.train()
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float16, np.float32, np.float64])
def test_dropout_scales_whatever_numbers_it_is_given(dtype):
    """1 / (1 - p) is no integer."""
    layer, x = Dropout(0.2, rng=rng()), np.ones((500, 200), dtype)
    for images in (x, Tensor(x)):
        kept = values(layer(images))
        assert kept.dtype.kind == "f"
        assert set(np.unique(kept).tolist()) == {0, kept.dtype.type(np.float32(1.25))}
        assert abs(kept.mean(dtype=float) - 1) < 0.01


def test_dropout_keeps_the_mean_drops_a_share_and_is_off_in_evaluation():
    layer, x = Dropout(0.25, rng=rng()), Tensor(np.ones((400, 400), np.float32), requires_grad=True)
    y = layer(x)
    assert np.isin(y.data, np.array([0, 1 / 0.75], np.float32)).all()
    assert (y.data == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert y.data.mean() == pytest.approx(1, abs=0.01)
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad is not None
    assert np.array_equal(x.grad.data, y.data)
    assert not np.array_equal(layer(x).data, y.data)  # fresh at each call
    layer.eval()
    assert layer(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 2])
def test_a_share_to_drop_must_be_below_one(p):
    with pytest.raises(ValueError, match=f"0 <= p < 1, got {p}"):
        Dropout(p, rng=rng())


def test_nothing_is_recorded_without_gradients():
    with no_grad():
        assert Nested()(np.ones((2, 3), np.float32)).op is None


HALF: Any = 2.5
TEXT: Any = "1"
THREE: Any = [1, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rng: Linear(0, 2, rng=rng), r"expected sizes that are whole numbers of at least 1, got \(0, 2\)"),
        (lambda rng: Linear(HALF, 2, rng=rng), r"whole numbers of at least 1, got \(2\.5, 2\)"),
        (lambda rng: Conv2d(1, 2, HALF, rng=rng), r"expected a size of one or two whole numbers .*, got 2\.5"),
        (lambda rng: Conv2d(1, 2, THREE, rng=rng), r"size of one or two whole numbers of at least 1, got \(1, 2, 3\)"),
        (lambda rng: Conv2d(0, 2, 3, rng=rng), r"sizes that are whole numbers of at least 1, got \(2, 0, 3, 3\)"),
        (lambda rng: Conv2d(1, 2, 3, stride=0, rng=rng), "stride of one or two whole numbers of at least 1, got 0"),
        (lambda rng: Conv2d(1, 2, 3, padding=-1, rng=rng), "padding of one or two whole numbers of at least 0, got -1"),
        (lambda rng: MaxPool2d(0), "size of one or two whole numbers of at least 1, got 0"),
        (lambda rng: AvgPool2d(2, (1, 0)), r"stride of one or two whole numbers of at least 1, got \(1, 0\)"),
        (lambda rng: Dropout(TEXT, rng=rng), "expected a probability 0 <= p < 1, got '1'"),
        (lambda rng: LayerNorm(3, eps=-1.0), r"LayerNorm: expected a number eps >= 0, got -1\.0"),
        (lambda rng: BatchNorm2d(3, eps=TEXT), "BatchNorm2d: expected a number eps >= 0, got '1'"),
        (lambda rng: BatchNorm1d(3, momentum=TEXT), "BatchNorm1d: expected a momentum from 0 to 1, or None, got '1'"),
        (lambda rng: LeakyReLU(TEXT), "LeakyReLU: expected a number as slope, got '1'"),
        (lambda rng: Sequential(HALF), r"expected Modules or functions, got 2\.5; unpack a list with \*"),
    ],
)
def test_impossible_layers_are_refused_when_they_are_made(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(np.random.default_rng(0))


def test_pixels_are_whole_numbers_of_any_kind():
    layer = Conv2d(1, 2, np.int64(3), stride=[2, 2], padding=np.int8(1), rng=np.random.default_rng(0))  # type: ignore[arg-type]
    assert repr(layer) == "Conv2d(1, 2, 3, stride=2, padding=1)"
    assert layer(np.ones((1, 1, 5, 5), np.float32)).shape == (1, 2, 3, 3)


def test_a_result_that_a_module_keeps_is_no_part_of_its_state():
    class Keeping(Module):
        def __init__(self):
            self.linear = Linear(2, 1, rng=np.random.default_rng(0))

        def forward(self, x, factor=1.0):
            self.kept = self.linear(x) * factor
            return self.kept

    network, fresh = Keeping(), Keeping()
    network(np.ones((1, 2), "f"), factor=2.0)
    assert list(network.state_dict()) == ["linear.weight", "linear.bias"]
    fresh.load_state_dict(network.state_dict())


def test_networks_can_be_pickled():
    rng = np.random.default_rng(0)
    network = Sequential(Linear(2, 3, rng=rng), ops.relu, Linear(3, 1, rng=rng))
    x = np.ones((1, 2), "f")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(network))(x).data, network(x).data)


# ---- Habits of PyTorch's users


class WithConstants(Module):
    def __init__(self):
        self.weight = Tensor([1.0], requires_grad=True)
        self.constant, self.running = Tensor([2.0]), Buffer([3.0])


def test_frozen_parameters_are_asked_for():
    network = Sequential(Linear(2, 3, rng=rng()), Linear(3, 1, rng=rng()))
    network[0].requires_grad_(False)
    assert [name for name, _ in network.named_parameters()] == ["layers.1.weight", "layers.1.bias"]
    assert len(network.parameters(frozen=True)) == 4
    assert network[0].parameters() == []


@pytest.mark.parametrize("copied", [lambda x: x, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_requires_grad_thaws_parameters_and_leaves_constants(copied):
    network = copied(copied(WithConstants()).requires_grad_(False))
    assert network.parameters() == []
    assert network.requires_grad_() is network
    assert [name for name, _ in network.named_parameters()] == ["weight"]
    assert not network.constant.requires_grad


def test_a_frozen_copy_is_gone_through_beside_its_original():
    network = Linear(2, 3, rng=rng())
    target = copy.deepcopy(network).requires_grad_(False)
    for kept, p in zip(target.parameters(frozen=True), network.parameters(), strict=True):
        kept.data[...] = p.data + 1
    assert np.array_equal(target.weight.data, network.weight.data + 1)


def test_a_shallow_copy_of_a_frozen_parameter_is_one():
    layer = Linear(2, 3, rng=rng()).requires_grad_(False)
    layer.weight = copy.copy(layer.weight)
    assert len(layer.requires_grad_().parameters()) == 2


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda w: w * 2, "the result of mul"),
        (lambda w: w.numpy() * 2, "ndarray of shape"),
        (lambda w: no_grad(lambda: w * 2)(), "a Tensor that requires no gradients"),
        (lambda w: w.detach(), "a Tensor that requires no gradients"),
        (lambda w: 0.0, "float 0.0"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_parameter_is_not_lost_by_setting_it(value, words, frozen):
    layer = Linear(2, 3, rng=rng())
    layer.weight.requires_grad = not frozen
    before = layer.weight
    made = value(Tensor(before.data, requires_grad=True) if words == "the result of mul" else before)
    with pytest.raises(TypeError, match=rf"Linear.weight is a parameter, .*{words}.*weight\.data = array"):
        layer.weight = made
    assert layer.weight is before


def test_a_parameter_may_become_another_or_none():
    layer = Linear(2, 3, rng=rng())
    layer.weight = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    layer.bias = None
    assert layer(np.ones((1, 2), np.float32)).tolist() == [[2, 2, 2]]
    del layer.weight
    layer.weight = ops.exp(np.ones((2, 3), np.float32))  # where there is no parameter of that name, anything
    assert layer.parameters() == []


def test_a_sequential_is_indexed_as_a_list():
    network = Sequential(Linear(2, 3, rng=rng()), np.exp, Linear(3, 1, rng=rng()))
    assert (len(network), network[1], network[-1]) == (3, np.exp, network.layers[2])
    assert list(network) == network.layers
    head = network[:2]
    assert isinstance(head, Sequential)
    assert head.layers == network.layers[:2]
    with pytest.raises(IndexError):
        network[3]
