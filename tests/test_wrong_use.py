"""What is given wrongly is told in one line: what was given, what was expected, and what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, mnist, nn, optim, train, visualize
from tinygrad_mnist.losses import softmax_cross_entropy

wrongly: Any = tg  # with what a type checker would refuse
ROWS = np.ones((2, 3), np.float32)


def rng():
    return np.random.default_rng(0)


def layer():
    return nn.Linear(3, 2, rng=rng())


def optimizer():
    return optim.SGD(layer().parameters(), 0.1)


def fit(model: Any = None, **options: Any):
    images = mnist.Split(ROWS, np.array([0, 1]))
    data = mnist.Dataset(images, images, None, 2, (1, 3), Path())
    own = layer()
    chosen: dict[str, Any] = {"cost": softmax_cross_entropy, "epochs": 1, "batch_size": 2, "rng": rng()}
    chosen["optimizer"] = optim.SGD(own.parameters(), 0.1)
    return list(train.fit(own if model is None else model, data, **chosen, **options))


def save(**options: Any):
    model = layer()
    train.save("never.npz", model, optim.SGD(model.parameters(), 0.1), **options)


def restore(*parts: Any, **options: Any):
    model = layer()
    train.save("m.npz", model, optim.SGD(model.parameters(), 0.1), rng=rng())
    train.load("m.npz").restore(*parts or [model], **options)


AN_ARRAY = "expected a Tensor or an array, got "
A_STATE = "expected what state_dict() returned, with "
SIZES = "expected sizes that are whole numbers of at least 1, got "


@pytest.mark.parametrize(
    ("use", "told"),
    [
        # ops
        (lambda: wrongly.unary("u", None, None),
         "op 'u': takes a name, a function, doc, sign, view, domain, numpy, hint, c; got 'u', None"),
        (lambda: wrongly.unary([], np.exp, None), "op []: takes a name, a function, doc"),
        (lambda: wrongly.unary("u", np.exp, None, c=3), "op 'u': takes a name, a function, doc"),
        (lambda: wrongly.sigmoid(None), "sigmoid: Cannot cast scalar from dtype('O') to dtype('float64')"),
        (lambda: wrongly.softmax(None), "softmax: "),
        (lambda: wrongly.ops.sum(None), "sum: expected Tensors, numbers, or arrays or lists of numbers, got None"),
        (lambda: wrongly.ops.max({"a": 1}), "max: expected Tensors, numbers, or arrays or lists of"),
        (lambda: wrongly.exp([[1], [1, 2]]), "exp: setting an array element with a sequence"),
        (lambda: wrongly.hypot(None, None), "hypot: 'NoneType' object has no attribute 'hypot' (given None, None)"),
        (lambda: wrongly.tril(None), "tril: "),
        (lambda: wrongly.trapezoid(None), "trapezoid: "),
        (lambda: wrongly.concatenate(None), "concatenate: expected a list of arrays or Tensors, got None"),
        (lambda: wrongly.stack(None), "stack: expected a list of arrays or Tensors, got None"),
        (lambda: wrongly.eigvalsh(Tensor(np.eye(2)), 3), "eigvalsh: "),
        # layers
        (lambda: nn.Linear(True, 2, rng=rng()), f"weights: {SIZES}(True, 2)"),
        (lambda: wrongly.nn.Linear(3, 2, init=[], rng=rng()), "init: expected one of normal, scaled, xavier, he, got"),
        (lambda: wrongly.nn.Conv2d(None, 2, 3, rng=rng()), f"weights: {SIZES}(2, None, 3, 3)"),
        (lambda: nn.LayerNorm(True), f"LayerNorm: {SIZES}(True,)"),
        (lambda: wrongly.nn.Embedding("a", 2, padding_idx=0, rng=rng()), f"Embedding: {SIZES}('a', 2)"),
        (lambda: wrongly.nn.MultiheadAttention(None, 2, rng=rng()), f"MultiheadAttention: {SIZES}(None, 2)"),
        (lambda: nn.Dropout(0.5, rng=rng())([1.0, 2.0]), f"Dropout: {AN_ARRAY}[1.0, 2.0]; make one: np.array(...)"),
        (lambda: nn.Dropout(0.5, rng=rng()).eval()(None), f"Dropout: {AN_ARRAY}None"),
        (lambda: nn.LayerNorm(3)(None), f"LayerNorm: {AN_ARRAY}None"),
        (lambda: nn.BatchNorm1d(3)("text"), f"BatchNorm1d: {AN_ARRAY}'text'"),
        (lambda: nn.BatchNorm2d(3)(3.0), f"BatchNorm2d: {AN_ARRAY}3.0"),
        (lambda: nn.Flatten()([[1.0]]), f"Flatten: {AN_ARRAY}[[1.0]]"),
        (lambda: nn.Flatten()(np.array(1.0)), "Flatten: expected a batch, of shape (n, ...), got shape ()"),
        (lambda: nn.Embedding(3, 2, rng=rng())(1.5), "embedding: expected integers, each the number of a row"),
        (lambda: nn.GELU()("text"), "Tensor: expected real numbers, got dtype <U4 from str 'text'"),
        (lambda: nn.MaxPool2d(2)(np.ones(3)), "expected images of shape (..., h, w)"),
        (lambda: nn.AvgPool2d(4)(np.ones((1, 3, 5))), "images of at least 4 x 4, the size of a window, got 3 x 5"),
        (lambda: nn.AvgPool2d(2)(None), "windows: expected images of shape (..., h, w), got shape ()"),
        (lambda: wrongly.nn.Module().train(ROWS), "train: expected True or False, got array("),
        (lambda: wrongly.nn.Module().train(None), "training and evaluation, train.fit(model, ...) trains"),
        # optimizers
        (lambda: wrongly.optim.SequentialLR(optimizer(), None, [1]), "expected a list of schedules and one"),
        (lambda: wrongly.optim.SequentialLR(optimizer(), [], 3), "one of milestones, got [] and 3"),
        (lambda: wrongly.optim.SequentialLR(optimizer(), [], {3}), "one of milestones, got [] and {3}"),
        (lambda: optimizer().load_state_dict({"a": 1}), f"SGD: {A_STATE}groups and state, got only ['a']"),
        (
            lambda: wrongly.optim.SGD(layer().parameters(), 0.1).load_state_dict(None),
            f"SGD: {A_STATE}groups and state, got None",
        ),
        (
            lambda: optim.StepLR(optimizer(), 2).load_state_dict({"a": 1}),
            f"StepLR: {A_STATE}epoch and first, got only ['a']",
        ),
        # training
        (lambda: fit(3), "fit: expected a model, a Module or a function of images, got 3"),
        (lambda: fit(nn.Linear), "got <class 'tinygrad_mnist.nn.layers.Linear'>; make one: Linear(...)"),
        (lambda: fit(progress=3), "fit: progress: expected a function of the batches, as tqdm, got 3"),
        (lambda: wrongly.train.evaluate("text", ROWS), "evaluate: expected a model, a Module or a function"),
        (lambda: wrongly.train.evaluate(layer(), None), "evaluate: expected an array of images, (n, pixels), got None"),
        (lambda: wrongly.train.accuracy(None, mnist.Split(ROWS, np.array([0, 1]))), "expected a model, a Module or"),
        (lambda: save(history=3), "save: history: expected a list of Epochs, as train.fit gives, got 3"),
        (lambda: save(history=[1]), "save: history: expected a list of Epochs, as train.fit gives, got [1]"),
        (lambda: save(settings=3), "save: settings: expected a Mapping, got 3; it is a dict"),
        (lambda: save(settings=0), "save: settings: expected a Mapping, got 0; it is a dict"),
        (lambda: save(best="text"), "save: best: expected a Mapping, got 'text'; it is a dict"),
        (lambda: save(best={"weight": 1}), "save: best: expected another state_dict() of the model, got other names"),
        (lambda: wrongly.train.load(None), "load: expected the path of a checkpoint, got None"),
        (lambda: restore(None), "restore: expected the model, a Module, got None; make it anew, as it was"),
        (lambda: restore(layer(), "adam"), "restore: optimizer: expected a Optimizer, got 'adam'; make it anew"),
        (lambda: restore(rng=3), "restore: rng: expected a Generator, got 3; make it anew, as it was"),
        # pictures
        (lambda: visualize.graph(), "graph: expected one or more Tensors, as in graph(loss), got none"),
        (lambda: wrongly.visualize.graph(Tensor([1.0]), None), "as in graph(loss), got Tensor([1.], dtype=float32)"),
        (lambda: wrongly.visualize.graph(Tensor([1.0]), model=3), "graph: model: expected a Module, got 3"),
        (lambda: wrongly.visualize.graph(Tensor([1.0]), shapes="x"), "graph: shapes: expected True or False, got 'x'"),
        (lambda: wrongly.visualize.save(visualize.graph(Tensor([1.0])), None), "save: expected the name of a file"),
        (lambda: list(wrongly.visualize.live(None)), "live: expected a training, as live(train.fit(...)), got None"),
        (lambda: list(wrongly.visualize.live("text")), "live: expected Epochs, as live(train.fit(...)) gets, got 't'"),
        (lambda: wrongly.visualize.digit(None), "digit: pixels: expected an array of numbers, got None"),
        (lambda: visualize.digit([[1], [1, 2]]), "digit: pixels: expected an array of numbers, got [[1], [1, 2]]"),
        (lambda: wrongly.visualize.digit([1, 2], 2), "digit: expected the shape (height, width), got 2"),
        (lambda: visualize.digit([1], (1, 1), activations=["a"]), "digit: activations: expected an array of numbers"),
        # data
        (lambda: wrongly.mnist.load([]), "load: expected the path of a directory, got []; mnist.load() needs none"),
        (lambda: wrongly.mnist.Split(ROWS, np.array([0, 1]))[np.ones(2)], "Split: arrays used as indices must"),
        (lambda: mnist.Split(ROWS, np.array([0, 1]))[2], "it has 2 examples, index it by numbers, slices or masks"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(tmp_path, monkeypatch, use, told):
    monkeypatch.chdir(tmp_path)
    table = dict(OPS)
    with pytest.raises((TypeError, ValueError, IndexError)) as caught:
        use()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert table == OPS


def test_a_variadic_op_may_have_no_rule():
    first = tg.variadic("first", lambda *xs: xs[0] + 0, None)
    try:
        assert not first.op.differentiable
        assert not first(Tensor([1.0], requires_grad=True), Tensor([2.0])).requires_grad
    finally:
        del OPS["first"]


def test_gelu_takes_lists_as_the_other_activations_do():
    assert nn.GELU()([0.0, 1.0]) == pytest.approx(nn.GELU()(np.array([0.0, 1.0], np.float32)))
