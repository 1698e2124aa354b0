"""The live page without a browser: what the server answers, and whom; that its training is the command line's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_mnist import OPS, Tensor, grad, mnist, nn, optim, relu, train
from tinygrad_mnist.losses import softmax_cross_entropy
from zoo.base import COSTS
from zoo.images import read_image
from zoo.network import Network
from zoo.network1 import Network1
from zoo.network2 import Network2
from zoo.network3 import Network3
from zoo.sketch import breaking, measuring, seeing, serving
from zoo.sketch import session as sketch_session
from zoo.sketch.__main__ import main
from zoo.sketch.answers import SIDE
from zoo.sketch.application import HEADERS, MOST, application, news
from zoo.sketch.own import OwnSubject
from zoo.sketch.presets import PRESETS
from zoo.sketch.session import Session
from zoo.sketch.subjects import ZooSubject
from zoo.training import Training

from .helpers import refused

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

HOST = "127.0.0.1:8765"
ORIGIN = {"origin": f"http://{HOST}"}


@pytest.fixture(scope="module")
def data(digits: Any) -> mnist.Dataset:
    return mnist.load(digits)


@pytest.fixture
def sessions(data: mnist.Dataset) -> Iterator[Any]:
    made = []

    def make(subject: Any = None) -> Session:
        made.append(Session(subject or ZooSubject(data, Network())))
        return made[-1]

    yield make
    for session in made:
        session.end()


@pytest.fixture
def session(sessions: Any) -> Session:
    result: Session = sessions()
    return result


class Client:
    """Asks the application, without a server."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(self, method: str, path: str, **options: Any) -> Any:
        async def ask() -> Any:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def post(self, path: str, **options: Any) -> Any:
        return self.request("POST", path, **options)


@pytest.fixture
def client(session: Session) -> Client:
    return Client(application(session, {HOST}))


def trained(session: Session, how: str, timeout: float = 60) -> None:
    """Train, and wait until that is done."""
    session.go(how)
    until = time.monotonic() + timeout
    while session.running:
        assert time.monotonic() < until
        time.sleep(0.01)
    session.state()  # waits for the last step, and for what is measured after it


def drawn() -> Any:
    """A sheet with a one."""
    sheet = np.zeros((SIDE, SIDE), np.uint8)
    sheet[60:220, 130:150] = 255
    return sheet


def as_sent(sheet: Any) -> str:
    return base64.b64encode(sheet.tobytes()).decode()


def parameters(model: Any) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}


# --- The training is the zoo's own ---


@pytest.mark.parametrize(
    "network",
    [Network(seed=3), Network1(hidden=(12, 11)), Network2(lr_step=1, cost="softmax"), Network3(batch_size=7)],
    ids=lambda network: type(network).__name__,
)
def test_the_training_has_the_bits_of_the_command_line(network: Any, data: mnist.Dataset, sessions: Any) -> None:
    session = sessions(ZooSubject(data, network))
    for how in ("step", "epoch", "epoch"):  # looked at in between
        trained(session, how)
        session.look(data.validation.images[0], 3)
        session.state()
    expected = Training(type(network)(**{**vars(network), "epochs": 2}), data, backend="numpy")
    records = list(expected.fit())
    assert parameters(session.subject.training.model) == parameters(expected.model)
    shown = session.state()["records"]
    assert [(r["cost"], r["validation"]) for r in shown] == [(r.cost, r.validation) for r in records]


def test_one_step_is_one_step_and_pause_is_pause(session: Session) -> None:
    model = session.subject.training.model
    before = parameters(model)
    trained(session, "step")
    assert session.state()["step"] == 1
    assert parameters(model) != before
    session.go("run")
    session.go("pause")
    before, step = parameters(model), session.state()["step"]
    time.sleep(0.05)
    assert (parameters(model), session.state()["step"]) == (before, step)
    trained(session, "epoch")
    assert (session.state()["step"], session.state()["epoch"]) == (100, 1)
    session.go("restart")
    assert session.state()["step"] == 0
    assert parameters(session.subject.training.model) == parameters(Training(Network(), session.subject.data).model)


def test_of_many_measurements_the_older_ones_are_thinned_out(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch_session, "POINTS", 6)
    for _ in range(9):
        trained(session, "step")
    steps = [point["step"] for point in session.points]
    assert len(steps) == 6
    assert (steps[0], steps[-4:]) == (0, [6, 7, 8, 9])
    assert steps == sorted(steps)


