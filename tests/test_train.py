"""train.py: what fit() yields and leaves alone, costs that diverge, checkpoints that are whole or refused."""

import copy
import dataclasses
import io
import itertools
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, mnist, no_grad, sigmoid, train
from tinygrad_mnist.losses import cross_entropy_cost, quadratic_cost, softmax_cross_entropy
from tinygrad_mnist.mnist import Dataset, Split
from tinygrad_mnist.mode import mode
from tinygrad_mnist.nn import Buffer, Dropout, Linear, Module, Sequential
from tinygrad_mnist.optim import SGD, Momentum, Nesterov, Optimizer, StepLR
from tinygrad_mnist.train import CheckpointError, DivergedError, Epoch
from zoo.custom import Adam

from .helpers import refused
from .reference import former_checkpoints


def made_up(n=60, n_validation=10, n_test=20, pixels=6, n_classes=3, seed=0):
    """A small data set that can be learned: the brightest of the first pixels is the class."""
    rng = np.random.default_rng(seed)

    def split(count):
        images = rng.random((count, pixels), np.float32)
        return Split(images, images[:, :n_classes].argmax(1))

    test = split(n_test) if n_test else None
    return Dataset(split(n), split(n_validation), test, n_classes, (pixels // 2, 2), Path("made up"))


def network(data, seed=0, hidden=8, logits=False):
    rng = np.random.default_rng(seed)
    pixels = data.train.images.shape[1]
    layers: list[Any] = [
        *(Linear(pixels, hidden, bias="normal", rng=rng), sigmoid),
        *(Linear(hidden, data.n_classes, bias="normal", rng=rng), sigmoid),
    ]
    return Sequential(*layers[: 3 if logits else 4])


def run(data, model=None, optimizer=None, **options):
    model = model or network(data)
    optimizer = optimizer or SGD(model.parameters(), 2.0)
    given = {"cost": quadratic_cost, "epochs": 3, "batch_size": 10, "rng": np.random.default_rng(1), **options}
    return list(train.fit(model, data, optimizer=optimizer, **given))


# ---- What it yields


def test_a_record_says_what_an_epoch_came_to():
    data = made_up()
    model = network(data)
    optimizer = Momentum(model.parameters(), 0.5, 0.9)
    records = run(data, model, optimizer, schedule=StepLR(optimizer, 2, 0.5), epochs=5)
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5]
    assert [record.lr for record in records] == [0.5, 0.5, 0.25, 0.25, 0.125]
    assert records[-1].cost < records[0].cost
    last = records[-1]
    outputs = model(data.train.images).data
    assert last.training == np.mean(outputs.argmax(1) == data.train.labels)
    assert last.saturated == np.mean((outputs < 0.01) | (outputs > 0.99))
    assert last.validation == train.accuracy(model, data.validation)
    assert last.test == train.accuracy(model, data.test)
    assert last.seconds > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        last.cost = 0.0


def test_it_learns():
    assert run(made_up(300), epochs=20)[-1].validation > 0.8


def test_the_cost_is_the_mean_over_examples_whatever_the_batches():
    data = made_up(25)
    model = network(data)
    expected = quadratic_cost(model(data.train.images), data.train.labels).item()
    for batch_size in (10, 25, 100, 1):  # 10 + 10 + 5; all in one; more than there are; one by one
        records = run(data, model, SGD(model.parameters(), 0.0), batch_size=batch_size, epochs=1)
        assert records[0].cost == pytest.approx(expected, rel=1e-5)


def test_every_example_is_trained_on_once_an_epoch_in_a_new_order():
    data = made_up(23)
    seen = []

    def cost(outputs, targets):
        seen.append(np.argmax(targets, axis=1))
        return quadratic_cost(outputs, targets)

    model = network(data)
    run(data, model, batch_size=5, epochs=2, cost=cost)
    assert [len(batch) for batch in seen] == [5, 5, 5, 5, 3] * 2
    one, two = np.concatenate(seen[:5]), np.concatenate(seen[5:])
    assert sorted(one) == sorted(two) == sorted(data.train.labels)
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("backend", ["eager", "numpy"])
def test_steps_are_no_longer_than_max_norm_allows(backend):
    """With the rate 1 a step is as long as the gradient, which is clipped before it."""
    data = made_up()

    def after(max_norm, epochs=1):
        model = network(data)
        options = {"batch_size": 60, "max_norm": max_norm, "backend": backend, "epochs": epochs}
        run(data, model, SGD(model.parameters(), 1.0), **options)
        return model.state_dict()

    def length(a, b):
        return np.sqrt(sum(np.sum((a[name] - b[name]) ** 2.0) for name in a))

    start, free, clipped = after(None, epochs=0), after(None), after(0.01)
    assert length(free, start) > 0.02
    assert length(clipped, start) == pytest.approx(0.01, rel=1e-3)
    assert length(after(0.01, epochs=5), start) <= 0.05 * (1 + 1e-3)
    assert length(after(100.0), free) == 0


def test_targets_are_rows_of_the_dtype_of_the_parameters():
    data = made_up()
    model = Sequential(Linear(6, 3, rng=np.random.default_rng(0), dtype=np.float64), sigmoid)

    def cost(outputs, targets):
        assert targets.dtype == outputs.dtype == np.float64
        assert targets.shape == (10, 3)
        assert np.all(targets.sum(1) == 1)
        return quadratic_cost(outputs, targets)

    run(data, model, cost=cost, epochs=1)


@pytest.mark.parametrize("cost", [quadratic_cost, cross_entropy_cost, softmax_cross_entropy])
def test_every_cost_can_be_trained_with(cost):
    data = made_up(200)
    model = network(data, logits=cost is softmax_cross_entropy)
    records = run(data, model, SGD(model.parameters(), 1.0), cost=cost, epochs=20)
    assert records[-1].cost < 0.8 * records[0].cost
    assert 0 <= records[-1].saturated <= 1


def test_saturation_of_logits_is_that_of_their_softmax():
    data = made_up()
    big = Tensor(np.full((6, 3), 50.0, np.float32) * np.array([1, 0, -1], np.float32), requires_grad=True)
    record = run(data, lambda x: x @ big, SGD([big], 0.0), cost=softmax_cross_entropy, epochs=1)[0]
    assert record.saturated > 0.9


def test_outputs_that_are_no_activations_are_not_called_saturated(tmp_path):
    data = made_up()
    model = Sequential(Linear(6, 3, rng=np.random.default_rng(0)), lambda x: x @ Tensor(np.eye(3) * 9, dtype="f"))
    optimizer = SGD(model.parameters(), 0.001)
    record = run(data, model, optimizer, cost=quadratic_cost, epochs=1)[0]
    assert record.saturated is None
    train.save(tmp_path / "m.npz", model, optimizer, history=[record])
    assert list(train.load(tmp_path / "m.npz").history) == [record]


def test_a_model_is_any_function():
    data = made_up()
    weight = Tensor(np.zeros((6, 3), np.float32), requires_grad=True)
    assert len(run(data, lambda x: sigmoid(x @ weight), SGD([weight], 1.0))) == 3
    assert weight.data.any()


def test_the_test_images_may_be_missing_and_validation_too():
    data = dataclasses.replace(made_up(n_test=0), validation=Split(np.zeros((0, 6), np.float32), np.zeros(0, np.int64)))
    record = run(data, epochs=1)[0]
    assert (record.validation, record.test) == (None, None)
    assert record.training is not None


def test_the_number_of_epochs_is_the_total():
    data = made_up()
    assert run(data, epochs=0) == []
    assert [record.epoch for record in run(data, epochs=5, done=3)] == [4, 5]
    assert run(data, epochs=5, done=5) == []


@pytest.mark.parametrize("done", [-1, 6, 2.0, True, None, "1"])
def test_what_cannot_be_done_already_is_refused(done):
    with refused(ValueError, "fit: done: expected a whole number from 0 to epochs, which is 5", repr(done)):
        run(made_up(), epochs=5, done=done)


def test_training_accuracy_is_that_of_a_sample(monkeypatch):
    monkeypatch.setattr(train, "SAMPLE", 7)
    data = made_up()
    model = network(data)
    record = run(data, model, epochs=1)[0]
    assert record.training == train.accuracy(model, Split(data.train.images[:7], data.train.labels[:7]))


# ---- What it leaves alone


def test_the_callers_data_and_the_global_generator_stay():
    data = made_up()
    kept = data.train.images.copy(), data.train.labels.copy()
    before: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    run(data)
    assert np.array_equal(data.train.images, kept[0])
    assert np.array_equal(data.train.labels, kept[1])
    after: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    assert np.array_equal(after["state"]["key"], before["state"]["key"])
    assert after["state"]["pos"] == before["state"]["pos"]


def test_it_never_yields_with_recording_off():
    data, w = made_up(), Tensor([1.0], requires_grad=True)
    model = network(data)
    with np.errstate(all="raise"):
        for _ in train.fit(
            model,
            data,
            cost=quadratic_cost,
            optimizer=SGD(model.parameters(), 1.0),
            epochs=2,
            batch_size=10,
            rng=np.random.default_rng(0),
        ):
            assert mode.grad_enabled
            assert (w * 2).requires_grad
            assert np.geterr()["over"] == "raise"


def test_it_trains_only_as_far_as_it_is_read():
    data = made_up()
    model = network(data)
    before = model.state_dict()
    records = train.fit(
        model,
        data,
        cost=quadratic_cost,
        optimizer=SGD(model.parameters(), 1.0),
        epochs=9,
        batch_size=10,
        rng=np.random.default_rng(0),
    )
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())
    next(records)
    after_one = model.state_dict()
    del records
    assert all(np.array_equal(value, after_one[name]) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_bits_and_the_order_of_runs_does_not_matter():
    data = made_up()

    def weights(lr):
        model = network(data)
        run(data, model, Momentum(model.parameters(), lr, 0.9))
        return model.state_dict()

    first = [weights(0.1), weights(0.5)]
    second = [weights(0.5), weights(0.1)][::-1]
    for one, two in zip(first, second, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in one)


def test_dropout_is_on_while_training_and_off_while_measuring():
    data, drop = made_up(), Dropout(0.5, rng=np.random.default_rng(0))
    states = []

    class Watched(Module):
        def __init__(self):
            self.drop = drop
            self.layer = Linear(6, 3, rng=np.random.default_rng(0))

        def forward(self, x):
            states.append(self.drop.training)
            return sigmoid(self.layer(self.drop(x)))

    run(data, Watched(), epochs=2)
    assert states == ([True] * 6 + [False] * 3) * 2


def test_progress_goes_through_the_batches():
    calls: list[Any] = []

    def progress(batches, total, desc):
        calls.append((total, desc))
        return batches

    run(made_up(25), epochs=2, progress=progress)
    assert calls == [(3, "epoch 1/2"), (3, "epoch 2/2")]


def first_steps(count):
    return lambda batches, total, desc: itertools.islice(batches, count)


def twice(batches, total, desc):
    return itertools.chain.from_iterable((batch, batch) for batch in batches)


@pytest.mark.parametrize("backend", ["eager", "numpy"])
@pytest.mark.parametrize(
    ("progress", "handed_on"),
    [
        (first_steps(2), [0, 1]),
        (first_steps(3), [0, 1, 2]),
        (twice, [0, 0, 1, 1, 2, 2]),
        (lambda batches, total, desc: list(batches)[::-1], [2, 1, 0]),
    ],
)
def test_the_cost_is_the_mean_over_what_progress_handed_on(progress, handed_on, backend):
    data = made_up(25)
    model = network(data)
    records = run(data, model, SGD(model.parameters(), 0.0), epochs=1, progress=progress, backend=backend)
    parts = np.split(np.random.default_rng(1).permutation(25), [10, 20])
    costs = [quadratic_cost(model(data.train.images[part]), data.train.labels[part]).item() for part in parts]
    weights = [len(parts[i]) for i in handed_on]
    assert records[0].cost == pytest.approx(np.average([costs[i] for i in handed_on], weights=weights), rel=1e-5)


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (lambda batches, total, desc: None, "expected an iterable over the batches, got None"),
        (lambda batches, total, desc: 3, "expected an iterable over the batches, got 3"),
        (lambda batches, total, desc: [], "handed on no batch of epoch 1"),
        (first_steps(0), "handed on no batch of epoch 1"),
        (lambda batches, total, desc: enumerate(batches), "expected batches of images and labels"),
        (lambda batches, total, desc: "abc", "expected batches of images and labels"),
        (lambda batches, total, desc: ((x, y - 1) for x, y in batches), "] is -1"),
        (lambda batches, total, desc: ((x, y + 1) for x, y in batches), "] is 3; expected 0 to 2"),
        (lambda batches, total, desc: ((x[:-1], y) for x, y in batches), "one label per image, got 10 for 9"),
        (lambda batches, total, desc: ((x[:0], y[:0]) for x, y in batches), "got another (it is empty)"),
        (lambda batches, total, desc: ((x * np.nan, y) for x, y in batches), "images[0, 0] is nan"),
    ],
)
def test_what_progress_may_not_return_is_said_in_a_line(progress, words):
    with refused((TypeError, ValueError), "fit: progress: ", words):
        run(made_up(60), progress=progress)


