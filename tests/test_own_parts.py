"""Own optimizers, schedules, costs, ops and checkpoints: what is easily forgotten is named, and nothing is lost."""

import re
import subprocess
import weakref
from typing import Any, ClassVar

import numpy as np
import pytest

from tinygrad_mnist import Domain, Tensor, mnist, nn, no_grad, optim, train, unary, visualize, where
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.optim import Momentum, Nesterov, Schedule
from tinygrad_mnist.train import CheckpointError
from tinygrad_mnist.visualize import render
from tinygrad_mnist.visualize.tracing import computed

from .helpers import network, refused, variable


def parameter() -> Tensor:
    return variable([1.0], np.float32)


class Forgetful(optim.Optimizer):
    def __init__(self, params: Any) -> None:
        self.params = list(params)


class ForgetfulSchedule(Schedule):
    def __init__(self, optimizer: Any) -> None:
        self.of = optimizer


@pytest.mark.parametrize("use", [lambda o: o.step(), lambda o: o.zero_grad(), lambda o: o.groups, lambda o: repr(o)])
def test_an_optimizer_that_has_not_called_init_says_so(use: Any) -> None:
    with refused(AttributeError, "Forgetful: ", "its __init__ has to call super().__init__(params, lr, options={...})"):
        use(Forgetful([parameter()]))
    with pytest.raises(AttributeError) as caught:
        optim.SGD([parameter()], 0.1).typo  # type: ignore[attr-defined]  # noqa: B018
    assert str(caught.value) == "SGD: has no attribute 'typo'"


def test_a_schedule_that_has_not_called_init_says_so() -> None:
    with refused(AttributeError, "ForgetfulSchedule: ", "its __init__ has to call super().__init__(optimizer)"):
        ForgetfulSchedule(optim.SGD([parameter()], 0.1)).step()


class Kinds(optim.Optimizer):
    kinds: ClassVar = {"beta": "real", "mode": "text"}

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, 0.1, options={"beta": -0.9, "mode": "fast", **options})

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        return gradient


class NoKinds(Kinds):
    kinds: ClassVar = {}


class BadKinds(Kinds):
    kinds: ClassVar = {"beta": "negative"}


def test_an_option_of_ones_own_may_be_negative_or_a_text() -> None:
    optimizer = Kinds([parameter()])
    assert (optimizer.groups[0]["beta"], optimizer.groups[0]["mode"]) == (-0.9, "fast")
    with refused(ValueError, "Kinds: expected beta to be a finite number, got inf"):
        optimizer.groups[0]["beta"] = float("inf")
    with refused(ValueError, "Kinds: expected mode to be a text, got 3"):
        optimizer.groups[0]["mode"] = 3
    with refused(ValueError, "NoKinds: expected 0 <= beta < inf, got -0.9", 'kinds = {"beta": "real"}'):
        NoKinds([parameter()])
    with refused(ValueError, "got 'fast'", 'kinds = {"mode": "text"}'):
        NoKinds([parameter()], beta=0.5)
    with refused(TypeError, "BadKinds: expected kinds['beta'] to be 'share', ", "got 'negative'"):
        BadKinds([parameter()])


class Falling(Schedule):
    """A schedule whose setting is an attribute that is set before."""

    def __init__(self, optimizer: optim.Optimizer, gamma: float = 0.9) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, first: float, epoch: int) -> float:
        return first * self.gamma**epoch


def test_a_setting_that_a_schedule_has_set_itself_is_saved_with_it(tmp_path: Any) -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), 0.1)
    schedule = Falling(optimizer, gamma=0.5)
    schedule.step()
    assert repr(schedule) == "Falling(SGD, gamma=0.5; epoch 1, lr 0.05)"
    train.save(tmp_path / "m.npz", model, optimizer, schedule=schedule)
    again = Falling(optim.SGD(model.parameters(), 0.1))
    train.load(tmp_path / "m.npz").restore(model, again.optimizer, schedule=again)
    assert (again.gamma, again.epoch, again.optimizer.groups[0]["lr"]) == (0.5, 1, 0.05)


class Warm(optim.StepLR):
    def __init__(self, optimizer: optim.Optimizer, warm: int = 3) -> None:
        self.warm = warm
        super().__init__(optimizer, 2, 0.5)