def test_no_step_comes_after_a_pause(session: Session) -> None:
    for _ in range(30):
        session.go("run")
        session.look(session.subject.data.validation.images[0], None)
        session.go("pause")
        step = session.steps
        time.sleep(0.002)
        assert session.steps == step


def test_who_looks_sees_a_network_between_two_steps(session: Session) -> None:
    session.go("run")
    image = session.subject.data.validation.images[0]
    seen = [session.look(image, None)["step"] for _ in range(20)]
    assert seen == sorted(seen)
    state = session.state()
    assert state["status"] == "running"
    session.go("pause")


def test_settings_act_at_once_or_begin_anew(session: Session) -> None:
    trained(session, "step")
    model = session.subject.training.model
    session.change("network", {"lr": "0.5"})
    assert session.subject.training.model is model
    assert session.subject.training.optimizer.groups[0]["lr"] == 0.5
    state = session.state()
    assert (state["changes"], state["step"]) == (["η 0.5 from step 2 on"], 1)
    assert state["command"] == "python -m zoo.network --eta 0.5"
    session.change("network", {"lr": "0.5", "batch_size": "20"})
    state = session.state()
    assert (state["changes"], state["step"], state["total"]) == ([], 0, 50)
    assert session.subject.training.model is not model
    session.change("network", {"cost": "cross-entropy"})
    assert session.state()["address"] == {"network": "network", "cost": "cross-entropy"}  # with that cost's own rate


def test_what_begins_anew_goes_on_only_if_it_was_to_go_on_without_an_end(session: Session) -> None:
    for how, goes_on in (("epoch", False), ("run", True)):
        session.go(how)
        session.go("restart")
        assert session.running == goes_on
        session.go("pause")


@pytest.mark.parametrize(
    ("network", "given", "taken", "said"),
    [
        ("network1", {"eta": "0.5", "mu": "0.25"}, Network1(lr=0.5, momentum=0.25), []),
        ("network1", {"lr": "0.5", "momentum": "0.25"}, Network1(lr=0.5, momentum=0.25), []),
        (
            "network1",
            {"mu": "7", "seed": "4"},
            Network1(seed=4),
            ["μ: expected a number of at least 0 and below 1, got '7'; 0.5 is taken"],
        ),
        ("network1", {"batch_size": "x"}, Network1(), ["batch size: .*, got 'x'; 32 is taken"]),
        ("network1", {"cost": ""}, Network1(), ["cost: .*, got ''; quadratic is taken"]),
        ("network", {"mu": "0.5", "eta": "1"}, Network(lr=1), ["network has no setting 'mu'; it has .*; left out"]),
        ("network9", {"eta": "1"}, Network(lr=1), ["there is no network 'network9'; .*; network is taken"]),
        ("", {"eta": "1"}, Network(lr=1), ["no network is named; network is taken"]),
        ("network", {"hidden": "3000"}, Network(), ["hidden: 3,000 neurons .*; 30 is taken"]),
        ("network1", {"recipe": "mine"}, Network1(), ["recipe: expected original, got 'mine'; left out"]),
    ],
)
def test_what_of_an_address_can_be_had_is_taken_and_the_rest_is_said(
    network: str, given: dict[str, str], taken: Any, said: list[str], session: Session
) -> None:
    subject: Any = session.subject
    remarks = session.read(network, given, typed=False)
    assert subject.network == taken
    assert len(remarks) == len(said)
    assert all(re.fullmatch(each, remark) for each, remark in zip(said, remarks, strict=True))


def test_of_an_address_full_of_nonsense_not_all_is_told(session: Session) -> None:
    remarks = session.read("network", {f"key{i}": "x" * 10_000 for i in range(50)}, typed=False)
    assert len(remarks) == 5
    assert remarks[-1] == "46 more of the address cannot be taken"
    assert max(map(len, remarks)) < 200


def test_settings_that_are_too_many_together_are_not_taken(session: Session) -> None:
    subject: Any = session.subject
    remarks = session.read("network", {"hidden": "2000 1", "seed": "3"}, typed=False)
    assert subject.network == Network(seed=3)
    assert remarks == ["hidden: 2,001 neurons in 2 layers are too many for a live page; 30 is taken"]