def test_batches_may_be_changed_on_their_way():
    data, seen = made_up(20), []

    def cost(outputs, targets):
        seen.extend(np.argmax(targets.data, 1).tolist())
        return quadratic_cost(outputs, targets)

    run(data, cost=cost, epochs=1, progress=lambda batches, total, desc: ((x.tolist(), y * 0 + 2) for x, y in batches))
    assert seen == [2] * 20


# ---- Data that cannot be trained on, and data that should not be


def spoilt(name, place, value):
    """A small data set with a value changed after it was made."""
    data = made_up()
    split, array = name.split(".")
    getattr(getattr(data, split), array)[place] = value
    return data


@pytest.mark.parametrize(
    ("name", "place", "value", "words"),
    [
        ("train.labels", 17, -1, "train: labels[17] is -1"),
        ("train.labels", 17, 3, "train: labels[17] is 3; expected 0 to 2"),
        ("validation.labels", 9, 200, "validation: labels[9] is 200; expected 0 to 2"),
        ("test.labels", 0, -5, "test: labels[0] is -5"),
        ("train.images", (5, 2), np.nan, "train: images[5, 2] is nan; expected finite pixels"),
        ("train.images", (59, 5), -np.inf, "train: images[59, 5] is -inf; expected finite pixels"),
        ("test.images", (0, 1), np.inf, "test: images[0, 1] is inf; expected finite pixels"),
    ],
)
def test_arrays_that_were_changed_are_looked_at_again(name, place, value, words):
    data = spoilt(name, place, value)
    with refused(ValueError, words):
        run(data)


