"""A network of one's own, in zoo/ or in a file anywhere else: it trains, goes on, and errors in it have their place."""

import dataclasses
import importlib.machinery
import json
import re
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import mnist, nn, train
from tinygrad_mnist.op import OPS
from zoo import names, predict
from zoo.base import COSTS, setting
from zoo.commandline import main
from zoo.limits import number
from zoo.network import Network
from zoo.network1 import Network1
from zoo.training import Training, settings_of
from zoo.words import grown, never_said

from .helpers import ROOT, refused

MYNET = '''"""A network of mine."""

from dataclasses import dataclass

import numpy as np

from tinygrad_mnist import nn, relu, unary
from zoo.base import COSTS, setting
from zoo.limits import number
from zoo.network1 import Network1

softsign = unary("softsign", lambda x: x / (1 + np.abs(x)), lambda g, out, x: g / (1 + abs(x)) ** 2)


def huber(outputs, targets, delta=0.5):
    error = abs(outputs - targets)
    return np.where(error < delta, error**2 / 2, delta * (error - delta / 2)).sum(1).mean()


COSTS["huber"] = huber


@dataclass(frozen=True, kw_only=True)
class Mynet(Network1):
    cost: str = "huber"
    lr: float = 0.5
    share: float = setting(0.0, "a share", number(0, 1), "P")

    def model(self, n_in, n_out, rng):
        if self.share == 0.5:
            raise ValueError("oops mine")
        n = 20 if self.share == 0.25 else self.hidden[0]
        return nn.Sequential(nn.Linear(n_in, self.hidden[0], rng=rng), softsign, nn.Linear(n, n_out, rng=rng))
'''
PLACE = MYNET[: MYNET.index("raise ValueError")].count("\n") + 1


@pytest.fixture
def mynet(tmp_path, table, monkeypatch):
    """The class in a file of a directory of its own."""
    (tmp_path / "mynet.py").write_text(MYNET, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    yield predict.imported(str(tmp_path / "mynet.py")).Mynet
    del COSTS["huber"]


@pytest.fixture
def run(mynet, digits, tmp_path, monkeypatch, capsys):
    """Run the command of that network."""
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(digits))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: Any, kind: Any = mynet) -> tuple[Any, str, str]:
        try:
            status: Any = main(kind, [str(argument) for argument in arguments])
        except SystemExit as usage:
            status = usage.code
        return status, *capsys.readouterr()

    return command


@pytest.mark.slow
def test_a_network_outside_of_the_zoo_trains_saves_and_goes_on_to_the_same_bits(run, mynet, tmp_path):
    status, out, _ = run("--epochs", 1, "--save", "m.npz")
    assert status == 0
    assert out.startswith("mynet: hidden 30, init scaled, cost huber, batch-size 32, lr 0.5, ")
    status, out, _ = run("--resume", "m.npz", "--epochs", 2)
    assert status == 0
    assert "m.npz: goes on after epoch 1" in out
    assert run("--epochs", 2, "--save", "whole.npz")[0] == 0
    resumed, straight = (train.load(tmp_path / name) for name in ("m.npz", "whole.npz"))
    assert all(np.array_equal(straight.model[name], array) for name, array in resumed.model.items())
    assert type(settings_of(resumed)) is mynet
    status, _, error = run("--save", "m.npz")
    assert status == 1
    assert re.search(r"m\.npz: holds a finished mynet of 2 epochs; `.* --resume m\.npz", error)
    assert predict.main(["m.npz", "0"]) == 0  # in the program that has the class


def test_its_checkpoint_says_elsewhere_whose_it_is_and_predict_takes_its_file(zoo, run, mynet, tmp_path, monkeypatch):
    run("--epochs", 1, "--save", "m.npz", "--quiet")
    monkeypatch.setattr(names, "_below", lambda kind: iter(()))  # as in a program that has not defined it
    words = "m.npz: was saved by a network in a file of your own, mynet.py: `python mynet.py --resume m.npz` goes on"
    for arguments in (["zoo.predict", "m.npz", 0], ["zoo.network1", "--resume", "m.npz"]):
        error = zoo(*arguments, status=1).stderr
        assert words in error
        assert error.endswith("zoo.predict takes it with --network mynet.py\n")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert zoo("zoo.predict", "m.npz", 0, "--network", "mynet.py").stdout.startswith("test image 0: ")
    assert "No such file" in zoo("zoo.predict", "m.npz", 0, "--network", "my.py", status=1).stderr
    assert "expected a Python file, got m.npz" in zoo("zoo.predict", "m.npz", 0, "--network", "m.npz", status=1).stderr


def test_an_error_in_ones_own_code_is_one_line_with_its_place(run):
    assert run("--share", 0.5) == (1, "", f"error: oops mine (mynet.py:{PLACE})\n")
    status, _, error = run("--share", 0.25, "--quiet", "--backend", "eager")
    assert status == 1
    assert error == "error: linear: shapes (32, 30) and (20, 10) do not align: 30 != 20 (in layers.2, Linear(20, 10))\n"
    status, _, error = run("--data", "nowhere")  # a mistake on the command line has no place
    assert status == 1
    assert not error.endswith(")\n")
    assert run("--share", 2)[0] == 2


def test_help_tells_the_rate_of_the_class_and_its_own_cost(run):
    status, out, _ = run("--help")
    text = " ".join(out.split())
    assert status == 0
    assert "A network of mine." in text
    assert "--cost {quadratic,cross-entropy,softmax,huber}" in text
    assert "the book's η (eta) (default: 0.5)" in text