def test_a_model_that_was_given_goes_before_an_address_unless_that_is_typed(
    data: mnist.Dataset, digits: Any, tmp_path: Any, sessions: Any
) -> None:
    training = Training(Network1(epochs=1), data, str(digits))
    list(training.fit())
    training.save(tmp_path / "m.npz")
    session = sessions(ZooSubject.of_checkpoint(tmp_path / "m.npz", digits))
    (remark,) = session.read("network1", {"seed": "4"}, typed=False)
    assert remark == "The program was started with m.npz: the address has other settings, which are not taken."
    assert session.read("network1", {}, typed=False) == []
    assert parameters(session.subject.training.model) == parameters(training.model)
    assert session.read("network1", {"seed": "4"}, typed=True) == []
    assert session.subject.network == Network1(seed=4)
    assert session.read("network1", {"seed": "5"}, typed=False) == []  # the model is gone
    assert session.subject.network == Network1(seed=5)


def test_a_model_of_ones_own_has_no_address(data: mnist.Dataset, sessions: Any) -> None:
    model = nn.Sequential(nn.Linear(784, 10, rng=np.random.default_rng(0)))
    session = sessions(OwnSubject(model, data))
    assert session.read("network1", {"lr": "7"}, typed=True) == []
    assert session.subject.training.optimizer.groups[0]["lr"] == 0.1
    assert session.state()["rate"] == "lr"  # its options keep their own names


def test_the_command_names_all_that_the_training_depends_on(data: mnist.Dataset, sessions: Any, digits: Any) -> None:
    session = sessions(ZooSubject(data.head(60), Network1.original(seed=2), digits, 60))
    state = session.state()
    command = f"python -m zoo.network1 --recipe original --seed 2 --data {digits} --train-size 60"
    assert state["command"] == command
    assert state["address"] == {"network": "network1", "recipe": "original", "seed": "2"}
    session.change("network1", {"recipe": "original", "seed": "3"})
    assert session.subject.network == Network1.original(seed=3)
    trained(session, "epoch")
    assert session.state()["step"] == 60  # an update after every digit
    with refused(ValueError, "recipe", "original"):
        session.change("network1", {"recipe": "other"})


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.text)
def test_a_preset_is_found_again_by_its_settings(preset: Any, data: mnist.Dataset) -> None:
    subject = ZooSubject(data, Network3(seed=9))
    subject.change(preset.network, preset.settings)
    assert subject.described()["address"] == {"network": preset.network, **preset.settings}


def test_the_training_before_is_kept_to_compare_with(session: Session) -> None:
    assert session.state()["former"] is None
    trained(session, "epoch")
    session.change("network", {"lr": "0.5"})
    trained(session, "step")
    points = session.state()["points"]
    session.change("network1", {"lr": "0.5"}, anew=True)
    former = session.state()["former"]
    assert former["points"] == points
    assert former["points"][-1]["step"] == 101
    assert (former["settings"]["network"], former["settings"]["η"]) == ("network", "0.5")
    assert former["changes"] == ["η 0.5 from step 101 on"]
    assert session.settings["network"] == "network1"
    session.go("restart")  # of which there were no steps
    assert session.state()["former"] == former


def test_a_preset_begins_anew_even_where_its_settings_act_at_once(session: Session) -> None:
    trained(session, "step")
    session.go("run")
    session.change("network", {"lr": "0.5"}, anew=True)
    assert session.running
    session.go("pause")
    state = session.state()
    assert (state["changes"], state["lr"]) == ([], 0.5)
    assert state["former"]["settings"]["η"] == "3.0"
    trained(session, "epoch")
    expected = Training(Network(lr=0.5, epochs=session.state()["epoch"]), session.subject.data, backend="numpy")
    list(expected.fit())
    assert parameters(session.subject.training.model) == parameters(expected.model)


def test_a_rate_given_at_once_is_stepped_down_by_the_schedule(data: mnist.Dataset, sessions: Any) -> None:
    session = sessions(ZooSubject(data, Network2(lr_step=1)))
    trained(session, "epoch")
    session.change("network2", {"lr_step": "1", "lr": "1", "momentum": "0.25"})
    group = session.subject.training.optimizer.groups[0]
    assert (group["lr"], group["momentum"]) == (0.5, 0.25)
    trained(session, "epoch")
    assert group["lr"] == 0.25


def test_weight_decay_acts_on_the_weights_alone(data: mnist.Dataset, sessions: Any) -> None:
    session = sessions(ZooSubject(data, Network3()))
    session.change("network3", {"lmbda": "5"})
    weights, biases = session.subject.training.optimizer.groups
    assert (weights["weight_decay"], biases.get("weight_decay", 0)) == (5 / 1000, 0)