def test_so_is_that_of_a_subclass_whose_other_settings_are_checked() -> None:
    optimizer = optim.SGD([parameter()], 0.1)
    state = Warm(optimizer, 5).state_dict()
    again = Warm(optimizer)
    again.load_state_dict(state)
    assert (again.warm, again.step_size, again.gamma) == (5, 2, 0.5)


def test_a_rate_below_0_is_the_schedules() -> None:
    with refused(ValueError, "Falling: expected rate(0.1, 1) to be a number >= 0, got -0.1"):
        Falling(optim.SGD([parameter()], 0.1), gamma=-1.0).step()


def test_an_optimizer_of_another_class_is_not_restored(tmp_path: Any) -> None:
    model = network()
    file = tmp_path / "m.npz"
    train.save(file, model, Momentum(model.parameters(), 0.1))
    checkpoint = train.load(file)
    before = model.state_dict()
    other = Nesterov(model.parameters(), 0.2)
    with refused(CheckpointError, "m.npz: does not fit: the optimizer was of the class 'Momentum', not Nesterov (if"):
        checkpoint.restore(model, other)
    assert other.groups[0]["lr"] == 0.2
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    other.load_state_dict(checkpoint.optimizer)  # the way that the error names
    assert other.groups[0]["lr"] == 0.1
    checkpoint.restore(model, Momentum(model.parameters(), 0.2))


def test_a_checkpoint_is_shown_in_a_line(tmp_path: Any) -> None:
    model = network()
    train.save(tmp_path / "m.npz", model, Momentum(model.parameters(), 0.1))
    text = repr(train.load(tmp_path / "m.npz"))
    assert text.startswith("Checkpoint('")
    assert text.endswith("m.npz': 4 arrays of 475 numbers, 0 epochs)")


def test_what_is_saved_is_of_its_kind(tmp_path: Any) -> None:
    model = network()
    optimizer = Momentum(model.parameters(), 0.1)
    with refused(TypeError, "save: rng: expected a Generator, got 0; np.random.default_rng(0) makes one"):
        train.save(tmp_path / "m.npz", model, optimizer, rng=0)  # type: ignore[arg-type]
    with refused(TypeError, "save: schedule: expected a Schedule, got 'StepLR'"):
        train.save(tmp_path / "m.npz", model, optimizer, schedule="StepLR")  # type: ignore[arg-type]
    with refused(TypeError, "save: expected save(path, model, optimizer), got ("):
        train.save(tmp_path / "m.npz", lambda x: x, optimizer)  # type: ignore[arg-type]
    assert not (tmp_path / "m.npz").exists()


def test_no_parameters_name_what_makes_one() -> None:
    with refused(ValueError, "SGD: got no parameters; pass network.parameters()", "requires_grad=True"):
        optim.SGD([], 0.1)


