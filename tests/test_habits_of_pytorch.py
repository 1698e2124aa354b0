"""What PyTorch's users type: it works, or one line says what to write in its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, compile, functional, grad, mnist, nn, no_grad, optim, pytorch, train, unary

from .helpers import refused

F = np.float32


def parameter(*values: float) -> Any:
    w = Tensor(np.array(values, F), requires_grad=True)
    w.grad = Tensor(np.ones(len(values), F))
    return w


def layer() -> nn.Linear:
    return nn.Linear(2, 1, rng=np.random.default_rng(0))


# ---- Updates in place


def test_data_is_updated_by_a_tensor_that_requires_no_gradients() -> None:
    w = parameter(1, 2)
    before = w.data
    w.data -= 0.5 * w.grad
    with no_grad():
        w.data *= w * 2
    assert w.data is before
    assert w.tolist() == [0.5, 4.5]
    assert w.requires_grad


def test_such_an_update_is_noticed_by_a_later_backward_pass() -> None:
    w = parameter(1, 2)
    loss = (w * w).sum()
    w.data -= 0.5 * w.grad
    with refused(RuntimeError, "changed in place after mul used it"):
        loss.backward()


def test_no_gradient_is_lost_in_an_array() -> None:
    w, array, other = parameter(1, 2), np.zeros(2, F), Tensor([0.0, 0.0])
    with refused(TypeError, "np.add", "out="):
        array += w
    with refused(TypeError, "np.multiply", "out="):
        w.data *= w * 2
    with refused(TypeError, "np.add", "out="):
        np.add(w.grad, 1, out=other)  # type: ignore[call-overload]
    assert array.tolist() == other.tolist() == [0, 0]
    assert w.tolist() == [1, 2]


def test_a_step_with_such_an_update_is_not_replayed() -> None:
    w = parameter(1, 2)

    @compile
    def step(x: Any) -> Any:
        w.data -= 0.5 * grad((w * x).sum(), w)
        return w * 1

    for i in range(1, 6):
        assert step(np.array([i, 1], F)).tolist() == [1 - 0.25 * i * (i + 1), 2 - 0.5 * i]
    assert step.replays == 0


def test_a_step_that_writes_into_an_array_is_not_replayed() -> None:
    total, t = np.zeros(2, F), Tensor([1.0, 10.0])

    def step(x: Any) -> Any:
        np.add(total, t * x, out=total)
        return t * x

    compiled = compile(step)
    for i in range(1, 5):
        compiled(np.array([i, 1], F))
    assert total.tolist() == [10, 40]
    assert compiled.replays == 0


def test_in_place_operators_name_what_works() -> None:
    loss, w = parameter(1, 2).sum(), parameter(1, 2)
    with pytest.raises(RuntimeError, match=r"write t = t \+ u$"):  # t.data += u would lose the gradient of u
        loss += 1
    with refused(RuntimeError, "in-place operator", "t.data -= lr * t.grad"), no_grad():
        w -= 0.5 * w.grad
    with refused(TypeError, "got Tensor", "take its .data"):
        w.data = w.detach() * 2


# ---- What COMING_FROM_PYTORCH.md says of lines that mean something else here


def test_a_single_input_has_a_gradient_and_no_tuple() -> None:
    w = parameter(1, 2)
    assert grad((w * w).sum(), w)[0].shape == ()
    (slope,) = grad((w * w).sum(), [w])
    assert slope.tolist() == [2, 4]
    assert grad(w * w, w, gradient=np.array([1, 10], F)).tolist() == [2, 40]


def test_in_place_operators_rebind_what_is_not_tracked() -> None:
    w = parameter(1, 2)
    g = w.grad
    g *= 0.5
    assert w.grad.tolist() == [1, 1]
    w.grad = w.grad * 0.5
    assert w.grad.tolist() == [0.5, 0.5]


def test_a_detached_tensor_shares_memory_and_changes_are_noticed() -> None:
    x = parameter(1, 2)
    loss, d = (x * x).sum(), x.detach()
    d[0] = 7
    assert x.tolist() == [7, 2]
    with refused(RuntimeError, "changed in place"):
        loss.backward()


def test_methods_of_the_same_name_have_numpys_meaning() -> None:
    t = Tensor([1.0, 2.0, 3.0, 6.0], requires_grad=True)
    assert t.var().item() == 3.5
    assert t.var(correction=1).item() == pytest.approx(14 / 3)
    assert t.std(correction=1).item() == pytest.approx((14 / 3) ** 0.5)
    assert tg.median(t).item() == 2.5
    assert t.repeat(2).tolist() == [1, 1, 2, 2, 3, 3, 6, 6]
    assert tg.tile(t, 2).tolist() == [1, 2, 3, 6, 1, 2, 3, 6]
    assert [part.tolist() for part in tg.split(t, 2)] == [[1, 2], [3, 6]]
    equal = parameter(1, 1)
    assert grad(equal.max(0), equal).tolist() == [0.5, 0.5]
    cube = Tensor(np.zeros((2, 3, 4), F))
    assert (cube.swapaxes(0, 1).shape, cube.transpose(1, 0, 2).shape) == ((3, 2, 4), (3, 2, 4))
    assert (cube.T.shape, cube.mT.shape) == ((4, 3, 2), (2, 4, 3))


def test_functions_of_functions_are_called_as_the_page_says() -> None:
    x, v = np.array([1.0, 2.0]), np.array([1.0, 10.0])
    value, slope = functional.value_and_grad(lambda x: (x**3).sum(), x)
    assert (value.item(), slope.tolist()) == (9, [3, 12])
    for name, given in (("vjp", {"cotangent": v}), ("jvp", {"tangent": v})):
        out, product = getattr(functional, name)(lambda x: x**2, x, **given)
        assert (out.tolist(), product.tolist()) == ([1, 4], [2, 40])
    assert functional.hvp(lambda x: (x**3).sum(), x, tangent=v)[1].tolist() == [6, 120]


def test_parts_of_a_network_are_found_by_kind() -> None:
    network = nn.Sequential(layer(), nn.BatchNorm1d(1))
    assert [name for name, _ in nn.named(network, nn.Module)] == ["", "layers.0", "layers.1"]
    assert "layers.1.running_mean" in dict(nn.named(network, nn.Buffer))
    network.load_state_dict(network.state_dict() | {"layers.0.bias": np.ones(1, F)})
    assert network[0].bias.tolist() == [1]


# ---- Files


@pytest.mark.parametrize(
    "given",
    [
        lambda path, net: (path, net),
        lambda path, net: (path, net, None),
        lambda path, net: (net, path),
        lambda path, net: (path, net.state_dict()),
        lambda path, net: (net.state_dict(), path),
        lambda path, net: (path, net, net.parameters()),
    ],
)
def test_a_model_alone_is_no_checkpoint_and_the_error_says_how_to_save_it(given: Any, tmp_path: Path) -> None:
    with refused(TypeError, "save: expected", "np.savez(path, **model.state_dict())"):
        train.save(*given(tmp_path / "m.npz", layer()))
    assert not list(tmp_path.iterdir())


def test_arrays_alone_are_loaded_as_the_error_says(tmp_path: Path) -> None:
    path, net, other = tmp_path / "m.npz", layer(), nn.Linear(2, 1, rng=np.random.default_rng(1))
    np.savez(path, **net.state_dict())  # type: ignore[arg-type]
    with refused(train.CheckpointError, "m.npz", "arrays alone", "load_state_dict(dict(np.load(path)))"):
        train.load(path)
    other.load_state_dict(dict(np.load(path)))
    assert np.array_equal(other.weight.data, net.weight.data)
    with refused(TypeError, "load_state_dict: expected arrays by name", "np.load(path)"):
        other.load_state_dict(str(path))  # type: ignore[arg-type]


# ---- Data


def test_batches_take_a_pair() -> None:
    x, y = np.arange(12, dtype=F).reshape(6, 2), np.arange(6)
    found = [(a.tolist(), b.tolist()) for a, b in mnist.batches((x, y), 4)]
    assert found == [(x[:4].tolist(), [0, 1, 2, 3]), (x[4:].tolist(), [4, 5])]
    shuffled = [b.tolist() for _, b in mnist.batches((x, y), 4, np.random.default_rng(0))]
    assert shuffled == [b.tolist() for _, b in mnist.batches(mnist.Split(x, y), 4, np.random.default_rng(0))]


def test_batches_name_what_is_no_split(tmp_path: Path) -> None:
    x, y = np.zeros((6, 4), F), np.zeros(6, int)
    split = mnist.Split(x, y)
    data = mnist.Dataset(split, split, None, n_classes=1, image_shape=(2, 2), source=tmp_path)
    for given, remedy in (((x, y, y), "Split(x, y)"), (x, "Split(x, y)"), (data, "data.train"), (None, "Split(x, y)")):
        with refused(TypeError, "batches: expected a Split", remedy):
            mnist.batches(given, 4)  # type: ignore[arg-type]
    with refused(ValueError, "labels: expected shape (n,)", "argmax(1)"):
        mnist.batches((x, np.eye(6)), 4)


# ---- Errors that name the remedy


def test_pytorchs_attributes_name_ours() -> None:
    w, network = parameter(1, 2), layer()
    for owner, name, words in (
        (w, "unsqueeze", "'Tensor' object has no attribute 'unsqueeze'; write np.expand_dims(t, axis)"),
        (w, "requires_grad_", "write t.requires_grad = True"),
        (nn.Buffer([1.0]), "clone", "'Buffer' object has no attribute 'clone'; write t.copy()"),
        (network, "named_modules", "'Linear' object has no attribute 'named_modules'; write nn.named("),
    ):
        with refused(AttributeError, words):
            getattr(owner, name)
        assert not hasattr(owner, name)


def test_no_name_of_the_table_is_there_and_each_remedy_starts_with_something_that_is() -> None:
    w, network = parameter(1, 2), layer()
    for owner, remedies in ((w, pytorch.OF_TENSORS), (network, pytorch.OF_MODULES)):
        assert [name for name in remedies if hasattr(owner, name)] == []
    for remedy in pytorch.OF_TENSORS.values():
        for room, name in re.findall(r"\b(t|np|np\.linalg)\.(\w+)", remedy):
            place = {"t": w, "np": np, "np.linalg": np.linalg}[room]
            assert hasattr(place, name), remedy


def test_other_attributes_are_missing_as_ever() -> None:
    class Broken(nn.Module):
        @property
        def output(self) -> Any:
            return self.wieght  # type: ignore[attr-defined]

    for owner, name, missing in (
        (parameter(1), "shpae", "shpae"),
        (Broken(), "wieght", "wieght"),
        (Broken(), "output", "wieght"),  # and not that there is no output
    ):
        with pytest.raises(AttributeError, match=rf"object has no attribute '{missing}'$") as caught:
            getattr(owner, name)
        assert (caught.value.name, caught.value.obj) == (missing, owner)


@pytest.mark.parametrize(("given", "words"), [(1, "the images have 1 channel, the kernels have 3"), (4, "4 channels,")])
def test_a_convolution_names_the_channels(given: int, words: str) -> None:
    convolution = nn.Conv2d(3, 2, 3, rng=np.random.default_rng(0))
    with refused(ValueError, "conv2d", words):
        convolution(np.zeros((1, given, 5, 5), F))


@pytest.mark.parametrize(
    ("layer", "name", "words"),
    [
        (nn.MaxPool2d(5), "max_pool2d", "at least 5 x 5, the size of a window, got 4 x 6;"),
        (nn.AvgPool2d((2, 7)), "windows", "at least 2 x 7, the size of a window, got 4 x 6;"),
        (nn.Conv2d(3, 2, 9, padding=1, rng=np.random.default_rng(0)), "conv2d", "got 6 x 8 with their padding;"),
    ],
)
def test_windows_that_are_larger_than_the_images_are_named(layer: nn.Module, name: str, words: str) -> None:
    with refused(ValueError, f"{name}: expected images of at least", words):
        layer(np.zeros((1, 3, 4, 6), F))


def test_windows_need_images() -> None:
    with refused(ValueError, "max_pool2d: expected images of shape (..., h, w), got shape (3,)"):
        nn.MaxPool2d(2)(np.zeros(3, F))


def test_a_forward_that_takes_more_than_its_rule_is_to_be_wrapped() -> None:
    with refused(TypeError, "rule(g, out, x, decimals, out)", "wrap it: lambda x: forward(x)"):
        unary("straight_through", np.round, lambda g, out, x: g)


class Own(optim.Optimizer):
    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, 0.1, options=options)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"betas": (0.9, 0.99)}, 'kinds = {"betas": "shares"}'),
        ({"betas": [0.9, 0.99]}, 'kinds = {"betas": "shares"}'),
        ({"amsgrad": True}, 'kinds = {"amsgrad": "flag"}'),
    ],
)
def test_options_of_another_kind_point_to_kinds(options: Any, remedy: str) -> None:
    with refused(ValueError, f"Own: expected 0 <= {next(iter(options))} < inf", remedy):
        Own([parameter(1)], **options)


def test_options_of_ours_do_not() -> None:
    with pytest.raises(ValueError, match=r"SGD: expected 0 <= lr < inf, got True$"):
        optim.SGD([parameter(1)], lr=True)
    for options, words in (({"betas": (1, 0.9)}, r"betas\[0\] < 1, got 1$"), ({"eps": -1}, "eps < inf, got -1$")):
        with pytest.raises(ValueError, match=f"Adam: expected 0 <= {words}"):
            optim.Adam([parameter(1)], **options)