@pytest.mark.parametrize(
    ("network", "settings", "words"),
    [
        ("network", {"lr": "-1"}, "expected a number above 0"),
        ("network", {"mu": "0.5"}, "no setting 'mu'; it has hidden, init, cost, epochs, batch_size, eta"),
        ("network9", {}, "no network"),
        ("../network", {}, "no network"),
        ("network", {"hidden": "9999999"}, "too many"),
        ("network1", {"momentum": "1"}, "below 1"),
    ],
)
def test_settings_that_cannot_be_change_nothing(
    network: str, settings: dict[str, str], words: str, session: Session
) -> None:
    trained(session, "step")
    before = session.state()
    with refused(ValueError, words):
        session.change(network, settings)
    assert {**session.state(), "version": 0} == {**before, "version": 0}


def test_what_diverges_is_said_and_can_begin_anew(session: Session) -> None:
    session.change("network", {"init": "he", "cost": "softmax", "lr": "1e38"})
    trained(session, "epoch")
    state = session.state()
    assert state["status"] == "stopped"
    assert "try a learning rate below" in state["fault"]
    json.dumps(state, allow_nan=False)
    session.look(session.subject.data.train.images[0], None)
    session.go("restart")
    assert session.state()["status"] == "paused"


# --- What is seen ---


@pytest.mark.parametrize("label", [0, 7])
def test_what_is_shown_of_a_digit_is_what_python_computes(label: int, session: Session) -> None:
    network, image = session.subject.training.model, session.subject.data.validation.images[4]
    seen = session.look(image, label)
    x = Tensor(image[None], requires_grad=True)
    outputs = network(x)
    hidden = network.layers[1](network.layers[0](x)).numpy()[0]
    loss = COSTS["quadratic"](outputs, seeing.row(label, 10))
    assert [layer["name"] for layer in seen["layers"]] == ["hidden layer", "outputs"]
    assert seen["layers"][0]["activations"] == hidden.tolist()
    np.testing.assert_allclose(seen["layers"][0]["slopes"], hidden * (1 - hidden), rtol=1e-6)
    assert seen["layers"][1]["activations"] == outputs.numpy()[0].tolist()
    assert (seen["answer"], seen["cost"]) == (outputs.numpy().argmax(), loss.item())
    assert seen["answer"] not in (0, 7)  # else any label would do
    gradient = grad(loss, x).numpy()[0]
    picture = seen["gradient"]
    levels = np.frombuffer(base64.b64decode(picture["bytes"]), np.int8)
    assert picture["scale"] == np.abs(gradient).max()
    np.testing.assert_allclose(levels / 127 * picture["scale"], gradient, atol=picture["scale"] / 253)
    assert all(p.grad is None for p in network.parameters())


def test_a_few_digits_without_others_are_looked_at_themselves(data: mnist.Dataset, sessions: Any) -> None:
    few = mnist.Dataset(data.train[:4], data.train[:0], None, data.n_classes, data.image_shape, data.source)
    session = sessions(OwnSubject(Convolution(np.random.default_rng(0)), few))
    assert session.state()["data"]["digits"] == 4  # of which the page counts through all
    assert session.pixels_of(5)[1] == few.train.labels[1]


def test_weights_are_shown_as_images(session: Session) -> None:
    weights = session.subject.training.model.layers[0].weight.numpy()
    picture = session.state()["tiles"]
    assert (picture["shape"], picture["count"]) == ([30, 28, 28], 30)
    levels = np.frombuffer(base64.b64decode(picture["bytes"]), np.int8).reshape(30, 784)
    expected = (weights.T / picture["scale"]).clip(-1, 1)
    np.testing.assert_allclose(levels / 127, expected, atol=1 / 253)


def test_a_step_of_ones_own_is_the_optimizers_step(session: Session) -> None:
    training = session.subject.training
    image = session.subject.data.validation.images[0]
    twin = Training(Network(), session.subject.data)
    result = session.learn(image, 5)
    loss = COSTS["quadratic"](twin.model(image[None]), seeing.row(5, 10))
    before = twin.model.state_dict()
    loss.backward()
    twin.optimizer.step()
    assert parameters(training.model) == parameters(twin.model)
    assert result["before"]["cost"] == loss.item()
    assert result["after"]["cost"] < result["before"]["cost"]
    for row in result["parameters"]:
        change = twin.model.state_dict()[row["name"]].astype(float) - before[row["name"]]
        assert row["rms"] == pytest.approx(np.sqrt(np.mean(change**2)))
        g = dict(twin.model.named_parameters())[row["name"]].grad
        assert g is not None
        assert result["gradients"][row["name"]] == pytest.approx(np.sqrt(np.mean(g.numpy().astype(float) ** 2)))
        assert (row["largest"], row["moved"]) == (np.abs(change).max(), np.count_nonzero(change))
    most = result["most"][0]
    place = tuple(most["index"])
    assert most["now"] == float(twin.model.state_dict()[most["name"]][place])
    assert most["by"] == pytest.approx(most["now"] - most["was"])
    assert session.state()["own_steps"] == 1
    assert result["kept"] == []