def test_pixels_that_are_spoilt_while_training_are_not_blamed_on_the_rate():
    data = made_up()
    model = network(data)
    records = train.fit(
        model,
        data,
        cost=quadratic_cost,
        optimizer=SGD(model.parameters(), 1.0),
        epochs=2,
        batch_size=60,
        rng=np.random.default_rng(0),
    )
    next(records)
    data.train.images[4, 4] = np.nan
    with refused(ValueError, "fit: epoch 2, step 1: images[", ", 4] is nan; expected finite pixels"):
        next(records)


@pytest.mark.parametrize("labels", [[2, 2, 0, 1], np.array([2, 2, 0, 1], np.uint8)])
def test_accuracy_of_a_perfect_model_is_1_whatever_holds_the_labels(labels):
    split = Split(np.eye(3, dtype=np.float32)[labels], labels)
    assert train.accuracy(lambda x: x, split) == 1.0


def test_accuracy_compares_each_label_with_its_own_output_only():
    split = Split(np.eye(3, dtype=np.float32), np.arange(3))
    object.__setattr__(split, "labels", split.labels[:, None])
    with refused(ValueError, "accuracy: expected outputs of shape"):
        train.accuracy(lambda x: x, split)
    with refused(ValueError, "accuracy: expected outputs of shape (3, classes), got (3,)"):
        train.accuracy(lambda x: x.sum(1), Split(np.eye(3, dtype=np.float32), np.arange(3)))
    with refused(TypeError, "accuracy: expected a Split, got tuple"):
        train.accuracy(lambda x: x, (split.images, split.labels))  # type: ignore[arg-type]