def fitting(cost: Any, model: Any = None) -> None:
    data = mnist.load()
    model = model or nn.Sequential(nn.Linear(784, 10, rng=np.random.default_rng(0)))
    options = {"epochs": 1, "batch_size": 10, "rng": np.random.default_rng(0)}
    list(train.fit(model, data.head(20), cost=cost, optimizer=optim.SGD(model.parameters(), 0.1), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cost", "remedy"),
    [
        (lambda a, y: float(softmax_cross_entropy(a, y)), "return the Tensor itself, without float(), .item()"),
        (lambda a, y: softmax_cross_entropy(a, y).item(), "return the Tensor itself, without float(), .item()"),
        (lambda a, y: None, "got None; end it with `return`"),
        (lambda a, y: (a - y) ** 2, "use .mean()"),
    ],
)
def test_a_cost_that_is_none_is_told_what_it_lacks(cost: Any, remedy: str) -> None:
    with refused(TypeError, "fit: expected a cost that is one number in a Tensor, got ", remedy):
        fitting(cost)


def test_what_is_not_finite_before_the_first_step_is_not_the_learning_rates_doing() -> None:
    with pytest.raises(train.DivergedError) as caught:
        fitting(lambda a, y: softmax_cross_entropy(a * np.float32("inf"), y))
    assert "epoch 1, step 1: the cost is nan" in str(caught.value)
    assert "visualize.detect_anomaly()" in str(caught.value)
    assert "learning rate" not in str(caught.value)


def test_what_an_op_is_made_with_is_checked(table: Any) -> None:
    with refused(TypeError, "op 'twice': takes a name, a function, doc, sign, view, domain, numpy, hint, c; got C"):
        unary("twice", lambda x: 2 * x, lambda g, out, x: 2 * g, C="2 * {x}")
    with refused(TypeError, "op 'twice': domain is a tuple", "away=(0,)", "away=0)"):
        unary("twice", lambda x: 2 * x, lambda g, out, x: 2 * g, domain=(Domain(away=0),))  # type: ignore[arg-type]
    assert "twice" not in table


def huber(outputs: Any, targets: Any, delta: float = 0.5) -> Any:
    error = abs(outputs - targets)
    return where(error < delta, error * error / 2, delta * (error - delta / 2)).sum(1).mean()


class Dropping(nn.Module):
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.hidden, self.drop = nn.Linear(3, 4, rng=rng), nn.Dropout(0.5, rng=rng)

    def forward(self, x: Any) -> Any:
        return self.drop(self.hidden(x))


def test_what_was_computed_without_gradients_is_drawn_as_that_and_not_as_data() -> None:
    targets = Tensor(np.zeros((2, 4), np.float32), name="targets")
    with visualize.trace():
        loss = huber(Dropping()(Tensor(np.ones((2, 3), np.float32), name="images")), targets)
    text = str(visualize.explain(loss))
    forward = text[: text.index("backward")]
    assert re.search(r"\nv\d+ = v\d+ < 0\.5 +lt +2×4\n", forward)
    assert re.search(r"\nv\d+ = dropout_mask\(v\d+, p=0\.5\) +dropout_mask +2×4\n", forward)
    assert re.findall(r"(\w+) +input", forward) == ["images", "targets"]
    source = visualize.graph(loss, values=True).source
    frame = source[source.index("drop: Dropout") :]
    assert "dropout_mask" in frame[: frame.index("\n\t\t}")]
    (line,) = (line for line in source.splitlines() if "2×4 bool" in line and "label=" in line)
    assert re.search(r"= v\d+ &lt; 0\.5", line)
    assert "shape=ellipse" in line
    assert "without gradient" in line


def test_watching_keeps_no_operands_alive() -> None:
    x = variable([1.0, 2.0])
    with visualize.trace(), no_grad():
        first = x * 2
        second = first * 3
    kept = weakref.ref(first)
    del first
    assert kept() is None
    found = computed(second)
    assert found is not None
    assert (found[0].name, found[1]) == ("mul", ())


def test_the_texts_of_a_picture_fit_into_their_boxes_where_only_dejavu_is_there(tmp_path: Any) -> None:
    from matplotlib import font_manager
    from PIL import ImageFont

    weight = variable(np.ones((784, 30)), np.float32, name="hidden.weight")
    (weight * 2).sum().name = "C"
    svg = visualize.save(visualize.graph((weight * 2).sum()), tmp_path / "w.svg").read_text(encoding="utf-8")
    assert 'font-family="DejaVu Sans,Verdana,Geneva,sans-serif"' in svg
    box = re.search(r'<polygon fill="#fbdca0"[^>]*points="([^"]*)"', svg)
    assert box is not None
    columns = [float(point.split(",")[0]) for point in box[1].split()]
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 90)  # matplotlib brings it along
    assert font.getlength("parameter 784×30 float32") / 10 < max(columns) - min(columns)


def test_a_picture_of_pixels_has_a_font_that_is_brought_along(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def run(command: Any, *, input: bytes, **options: Any) -> Any:
        given.append(input.decode())
        return subprocess.CompletedProcess(command, 0, b"drawn", b"")

    monkeypatch.setattr(subprocess, "run", run)
    x = variable([1.0, 2.0])
    for kind in ("svg", "png", "pdf"):
        render.rendered(visualize.graph((x * x).sum()).source, kind)
    assert ["DejaVu" in text for text in given] == [True, False, False]
    assert ["Arial" in text for text in given] == [False, True, True]


def test_a_picture_is_shown_in_a_line() -> None:
    x = variable([1.0, 2.0])
    assert repr(visualize.graph((x * x).sum())) == (
        "<picture of 3 nodes; visualize.save(picture, 'graph.svg') draws it>"
    )