def test_what_acts_on_in_a_step_of_ones_own_is_told(data: mnist.Dataset) -> None:
    session = Session(ZooSubject(data, Network1()))
    image = session.subject.data.validation.images[0]
    assert session.learn(image, 5)["kept"] == []
    assert session.learn(image, 5)["kept"] == ["velocity"]


def test_steps_of_ones_own_are_counted_apart(session: Session) -> None:
    image = session.subject.data.validation.images[0]
    trained(session, "step")
    session.learn(image, 5)
    session.learn(image, 5)
    state, seen = session.state(), session.look(image, None)
    assert (state["step"], state["own_steps"]) == (seen["step"], seen["own_steps"]) == (1, 2)


def test_the_saturated_neurons_of_each_layer_are_measured(session: Session) -> None:
    trained(session, "step")
    network, images = session.subject.training.model, session.subject.data.validation.images[:100]
    hidden = network.layers[1](network.layers[0](images))
    for name, a in (("hidden layer", hidden), ("outputs", network(images))):
        share = session.state()["points"][-1]["saturated"][name]
        assert 0 < share < 1
        assert share == pytest.approx(np.mean(a * (1 - a) < 0.01))


def test_the_velocity_is_measured_in_gradients(data: mnist.Dataset, sessions: Any) -> None:
    plain, momentum = sessions(), sessions(ZooSubject(data, Network1(lr=0.1, momentum=0.9)))
    for session in (plain, momentum):
        trained(session, "step")
    assert [session.state()["points"][-1]["velocity"] for session in (plain, momentum)] == [None, 1]
    trained(momentum, "epoch")
    optimizer = momentum.subject.training.optimizer
    v, g = (
        np.concatenate([x.ravel() for x in each]).astype(float)
        for each in zip(*((s["velocity"], p.grad.data) for p, s in optimizer.state.items()), strict=True)
    )
    shown = momentum.state()["points"][-1]["velocity"]
    assert shown == pytest.approx(np.linalg.norm(v) / np.linalg.norm(g))
    assert 1 < shown < 10


def test_of_each_class_it_is_told_how_often_it_is_recognized_and_rightly_answered() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    outputs = np.array([[0.9, 0, 0.1, 0], [0.9, 0, 0, 0], [0.9, 0.001, 0, 0], [0.2, 0.003, 0, 0], [0.8, 0.3, 0.3, 0]])
    told = measuring.by_class(outputs, labels, 4, True)
    assert told["recall"] == [1, 0, 0, None]
    assert told["precision"] == [2 / 5, None, None, None]
    lost = told["lost"]  # a 2 is not recognized either, but may still be learned: its output is not saturated
    assert lost == [{"label": 1, "output": 0.002, "slope": pytest.approx(0.002 * 0.998)}]
    assert measuring.by_class(outputs, labels, 4, False)["lost"] == []


def test_a_digit_that_is_lost_is_told_with_its_slope(data: mnist.Dataset, sessions: Any) -> None:
    session = sessions(ZooSubject(data, Network1(momentum=0.95)))
    trained(session, "epoch")
    lost, split = session.state()["lost"], data.validation
    outputs = train.evaluate(session.subject.training.model, split.images)
    assert lost
    for each in lost:
        own = outputs[split.labels == each["label"]]
        assert np.mean(own.argmax(1) == each["label"]) < 0.01
        assert each["output"] == pytest.approx(np.median(own[:, each["label"]]))
        assert each["slope"] == pytest.approx(each["output"] * (1 - each["output"]))
        assert each["slope"] < 0.01


def test_what_a_hidden_neuron_says_of_each_class(client: Client, session: Session) -> None:
    network, split = session.subject.training.model, session.subject.data.validation
    about = client.post("/neuron", json={"neuron": 4}, headers=ORIGIN).json()
    hidden = network.layers[1](network.layers[0](split.images))[:, 4]
    assert (about["neuron"], about["digits"]) == (4, len(split))
    assert about["means"] == pytest.approx([hidden[split.labels == c].mean() for c in range(10)], rel=1e-5)