def test_classes_that_sorted_data_never_trains_on_are_mentioned():
    whole = made_up(90).train
    by_class = whole[np.argsort(whole.labels)]
    data = dataclasses.replace(made_up(), train=by_class[:55], validation=by_class[55:])
    with pytest.warns(UserWarning, match=r"fit: data: sorted by class: 2 in validation but never in train; ") as said:
        run(data)
    assert [(len(said), warning.filename) for warning in said] == [(1, __file__)]
    run(dataclasses.replace(data, train=by_class[::2], validation=by_class[1::2]))  # sorted, and all are trained on
    without = whole[whole.labels != 2]
    run(dataclasses.replace(data, train=without, validation=whole[:9]))  # one class less, but not sorted


@pytest.mark.parametrize(("dtype", "white"), [("f", 16), ("d", 255), ("f", 2), (np.uint8, 255)])
def test_pixels_that_were_never_scaled_are_mentioned(dtype, white):
    data = made_up()
    whole = Split(np.rint(data.train.images * white).astype(dtype), data.train.labels)
    whole.images[0, 0] = white
    with pytest.warns(UserWarning, match=f"fit: data: the pixels are whole numbers up to {white}; divide them"):
        run(dataclasses.replace(data, train=whole), epochs=1)


@pytest.mark.parametrize("change", [np.rint, lambda x: (x - x.mean()) / x.std(), lambda x: x * 0.9])
def test_pixels_that_are_scaled_are_not(change):
    data = made_up()
    assert len(run(dataclasses.replace(data, train=Split(change(data.train.images), data.train.labels)), epochs=1)) == 1


def test_evaluation_in_chunks_is_the_same_and_records_nothing():
    data = made_up(25)
    model = network(data)
    whole = train.evaluate(model, data.train.images)
    assert np.array_equal(whole, train.evaluate(model, data.train.images, chunk=25))
    assert type(whole) is np.ndarray
    assert train.evaluate(model, data.train.images[:0]).shape == (0, 3)
    np.testing.assert_allclose(train.evaluate(model, data.train.images, chunk=7), whole, rtol=1e-6)
    with no_grad():
        train.evaluate(model, data.train.images)
        assert not mode.grad_enabled


# ---- Costs that are no numbers


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_cost_that_is_not_finite_stops_at_that_step(value):
    data = made_up()
    model = network(data)
    calls = []

    def cost(outputs, targets):
        calls.append(1)
        loss = quadratic_cost(outputs, targets)
        return loss * value if len(calls) == 9 else loss

    with pytest.raises(
        DivergedError, match=r"epoch 2, step 3: the cost is .*; try a learning rate below 0\.5"
    ) as caught:
        run(data, model, Momentum(model.parameters(), 0.5, 0.9), cost=cost)
    assert "\n" not in str(caught.value)
    assert len(calls) == 9


@pytest.mark.parametrize("backend", ["eager", "numpy"])
def test_a_real_divergence_gives_one_error_and_no_warning(backend):
    data = made_up()
    model = network(data, logits=True)
    with pytest.raises(DivergedError, match=r"epoch 1, step [23]: the cost is "):
        run(data, model, SGD(model.parameters(), 3e38), cost=softmax_cross_entropy, backend=backend)


def test_compiled_training_gives_the_same_bits_with_dropout_a_schedule_and_a_smaller_last_batch(caplog):
    data = made_up(57)

    def trained(backend):
        rng = np.random.default_rng(3)
        model = Sequential(Linear(6, 5, rng=rng), sigmoid, Dropout(0.5, rng=rng), Linear(5, 3, rng=rng), sigmoid)
        optimizer = Nesterov(model.parameters(), 0.5, 0.9, weight_decay=0.01)
        records = run(data, model, optimizer, schedule=StepLR(optimizer, 1, 0.5), epochs=4, backend=backend)
        return [(r.cost, r.training, r.lr) for r in records], model.state_dict()

    (eager, parameters), (compiled, found) = trained("eager"), trained("numpy")
    assert eager == compiled
    assert all(np.array_equal(array, found[name]) for name, array in parameters.items())
    assert not caplog.records  # nothing fell back to eager


def test_outputs_that_overflow_in_the_last_step_are_noticed():
    w = Tensor(np.ones((6, 3), np.float32), requires_grad=True)
    with pytest.raises(DivergedError, match="epoch 1: after its last step the outputs are not finite"):
        run(made_up(), lambda x: x @ w, SGD([w], 1e30), cost=lambda a, y: (a * 1e30).sum(), batch_size=60)


def test_a_network_with_other_outputs_than_classes_is_refused():
    data = made_up()
    model = Sequential(Linear(6, 4, rng=np.random.default_rng(0)), sigmoid)
    with pytest.raises(ValueError, match=r"outputs of shape \(10, 4\) need targets of that shape"):
        run(data, model)


# ---- Checkpoints


def trained(epochs=2, kind=Nesterov):
    data = made_up()
    model = network(data)
    optimizer = SGD(model.parameters(), 0.5) if kind is SGD else kind(model.parameters(), 0.5, 0.9)
    schedule, rng = StepLR(optimizer, 2, 0.3), np.random.default_rng(5)
    history = run(data, model, optimizer, schedule=schedule, rng=rng, epochs=epochs)
    return data, model, optimizer, schedule, rng, history


def write(path, epochs=2, kind=Nesterov):
    _, model, optimizer, schedule, rng, history = trained(epochs, kind)
    train.save(path, model, optimizer, schedule=schedule, rng=rng, history=history, settings={"about": ["ü", 1.5]})
    return path