def test_help_tells_the_rate_of_every_cost_where_the_class_has_none(zoo):
    text = " ".join(zoo("zoo.network1", "--help").stdout.split())
    assert "(eta) (default: 3; with --cost cross-entropy 0.5, softmax 0.5)" in text


def of_a_text(x):
    return x + "text"


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (lambda n_in, n_out, rng: nn.Sequential(nn.Linear(n_in, n_out, rng=rng), of_a_text),
         r"add: expected Tensors, numbers, or arrays or lists of numbers, got str 'text' \(test_own_network.py:\d+\)"),
        (lambda n_in, n_out, rng: nn.Linear(n_in, n_out, rng=n_in),
         r"rng: expected a numpy.random.Generator, .* got 784 \(test_own_network.py:\d+\)"),
        (lambda n_in, n_out, rng: 3, r"mynet: model\(\): expected a Module to be returned, got 3; return one"),
    ],
)  # fmt: skip
def test_what_ours_say_of_wrong_use_in_it_is_a_line(run, mynet, monkeypatch, model, error):
    monkeypatch.setattr(mynet, "model", lambda self, *given: model(*given))
    status, _, told = run("--epochs", 1)
    assert status == 1
    assert re.fullmatch(f"error: {error}\n", told)


def test_a_mistake_of_python_in_it_is_shown_where_it_is(run, mynet, monkeypatch):
    monkeypatch.setattr(mynet, "model", lambda self, *given: None + 1)  # type: ignore[operator]
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        run("--epochs", 1)
    assert caught.traceback[-1].path == Path(__file__)


def test_a_cost_needs_a_function_and_a_rate(mynet):
    assert mynet().lr == 0.5
    with refused(ValueError, "lr: there is none for the cost 'huber' in Network1", "RATES = {'huber': 0.5}"):
        Network1(cost="huber")
    assert Network1(cost="huber", lr=0.25).lr == 0.25

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Pseudo(Network1):
        cost: str = dataclasses.field(default="pseudo")

    with refused(ValueError, "cost: there is no function for Pseudo's 'pseudo'; write COSTS['pseudo'] = ... where"):
        Pseudo()


def test_a_setting_without_a_limit_is_refused_where_it_is_written():
    with refused(TypeError, "setting(0.1, 'the share'): got no limit", "number(0, 1)"):
        setting(0.1, "the share", metavar="P")
    with refused(TypeError, "got the limit 0.5"):
        setting(0.1, "the share", 0.5)  # type: ignore[arg-type]
    assert setting(False, "leave none out").metadata["option"].limit is None
    assert setting(0.1, "the share", number(0, 1)).default == 0.1


def test_a_class_by_whose_name_another_is_found_is_refused(run, capsys):
    class Network2(Network1):
        pass

    status, _, error = run(kind=Network2)
    assert (status, error) == (
        1,
        "error: Network2: zoo/network2.py has that name; give the class of your own another\n",
    )
    other = type("Other", (Network1,), {"__module__": Network1.__module__})
    with refused(ValueError, "Other: the network of zoo/network1.py is named Network1"):
        names.check_name(other)


def test_a_file_of_the_zoo_that_runs_is_not_imported_a_second_time(monkeypatch):
    """`python -m zoo.network7` with an op in it: imported again, the op would be there twice, made by two modules."""
    running = types.ModuleType("__main__")
    running.__spec__ = importlib.machinery.ModuleSpec("zoo.network7", None)
    kind = type("Network7", (Network1,), {"__module__": "__main__"})
    monkeypatch.setattr(sys, "modules", {**sys.modules, "__main__": running})
    names.make_one_module(kind, vars(running))
    assert sys.modules["zoo.network7"] is running
    assert names.title(kind) == "zoo.network7"
    assert names.command_of(kind).endswith("zoo.network7")
    del sys.modules["zoo.network7"]
    kind.__module__ = "__main__"
    names.make_one_module(kind, {**vars(running), "Network7": kind})  # as a profiler runs it, which is __main__ itself
    assert sys.modules["zoo.network7"].Network7 is kind


@pytest.mark.slow
def test_a_network_in_the_zoo_may_have_an_op_of_its_own(zoo_process, tmp_path):
    shutil.copytree(ROOT / "zoo", tmp_path / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    text = MYNET.replace("Mynet", "Network7") + "\nif __name__ == '__main__':\n    import sys\n"
    text += "    from .commandline import main\n    sys.exit(main(Network7))\n"
    (tmp_path / "zoo" / "network7.py").write_text(text, encoding="utf-8")
    zoo_process("zoo.network7", "--epochs", 1, "--save", "m.npz", "--history", "h.json")
    assert json.loads((tmp_path / "h.json").read_text())["network"] == "network7"
    assert zoo_process("zoo.predict", "m.npz", 0).stdout.startswith("test image 0: ")
    error = zoo_process("zoo.network7", "--share", 0.5, status=1).stderr
    assert error == f"error: oops mine (network7.py:{PLACE})\n"


def test_what_never_learned_is_told_of_sigmoids_only_where_there_are_any(digits):
    training = Training(Network(), mnist.load(digits))
    assert "σ'" in never_said([3], training.network, training.sigmoids)
    training.model = nn.Sequential(training.model, nn.ReLU())
    assert "σ'" not in never_said([3], training.network, training.sigmoids)


def test_a_cost_that_has_grown_is_told(digits):
    training = Training(Network(epochs=1), mnist.load(digits).head(100))
    (epoch,) = training.fit()
    assert grown(epoch, training.network) == ""
    large = dataclasses.replace(epoch, cost=8.95e24)
    assert grown(large, training.network).startswith("the cost has grown to 8.95e+24: steps are too long; remedy: a sm")


def test_the_op_is_out_of_the_table_after_these_tests():
    assert "softsign" not in OPS