class Convolution(nn.Module):
    """A network of another kind, with dropout."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.kernels = nn.Conv2d(1, 3, 5, rng=rng)
        self.drop = nn.Dropout(0.5, rng=rng)
        self.output = nn.Linear(3 * 24 * 24, 10, rng=rng)

    def forward(self, x: Any) -> Any:
        maps = relu(self.kernels(x.reshape(-1, 1, 28, 28)))
        return self.output(self.drop(maps.reshape(len(x), -1)))


def test_any_module_can_be_shown_and_trained(data: mnist.Dataset, sessions: Any) -> None:
    model = Convolution(np.random.default_rng(0))
    optimizer = optim.Momentum(model.parameters(), lr=0.01, momentum=0.9)
    first = parameters(model)
    session = sessions(OwnSubject(model, data.head(40), optimizer=optimizer))
    seen = session.look(data.train.images[0], None)
    assert [layer["count"] for layer in seen["layers"]] == [3 * 24 * 24, 10]
    assert sum(seen["layers"][-1]["activations"]) == pytest.approx(1)  # a softmax
    assert seen == session.look(data.train.images[0], None)  # nothing is dropped
    assert session.state()["tiles"]["shape"] == [3, 5, 5]
    assert session.neuron(2) == {"neuron": 2, "digits": 0, "means": None}  # a kernel is no neuron
    with refused(ValueError, "below 3"):
        session.neuron(3)
    trained(session, "epoch")
    assert session.state()["step"] == 4
    session.change("", {"lr": "0.02"})
    assert optimizer.groups[0]["lr"] == 0.02
    for given, words in (
        ({"eta": "1"}, "no option"),
        ({"momentum": "x"}, "a number"),
        ({"momentum": "-1"}, "momentum"),
    ):
        with refused(ValueError, words):
            session.change("", {"lr": "0.3", **given})
        assert optimizer.groups[0]["lr"] == 0.02
    session.go("restart")
    assert parameters(model) == first


def test_a_step_of_ones_own_leaves_each_part_in_its_mode(data: mnist.Dataset, sessions: Any) -> None:
    model = Convolution(np.random.default_rng(0))
    session = sessions(OwnSubject(model, data.head(40)))
    model.drop.eval()  # as in a cell of the notebook that shows the page
    session.learn(data.train.images[0], 5)
    assert model.training
    assert not model.drop.training


def test_looking_leaves_dropout_in_the_training(data: mnist.Dataset, sessions: Any) -> None:
    models = [Convolution(np.random.default_rng(0)) for _ in range(2)]
    session, twin = sessions(OwnSubject(models[0], data.head(40))), OwnSubject(models[1], data.head(40))
    for how in ("step", "step", "epoch"):
        trained(session, how)
        session.look(data.train.images[0], None)
    next(twin.training.fit())
    assert parameters(models[0]) == parameters(models[1])


def test_what_cannot_be_shown_is_refused(data: mnist.Dataset) -> None:
    rng = np.random.default_rng(0)
    with refused(TypeError, "show", "Module", "nn.Sequential"):
        serving.show(lambda x: x, data)  # type: ignore[arg-type]
    with refused(TypeError, "show", "Dataset"):
        serving.show(nn.Linear(784, 10, rng=rng), [1, 2])  # type: ignore[arg-type]
    with refused(ValueError, "show", "(1, 4)"):
        serving.show(nn.Linear(784, 4, rng=rng), data)


def test_who_looks_while_it_begins_anew_sees_points(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    window = threading.Thread(target=lambda: seen.append(len(session.state()["points"])))
    measure = session._measure

    def measure_while_somebody_looks() -> None:
        if not session.points:
            window.start()
            window.join(0.1)
        measure()

    trained(session, "step")
    monkeypatch.setattr(session, "_measure", measure_while_somebody_looks)
    session.go("restart")
    window.join()
    assert seen == [1]


def test_windows_that_begin_anew_at_once_leave_one_training(session: Session) -> None:
    session.go("run")
    count = threading.active_count()
    windows = [threading.Thread(target=session.go, args=("restart",)) for _ in range(4)]
    for window in windows:
        window.start()
    for window in windows:
        window.join()
    assert threading.active_count() == count
    assert session.running
    session.go("pause")


def test_an_error_of_a_users_cost_is_said_on_the_page(data: mnist.Dataset, sessions: Any) -> None:
    def cost(outputs: Any, targets: Any) -> Any:
        if len(outputs) == 3:
            raise ZeroDivisionError("three of\nthem")
        return softmax_cross_entropy(outputs, targets)

    model = nn.Linear(784, 10, rng=np.random.default_rng(0))
    session = sessions(OwnSubject(model, data.head(40), cost, batch_size=3))
    trained(session, "epoch")
    assert session.state()["fault"] == "three of them"


# --- What the server answers ---


def test_the_page_and_its_parts_are_served_with_a_strict_policy(client: Client) -> None:
    page = client.get("/")
    assert page.text.startswith("<!doctype html>")
    for name in ("main.js", "sketch.css", "icon.svg"):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
    for name, value in HEADERS.items():
        assert page.headers[name] == value
    assert "unsafe" not in HEADERS["content-security-policy"]
    for part in ("<script>", "style=", "onclick=", "http://", "https://"):
        assert part not in page.text


@pytest.mark.parametrize(
    "path", ["/session.py", "/../session.py", "/static/main.js", "/%2e%2e/session.py", "/main.js/"]
)
def test_no_path_comes_from_a_request(path: str, client: Client) -> None:
    assert client.get(path).status_code in (307, 404)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"host": "evil.example"}),
        ("GET", {"host": "127.0.0.1:1"}),
        ("GET", {"origin": "http://evil.example"}),
        ("GET", {"sec-fetch-site": "cross-site"}),
        ("POST", {}),
        ("POST", {"origin": "null"}),
        ("POST", {"origin": "http://evil.example"}),
        ("POST", {"origin": f"https://{HOST}"}),
        ("POST", {"origin": f"http://{HOST}", "host": "evil.example"}),
        ("POST", {"origin": f"http://{HOST}", "sec-fetch-site": "same-site"}),
    ],
)
def test_another_page_is_refused(method: str, headers: dict[str, str], client: Client, session: Session) -> None:
    path = "/state" if method == "GET" else "/go"
    body: dict[str, Any] = {} if method == "GET" else {"json": {"how": "step"}}
    answer = client.request(method, path, headers=headers, **body)
    assert answer.status_code == 403
    assert session.state()["step"] == 0
    allowed = client.request(method, path, headers=ORIGIN if method == "POST" else {}, **body)
    assert allowed.status_code == 200


@pytest.mark.parametrize(
    ("path", "sent", "words"),
    [
        ("/go", {"how": "away"}, "none of run, step"),
        ("/go", {}, "how: expected a text"),
        ("/go", [], "expected a JSON object"),
        ("/look", {"drawing": "?"}, "base64"),
        ("/look", {"drawing": "é"}, "drawing: expected base64"),
        ("/look", {"drawing": "AAAA"}, "280 x 280"),
        ("/look", {"drawing": as_sent(np.zeros((SIDE, SIDE), np.uint8))}, "nothing on this image"),
        ("/look", {"example": -1}, "example"),
        ("/look", {"example": True}, "example"),
        ("/look", {"example": 0, "label": 10}, "from 0 to 9"),
        ("/learn", {"example": 0}, "say what the digit is"),
        ("/change", {"network": "network", "settings": {"lr": 3}}, "texts by name"),
        ("/address", {"network": "network", "settings": {"lr": 3}}, "texts by name"),
        ("/neuron", {"neuron": 30}, "below 30"),
        ("/neuron", {"neuron": -1}, "at least 0"),
        ("/change", {"network": "network9", "settings": {}, "anew": True}, "no network"),
        ("/break", {"op": "os", "place": 0, "change": "sign"}, "has no rule"),
        ("/break", {"op": "mul", "place": 5, "change": "sign"}, "has no rule"),
        ("/break", {"op": "mul", "place": 0, "change": "__import__"}, "is no change"),
    ],
)
def test_what_makes_no_sense_is_answered_in_a_line(path: str, sent: Any, words: str, client: Client) -> None:
    answer = client.post(path, json=sent, headers=ORIGIN)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_bodies_are_limited_and_are_json(client: Client) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * (MOST // 50)

    headers = {**ORIGIN, "content-type": "application/json"}
    assert "at most" in client.post("/look", content=parts(), headers=headers).json()["error"]
    assert "JSON" in client.post("/look", content=b"{", headers=headers).json()["error"]
    assert "JSON" in client.post("/look", content=b"[" * 100_000, headers=headers).json()["error"]
    text = {**ORIGIN, "content-type": "text/plain"}  # what a form elsewhere could send unasked
    assert "JSON" in client.post("/go", content=b'{"how": "step"}', headers=text).json()["error"]


def test_a_drawing_is_prepared_as_predict_prepares_a_file(client: Client, tmp_path: Any) -> None:
    seen = client.post("/look", json={"drawing": as_sent(drawn()), "label": None}, headers=ORIGIN).json()
    Image.fromarray(drawn()).save(tmp_path / "one.png")
    assert seen["pixels"] == read_image(tmp_path / "one.png").tolist()
    assert seen["several"] is False


def test_a_step_by_request(client: Client, session: Session) -> None:
    before = parameters(session.subject.training.model)
    result = client.post("/learn", json={"example": 3, "label": 4}, headers=ORIGIN).json()
    assert result["after"]["cost"] < result["before"]["cost"]
    assert parameters(session.subject.training.model) != before


def test_a_digit_that_is_missed_is_found(client: Client, session: Session) -> None:
    number = client.post("/wrong", json={"example": 0}, headers=ORIGIN).json()["example"]
    seen = client.post("/look", json={"example": number}, headers=ORIGIN).json()
    assert seen["answer"] != seen["truth"]


def test_news_come_whenever_there_are_some_until_the_server_ends(session: Session) -> None:
    async def read() -> list[str]:
        ended = threading.Event()
        found = []
        async for text in news(session, ended.is_set):
            found.append(text)
            if len(found) == 1:
                session.go("step")
            if '"step": 1' in text:
                ended.set()
        return found

    found = [json.loads(text.removeprefix("data: ")) for text in asyncio.run(asyncio.wait_for(read(), 30))]
    assert found[0]["step"] == 0
    assert found[0]["version"] < found[-1]["version"]


# --- Break it ---


@pytest.mark.slow
def test_a_rule_that_is_broken_elsewhere_is_found_and_ours_stays() -> None:
    rules = OPS["sigmoid"].rules
    found = breaking.broken("sigmoid", 0, "sign")
    assert found["found"]
    assert found["example"] == "sigmoid(array(0.))"
    assert "-0.25" in found["message"]
    assert OPS["sigmoid"].rules is rules


def test_rules_are_shown_as_they_are_written() -> None:
    rules = breaking.breakable()
    assert rules["mul"] == ["lambda g, out, x, y: g * y", "lambda g, out, x, y: g * x"]
    assert rules["div"][1] == "lambda g, out, x, y: -g * out / y"
    for name, texts in rules.items():
        for text in texts:
            compile(text, name, "eval")


# --- The command ---


def test_the_server_is_on_this_machine_alone_at_another_port_if_one_is_taken(data: mnist.Dataset) -> None:
    with serving._listening(0) as first:
        taken = first.getsockname()
        with serving._listening(taken[1]) as second:
            assert taken[0] == second.getsockname()[0] == "127.0.0.1"
            assert second.getsockname()[1] != taken[1]


def test_who_never_ends_a_request_holds_up_nobody_and_ends_without_a_word(
    data: mnist.Dataset, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "GRACE", 0)
    with contextlib.ExitStack() as clients:
        with serving.served(ZooSubject(data, Network()), 0) as address:
            host = address.removeprefix("http://").rstrip("/")
            name, port = host.split(":")
            head = f"POST /go HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\n"
            for sent in (f"{head}Content-Length: 50\r\n\r\n{{", head, ""):
                client = clients.enter_context(socket.create_connection((name, int(port))))
                client.sendall(sent.encode())
            assert httpx.get(f"{address}state").json()["step"] == 0
        assert not [thread for thread in threading.enumerate() if "run" in thread.name]
    assert capfd.readouterr() == ("", "")


def test_without_the_extra_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert main(["--no-browser"]) == 1
    assert capsys.readouterr().err == 'error: the live page needs starlette and uvicorn: pip install -e ".[sketch]"\n'


def test_a_saved_network_goes_on_where_it_was(zoo: Any, digits: Any, tmp_path: Any, sessions: Any) -> None:
    zoo("zoo.network1", "--epochs", 1, "--save", "model.npz", "--quiet")
    session = sessions(ZooSubject.of_checkpoint(tmp_path / "model.npz", digits))
    assert session.state()["epoch"] == 1
    trained(session, "epoch")
    expected = Training(Network1(epochs=2), mnist.load(digits))
    list(expected.fit())
    assert parameters(session.subject.training.model) == parameters(expected.model)