@pytest.mark.parametrize("kind", [SGD, Momentum, Nesterov])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_going_on_from_a_checkpoint_comes_to_the_same_bits(tmp_path, kind, done):
    _, model, *_, history = trained(5, kind)
    file = write(tmp_path / "m.npz", done, kind)

    data, other, optimizer, schedule, rng, _ = trained(0, kind)
    checkpoint = train.load(file)
    checkpoint.restore(other, optimizer, schedule=schedule, rng=rng)
    more = run(data, other, optimizer, schedule=schedule, rng=rng, epochs=5, done=len(checkpoint.history))
    assert all(np.array_equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())

    def without_time(records):
        return [dataclasses.replace(record, seconds=0) for record in records]

    assert without_time([*checkpoint.history, *more]) == without_time(history)


def test_what_was_saved_is_loaded(tmp_path):
    _, model, optimizer, _, _, history = trained(2)
    checkpoint = train.load(write(tmp_path / "m.npz"))
    assert checkpoint.history == [
        dataclasses.replace(record, seconds=saved.seconds)
        for record, saved in zip(history, checkpoint.history, strict=True)
    ]
    assert checkpoint.settings == {"about": ["ü", 1.5]}
    assert checkpoint.path == tmp_path / "m.npz"
    assert list(checkpoint.model) == [name for name, _ in model.named_parameters()]
    assert checkpoint.optimizer["groups"] == optimizer.state_dict()["groups"]


def test_a_record_of_any_numbers_goes_round(tmp_path):
    _, model, optimizer, *_ = trained(0)

    @settings(deadline=None, max_examples=30)
    @given(cost=st.floats(allow_nan=False), share=st.none() | st.floats(0, 1), seed=st.integers(0, 2**64))
    def check(cost, share, seed):
        record = Epoch(1, cost, 0.5, share, None, 1e-30, 0.1, 0.2)
        rng = np.random.default_rng(seed)
        train.save(tmp_path / "m.npz", model, optimizer, rng=rng, history=[record])
        checkpoint = train.load(tmp_path / "m.npz")
        assert checkpoint.history == [record]
        again = np.random.default_rng()
        checkpoint.restore(model, rng=again)
        assert again.random() == rng.random()

    check()


def test_a_checkpoint_holds_what_was_given_to_it_whatever_numpy_makes_of_options(tmp_path, monkeypatch):
    made, savez = [], np.savez

    def noted(file, **arrays):
        made.append({*arrays})
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", noted)
    model = Linear(2, 1, rng=np.random.default_rng(0))
    train.save(tmp_path / "m.npz", model, SGD(model.parameters(), lr=1.0))
    assert made == [{"notes", "model/weight", "model/bias"}]  # of options that it has not NumPy 2.0 makes arrays
    with zipfile.ZipFile(tmp_path / "m.npz", "a") as archive, archive.open("allow_pickle.npy", "w") as member:
        np.save(member, np.array(False))  # as it made one of `allow_pickle=False`
    assert train.load(tmp_path / "m.npz").model.keys() == {"weight", "bias"}


def test_what_a_checkpoint_could_not_be_loaded_with_is_not_saved(tmp_path):
    model = Linear(2, 1, rng=np.random.default_rng(0))
    model.phase = Buffer(np.zeros(1, np.complex64))
    with refused(TypeError, "save: model/phase: expected an array of real numbers, got dtype complex64"):
        train.save(tmp_path / "m.npz", model, SGD([model.weight], lr=1.0))
    assert not list(tmp_path.iterdir())


def test_nothing_but_the_file_is_left_and_an_older_one_is_replaced(tmp_path):
    for epochs in (1, 2):
        write(tmp_path / "m.npz", epochs)
        assert len(train.load(tmp_path / "m.npz").history) == epochs
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path, monkeypatch):
    file = write(tmp_path / "m.npz")
    before = file.read_bytes()

    def full(target, **arrays):
        target.write(b"half of")
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "m.npz", 3)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


def test_a_directory_that_is_not_there_is_named_and_no_hidden_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, model, optimizer, *_ = trained(0)
    with pytest.raises(FileNotFoundError, match=r"there is no directory nodir; make it.*: 'nodir/m\.npz'$"):
        train.save("nodir/m.npz", model, optimizer)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "real" / "m.npz")
    write(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert len(train.load(tmp_path / "real" / "m.npz").history) == 2


# ---- Files that are refused


class Bomb:
    """What must never be unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def _npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _renamed(content, **changes):
    """The same archive with other notes."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    notes = json.loads(str(arrays["notes"]))
    notes.update(changes)
    return _npz(**{**arrays, "notes": np.array(json.dumps(notes))})


def _flipped(content):
    """One bit of an array is another."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place = archive.getinfo("model/layers.0.weight.npy").header_offset + 200
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


REFUSED = {
    "empty": lambda good: b"",
    "text": lambda good: b"not a checkpoint\n",
    "cut": lambda good: good[: len(good) // 2],
    "cut at the end": lambda good: good[:-10],
    "a bit flipped": _flipped,
    "pickled": lambda good: pickle.dumps(Bomb()),
    "pickled inside": lambda good: _npz(notes=np.array([Bomb()], dtype=object)),
    "a plain array": lambda good: good[good.index(b"\x93NUMPY") :],
    "another archive": lambda good: _npz(weights=np.ones(3)),
    "another program's": lambda good: _npz(notes=np.array('{"format": "else"}')),
    "notes that are no JSON": lambda good: _npz(notes=np.array("{")),
    "notes that are a list": lambda good: _npz(notes=np.array("[1]")),
    "a later format": lambda good: _renamed(good, format="tinygrad_mnist checkpoint 3"),
    "a history of something": lambda good: _renamed(good, history=[{"epoch": 1}]),
    "more than it should hold": lambda good: _renamed(good, code="import os"),
    "a zip of text": lambda good: _zip({"notes.npy": b"hello", "a.txt": b"b"}),
    "a tiny zip": lambda good: b"PK\x03\x04",
}


def _zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_foreign_and_pickled_files_are_refused_in_one_line(tmp_path, name):
    file = write(tmp_path / "m.npz")
    file.write_bytes(REFUSED[name](file.read_bytes()))
    with pytest.raises(CheckpointError, match=r"m\.npz: expected a checkpoint of tinygrad_mnist, found") as caught:
        train.load(file)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_file_cut_anywhere_or_with_a_changed_byte_never_loads_other_numbers(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("damaged")
    good = write(directory / "m.npz")
    content, expected = good.read_bytes(), train.load(good)
    place = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(content))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content = content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    (directory / "bad.npz").write_bytes(content)
    try:
        found = train.load(directory / "bad.npz")
    except CheckpointError:
        return
    # Some bytes of a zip file mean nothing, as dates do: then all is as it was.
    assert found.history == expected.history
    assert found.settings == expected.settings
    assert all(np.array_equal(array, found.model[name]) for name, array in expected.model.items())


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        train.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: (network(d, hidden=9), SGD, None), r"'layers.0.weight' has shape \(6, 8\), expected \(6, 9\)"),
        (
            lambda d: (Sequential(Linear(6, 8, rng=np.random.default_rng(0))), SGD, None),
            "'layers.2.(weight|bias)' is not in this",
        ),
        (lambda d: (network(d), SGD, None), "belong to another optimizer"),
        (lambda d: (network(d), Nesterov, np.random.Generator(np.random.MT19937(0))), "state must be for a MT19937"),
    ],
)
def test_a_checkpoint_of_something_else_does_not_fit(tmp_path, make, message):
    checkpoint = train.load(write(tmp_path / "m.npz"))
    model, kind, rng = make(made_up())
    with pytest.raises(CheckpointError, match=rf"m\.npz: does not fit: .*{message}.*; restore into") as caught:
        checkpoint.restore(model, kind(model.parameters(), 0.5), rng=rng)
    assert "\n" not in str(caught.value)


def test_what_was_not_saved_cannot_be_restored(tmp_path):
    _, model, optimizer, schedule, rng, _ = trained(0)
    train.save(tmp_path / "m.npz", model, optimizer)
    checkpoint = train.load(tmp_path / "m.npz")
    checkpoint.restore(model, optimizer)
    for given_too in ({"schedule": schedule}, {"rng": rng}):
        with pytest.raises(CheckpointError, match="was saved without a"):
            checkpoint.restore(model, optimizer, **given_too)


@pytest.mark.slow
def test_10_000_real_digits_suffice_for_90_percent():
    data = mnist.load().head(10_000)
    rng = np.random.default_rng(0)
    model = Sequential(Linear(784, 30, rng=rng), sigmoid, Linear(30, 10, rng=rng), sigmoid)
    record = run(data, model, Momentum(model.parameters(), 1.5, 0.5), epochs=1)[0]
    assert record.validation > 0.9


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
@pytest.mark.parametrize("drawn", [0, 5])  # before the first number some are at the end of their memory
def test_every_generator_of_numpy_can_be_saved(drawn, bits, tmp_path):
    data = made_up()
    model = network(data)
    optimizer = SGD(model.parameters(), 0.5)
    rng = np.random.Generator(bits(3))
    rng.random(drawn)
    train.save(tmp_path / "x.npz", model, optimizer, rng=rng)
    other = np.random.Generator(bits(4))
    train.load(tmp_path / "x.npz").restore(model, optimizer, rng=other)
    assert (rng.integers(0, 2**63, 700) == other.integers(0, 2**63, 700)).all()


def test_what_does_not_fit_leaves_everything_as_it_was(tmp_path):
    data = made_up()
    model = network(data)
    train.save(tmp_path / "x.npz", model, SGD(model.parameters(), 0.5))
    checkpoint = train.load(tmp_path / "x.npz")
    for p in model.parameters():
        p.data = p.data + 1
    before = model.state_dict()
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.restore(model, Momentum(model.parameters(), 0.5, 0.9))
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())


def test_an_optimizer_of_other_parameters_is_refused():
    data = made_up()
    with pytest.raises(ValueError, match="the optimizer has none of the model's parameters; pass it"):
        run(data, network(data), SGD(network(data).parameters(), 0.5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cost": "quadratic"}, "cost: expected a function"),
        ({"cost": lambda a, y: None}, "expected a cost that is one number in a Tensor, got None"),
        ({"cost": lambda a, y: a - y}, "expected a cost that is one number"),
        ({"optimizer": 0.1}, "optimizer: expected an Optimizer"),
        ({"epochs": "3"}, "epochs: expected a whole number"),
        ({"epochs": -1}, "epochs: expected a whole number"),
        ({"data": (np.ones(3), np.ones(3))}, "data: expected a Dataset"),
    ],
)
def test_what_fit_cannot_train_with_is_named(given, message):
    model = Sequential(Linear(4, 3, rng=np.random.default_rng(0)))
    split = Split(np.ones((10, 4), "f"), np.zeros(10, int))
    settings = {
        "data": Dataset(split, split, None, 3, (2, 2), Path()),
        "cost": quadratic_cost,
        "optimizer": SGD(model.parameters(), 0.1),
        "epochs": 1,
    }
    with pytest.raises((TypeError, ValueError), match=f"fit: {message}"):
        list(train.fit(model, batch_size=5, rng=np.random.default_rng(0), **{**settings, **given}))


# ---- What an optimizer keeps is found by the names that the model has for its parameters


class Two(Module):
    """Two parameters of one shape, whose attributes are set in either order."""

    p: Tensor
    q: Tensor

    def __init__(self, order):
        for name in order:
            setattr(self, name, Tensor(np.zeros(2, np.float32), requires_grad=True))


class Keeping(Optimizer):
    """Several arrays, and a count."""

    def direction(self, gradient, state, options):
        state["mean / of"] = 0.5 * state.get("mean / of", 0) + gradient
        state["x.npy"] = gradient.sum()
        state["steps"] = state.get("steps", 0) + 1
        return state["mean / of"] / state["steps"]


def stepped(model, optimizer, count=1, others=()):
    for _ in range(count):
        for p, factor in zip((model.p, model.q, *others), (1, 5, 7), strict=False):
            p.grad = Tensor(np.full(p.shape, factor, np.float32))
        optimizer.step()
    return [p._array.tobytes() for p in (model.p, model.q, *others)]


@pytest.mark.parametrize("kind", [Momentum, Nesterov, Keeping])
@pytest.mark.parametrize("shared", [True, False])
def test_a_module_whose_attributes_come_in_another_order_gets_the_right_velocities(tmp_path, kind, shared):
    def made(order):
        model = Two(order)
        alone = Tensor(np.zeros((1, 2), np.float32), requires_grad=True)  # which the model does not have
        if shared:
            return model, alone, kind([alone, *model.parameters()], lr=0.1)
        groups = [{"params": [alone]}, {"params": model.parameters(), "lr": 0.25}]
        return model, alone, kind(groups, lr=0.1)

    model, alone, optimizer = made("pq")
    stepped(model, optimizer, 3, [alone])
    train.save(tmp_path / "m.npz", model, optimizer)
    other, other_alone, other_optimizer = made("qp")
    train.load(tmp_path / "m.npz").restore(other, other_optimizer)
    other_alone.data = alone.data.copy()
    assert stepped(other, other_optimizer, 2, [other_alone]) == stepped(model, optimizer, 2, [alone])
    assert other_optimizer.state[other.q].keys() == optimizer.state[model.q].keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, u: Momentum([m.p, u], 0.5), "group 0 of the optimizer has no 'q', and was saved with one"),
        (lambda m, u: Momentum([m.p, m.q], 0.5), "has no parameter 0 of those that the model does not have"),
        (lambda m, u: Momentum([m.p, m.q, u, Tensor([1.0], requires_grad=True)], 0.5), "has a parameter 1 of those"),
        (lambda m, u: Momentum([m.p, m.q, Tensor([1.0], requires_grad=True)], 0.5), r"have the shapes .*\[1, 2\]"),
        (lambda m, u: Momentum([{"params": [m.p]}, {"params": [m.q, u]}], 0.5), "group . of the optimizer has"),
        (lambda m, u: SGD([m.p, m.q, u], 0.5), "belong to another optimizer"),
    ],
)
def test_an_optimizer_that_contradicts_its_checkpoint_changes_nothing(tmp_path, make, message):
    model, alone = Two("pq"), Tensor(np.zeros((1, 2), np.float32), requires_grad=True)
    optimizer = Momentum([model.p, model.q, alone], 0.5)
    stepped(model, optimizer, 2)
    rng = np.random.default_rng(3)
    train.save(tmp_path / "m.npz", model, optimizer, rng=rng)
    other, other_rng = Two("pq"), np.random.default_rng(4)
    wrong = make(other, Tensor(np.zeros((1, 2), np.float32), requires_grad=True))
    before = copy.deepcopy((other.state_dict(), wrong.state_dict(), other_rng.bit_generator.state))
    with pytest.raises(CheckpointError, match=rf"m\.npz: does not fit: .*{message}.*; restore into") as caught:
        train.load(tmp_path / "m.npz").restore(other, wrong, rng=other_rng)
    assert "\n" not in str(caught.value)
    after = (other.state_dict(), wrong.state_dict(), other_rng.bit_generator.state)
    assert str(before) == str(after)


def test_a_schedule_that_does_not_fit_undoes_all_else(tmp_path):
    _, model, optimizer, schedule, rng, _ = trained(3, Momentum)
    train.save(tmp_path / "m.npz", model, optimizer, schedule=schedule, rng=rng)
    checkpoint = train.load(tmp_path / "m.npz")
    broken = dataclasses.replace(checkpoint, schedule={**schedule.state_dict(), "gamma": -1})
    _, other, other_optimizer, other_schedule, other_rng, _ = trained(1, Momentum)
    other_optimizer.groups[0]["lr"] = 0.125  # by hand

    def everything():
        return str((other.state_dict(), other_optimizer.state_dict(), other_schedule.state_dict(),
                    other_rng.bit_generator.state))  # fmt: skip

    before = everything()
    with pytest.raises(CheckpointError, match="does not fit: StepLR: expected gamma > 0, got -1"):
        broken.restore(other, other_optimizer, schedule=other_schedule, rng=other_rng)
    assert everything() == before


def test_a_rate_that_was_set_by_hand_is_restored_beside_a_schedule(tmp_path):
    _, model, optimizer, schedule, _, _ = trained(3, Momentum)
    optimizer.groups[0]["lr"] = 0.0625
    train.save(tmp_path / "m.npz", model, optimizer, schedule=schedule)
    _, other, other_optimizer, other_schedule, _, _ = trained(0, Momentum)
    train.load(tmp_path / "m.npz").restore(other, other_optimizer, schedule=other_schedule)
    assert other_optimizer.groups[0]["lr"] == 0.0625
    assert other_schedule.state_dict() == schedule.state_dict()


def test_parameters_of_different_shapes_may_change_places_too(tmp_path):
    def made(order):
        model = Two(order)
        model.q = Tensor(np.zeros((3, 1), np.float32), requires_grad=True)
        return model, Momentum(model.parameters(), 0.1)

    (model, optimizer), (other, other_optimizer) = made("pq"), made("qp")
    stepped(model, optimizer, 2)
    train.save(tmp_path / "m.npz", model, optimizer)
    train.load(tmp_path / "m.npz").restore(other, other_optimizer)
    assert stepped(other, other_optimizer) == stepped(model, optimizer)


def test_what_an_optimizer_keeps_goes_round_whatever_its_names(tmp_path):
    model = Two("pq")
    optimizer = Keeping([model.p, model.q], 0.5)
    stepped(model, optimizer, 2)
    optimizer.state[model.p] |= {"": np.ones((3, 0)), "\n\x00": 1, "ü/../x": np.ones((2, 1)).T}
    train.save(tmp_path / "m.npz", model, optimizer)
    saved = train.load(tmp_path / "m.npz").optimizer
    assert saved["names"] == [["p", "q"]]
    for i, p in enumerate((model.p, model.q)):
        assert list(saved["state"][i]) == list(optimizer.state[p])
        assert all(np.array_equal(saved["state"][i][name], array) for name, array in optimizer.state[p].items())


def test_a_checkpoint_that_lacks_an_array_that_it_names_is_refused(tmp_path):
    model = Two("pq")
    optimizer = Keeping([model.p, model.q], 0.5)
    stepped(model, optimizer, 2)
    train.save(tmp_path / "m.npz", model, optimizer)
    with np.load(tmp_path / "m.npz") as archive:
        arrays = dict(archive)
    del arrays["state/1/0"]
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(CheckpointError, match="found a file that is damaged"):
        train.load(tmp_path / "m.npz")


# ---- Checkpoints of the former format


FORMER = Path(former_checkpoints.__file__).parent


@pytest.mark.parametrize("kind", [SGD, Momentum, Nesterov])
def test_a_checkpoint_of_the_former_format_goes_on_to_the_same_bits(kind):
    model, optimizer, schedule, rng = former_checkpoints.made(kind)
    optimizer.groups[0]["lr"] = 77.0
    train.load(FORMER / f"former_{kind.__name__}.npz").restore(model, optimizer, schedule=schedule, rng=rng)
    former_checkpoints.steps(3, model, optimizer, schedule, rng)
    after = json.loads((FORMER / "former_checkpoints.json").read_text(encoding="utf-8"))[kind.__name__]
    assert {name: array.tobytes().hex() for name, array in model.state_dict().items()} == after


def test_a_former_checkpoint_of_several_arrays_in_one_is_refused_in_one_line_and_its_model_loads():
    model, optimizer, schedule, rng = former_checkpoints.made(Adam)
    before = model.state_dict()
    checkpoint = train.load(FORMER / "former_Adam.npz")
    with pytest.raises(
        CheckpointError, match=r"does not fit: Adam: .* has no names; restore the model alone"
    ) as caught:
        checkpoint.restore(model, optimizer, schedule=schedule, rng=rng)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    assert schedule.epoch == 0
    checkpoint.restore(model, schedule=schedule)
    assert schedule.epoch == 3
    assert not np.array_equal(model.weight.data, before["weight"])


@pytest.mark.parametrize(("size", "batches"), [(10, 6), (7, 9)])
def test_the_end_of_a_compiled_training_is_audited(size, batches, caplog):
    """An array as a number is what no replay looks at; without a smaller last batch and with one."""
    data = made_up(60)
    model = network(data)
    scale = np.array(1.0)
    optimizer = SGD(model.parameters(), 0.1)
    options = {"epochs": 7, "batch_size": size, "rng": np.random.default_rng(0), "backend": "numpy"}
    cost = lambda outputs, targets: quadratic_cost(outputs, targets) * float(scale)  # noqa: E731
    for record in train.fit(model, data, cost=cost, optimizer=optimizer, **options):
        if record.epoch == 6:
            assert not caplog.records
            scale[()] = 2.0  # after the audit at the 32nd call, and before that at the 64th
    assert f"at call {7 * batches - 1} of step the result is" in caplog.records[0].getMessage()


def test_the_former_name_of_backend_is_answered_with_the_new_one():
    data = made_up()
    with refused(TypeError, "fit: compiled=True is no option any more", "backend='numpy', 'c' or 'eager'"):
        run(data, epochs=1, compiled=True)
    with refused(ValueError, "expected a backend of numpy, c, eager, got 'jit'"):
        run(data, epochs=1, backend="jit")


def test_parameters_of_other_shapes_may_come_in_any_order(tmp_path):
    """Also where the order is no exchange of two, which would undo itself."""

    class Parts(Module):
        def __init__(self, names):
            for name in names:
                setattr(self, name, Tensor(np.ones(1 + "pqr".index(name), np.float32), requires_grad=True))

    def stepped(names):
        model = Parts(names)
        optimizer = Momentum(model.parameters(), lr=0.5)
        sum((p * p).sum() for p in model.parameters()).backward()
        optimizer.step()
        return model, optimizer

    model, optimizer = stepped("pqr")
    model.q.data *= 3
    train.save(tmp_path / "m.npz", model, optimizer)
    for names in itertools.permutations("pqr"):
        other, its = stepped(names)
        its.state.clear()
        train.load(tmp_path / "m.npz").restore(other, its)
        for name in names:
            assert np.array_equal(getattr(other, name).data, getattr(model, name).data)
            velocity = optimizer.state[getattr(model, name)]["velocity"]
            assert np.array_equal(its.state[getattr(other, name)]["velocity"], velocity)
