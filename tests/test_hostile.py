"""Checkpoints that lie: they cost no more than honest ones, and one whose parts contradict each other is refused."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

from tinygrad_mnist import mnist, optim, train
from tinygrad_mnist.train import CheckpointError
from zoo.commandline import main
from zoo.network2 import Network2
from zoo.predict import main as predict
from zoo.training import Training, settings_of

from . import spoilt
from .helpers import refused
from .spoilt import rewritten

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small data set, and a checkpoint of three epochs of network2 on it."""
    folder, before = tmp_path_factory.mktemp("good"), (os.getcwd(), os.environ.get("TINYGRAD_MNIST_DATA"))
    try:
        return folder, spoilt.prepare(folder)
    finally:
        os.chdir(before[0])
        os.environ.pop("TINYGRAD_MNIST_DATA")
        if before[1] is not None:
            os.environ["TINYGRAD_MNIST_DATA"] = before[1]


@pytest.fixture
def file(good, tmp_path, monkeypatch):
    """Write a checkpoint to m.npz, in the directory that commands are run in."""
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(good[0] / "digits"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "m.npz"
    file.write_bytes(good[1])
    return file


def changed(file, change):
    file.write_bytes(rewritten(file.read_bytes(), change))
    return file


def resumed(*more, traced=False):
    arguments = ["--resume", "m.npz", "--epochs", "4", "--quiet", *more]
    return spoilt.checked(lambda given: main(Network2, given), arguments, traced)


def predicted(traced=False):
    return spoilt.checked(predict, ["m.npz", "0"], traced)


@pytest.fixture(scope="module")
def honest(good):
    """How much memory the commands take for the honest checkpoint, in bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_MNIST_DATA", str(good[0] / "digits"))
        patch.chdir(good[0])
        return max(predicted(traced=True).peak, resumed("--save", "other.npz", traced=True).peak)


# ---- What is claimed costs no more than what is there


def network(**settings):
    return lambda notes, arrays: notes["settings"]["settings"].update(settings)


def data(**claims):
    return lambda notes, arrays: notes["settings"]["data"].update(claims)


CLAIMS = {
    "large layers": network(hidden=[20_000, 20_000]),
    "a layer beyond all numbers": network(hidden=[10**30]),
    "very many layers": network(hidden=[1] * 100_000),
    "large images": data(image_shape=[3000, 3000]),
    "images beyond all numbers": data(image_shape=[10**15, 10**15]),
    "many classes": data(n_classes=10**7),
    "no pixel": data(image_shape=[0, 10**9]),
    "fewer than no digit": data(n=-1),
    "many digits": data(n=10**12),
    "a name of 3 MB": lambda notes, arrays: notes["settings"].update(source="x" * 3_000_000),
    "a network of 3 MB": lambda notes, arrays: notes["settings"].update(network="x" * 3_000_000),
    "nested lists": lambda notes, arrays: notes.update(settings=json.loads("[" * 900 + "]" * 900)),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * n.startswith("large")) for n in CLAIMS])
def test_what_settings_claim_is_not_made(file, honest, name):
    changed(file, CLAIMS[name])
    for command in (predicted, resumed):
        status, error, peak, _ = command(traced=True)
        assert peak < honest + 50 * MEGABYTE
        assert status == 1 or (command, name) in [(predicted, "many digits"), (predicted, "a name of 3 MB")], error


def member(size):
    """An array of zeros as the bytes of a file."""
    file = io.BytesIO()
    np.save(file, np.zeros(size, np.uint8))
    return file.getvalue()


def packed(content):
    """A checkpoint with one more member, of many zeros, which is packed."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("junk.npy", member(100 * MEGABYTE), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def deflated(content):
    """All that was stored is packed, with an array of many zeros in place of a weight."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    file = io.BytesIO()
    np.savez_compressed(file, **{**arrays, "model/layers.0.weight": np.zeros((100, MEGABYTE // 4), np.float32)})
    return file.getvalue()


def claiming(content):
    """An array whose header speaks of more than there is."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name).replace(b"(784, 30), }  ", b"(99999999,), }"))
    return file.getvalue()


def doubled(content):
    """A name that stands for two members."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("model/layers.0.bias.npy", archive.read("model/layers.0.bias.npy"))
    return file.getvalue()


@pytest.mark.parametrize("make", [packed, deflated, claiming, doubled])
def test_no_more_is_read_than_the_file_is_large(file, honest, make):
    file.write_bytes(make(file.read_bytes()))
    with refused(CheckpointError, "m.npz: expected a checkpoint of tinygrad_mnist"):
        train.load(file)
    status, _, peak, _ = predicted(traced=True)
    assert (status, peak < honest + 20 * MEGABYTE) == (1, True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "/dev/zero"):
        with refused(OSError, "is a directory, or no file; name a checkpoint"):
            train.load(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe")
def test_an_image_that_is_no_file_is_not_waited_for(file):
    os.mkfifo("pipe")
    status, error, *_ = spoilt.checked(predict, ["m.npz", "pipe"])
    assert (status, error[:47]) == (1, "error: pipe: not an image that can be read, but")


@pytest.mark.parametrize(
    ("bits", "name", "value"), [("MT19937", "pos", 10**6), ("MT19937", "pos", -1), ("Philox", "buffer_pos", -(10**6))]
)
def test_a_generator_does_not_read_beyond_its_memory(tmp_path, bits, name, value):
    def change(notes, arrays):
        (notes["rng"]["state"] if name == "pos" else notes["rng"])[name] = value

    model, rng = Network2().model(4, 2, np.random.default_rng(0)), np.random.Generator(getattr(np.random, bits)(0))
    train.save(tmp_path / "m.npz", model, optim.SGD(model.parameters(), 1.0), rng=rng)
    checkpoint = train.load(changed(tmp_path / "m.npz", change))
    with refused(CheckpointError, f"the generator's {name} is {value}"):
        checkpoint.restore(model, rng=rng)


# ---- Parts that contradict each other


def drop(name):
    def change(notes, arrays):
        del arrays[f"state/{name}/0"]
        del notes["optimizer"]["state"][name]

    return change


def replaced(name, value):
    return lambda notes, arrays: arrays[name].fill(value)


def schedule(**values):
    return lambda notes, arrays: notes["schedule"].update(values)


def group(**values):
    return lambda notes, arrays: notes["optimizer"]["groups"][0].update(values)


def history(part):
    return lambda notes, arrays: notes.update(history=part(notes["history"]))


def of_seed(notes, arrays):
    notes["rng"] = np.random.default_rng([1, 9]).bit_generator.state


CONTRADICTIONS = {
    "a velocity is missing": (drop("1"), "its optimizer lacks the velocity of layers.0.bias"),
    "all are": (lambda *given: [drop(name)(*given) for name in "0123"], "lacks the velocity of layers.0.weight"),
    "a velocity is nan": (replaced("state/2/0", np.nan), "what its optimizer keeps of layers.2.weight is not finite"),
    "the history is empty": (history(lambda found: []), "after 0 epochs"),
    "the history is shorter": (history(lambda found: found[:1]), "after 1 epoch"),
    "the history is twice as long": (history(lambda found: found * 2), "not numbered from 1 on"),
    "the history lacks an epoch": (history(lambda found: found[::2]), "not numbered from 1 on"),
    "the schedule is ahead": (schedule(epoch=5), "its schedule is not that of its settings after 3 epochs"),
    "the schedule is behind": (schedule(epoch=2), "its schedule is not that of its settings"),
    "another schedule": (schedule(gamma=0.25), "its schedule is not that of its settings"),
    "another first rate": (schedule(first=[9.0]), "its schedule is not that of its settings"),
    "another rate": (group(lr=0.5), "its optimizer has the lr 0.5, not that of its settings after 3 epochs"),
    "another momentum": (group(momentum=0.25), "its optimizer has the momentum 0.25"),
    "a decay": (group(weight_decay=0.25), "its optimizer has the weight_decay 0.25"),
    "another seed's order": (of_seed, "its generator of orders is not where its seed leaves it after 3 epochs"),
    "another seed": (network(seed=4), "its generator of orders is not where"),
    "weights of nan": (replaced("model/layers.0.weight", np.nan), "layers.0.weight is not finite"),
    "a bias of inf": (replaced("model/layers.2.bias", -np.inf), "layers.2.bias is not finite"),
}  # fmt: skip
GENERIC = ("a velocity is missing", "all are", "weights of nan", "the history is empty", "another momentum")


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_checkpoint_that_contradicts_itself_is_not_gone_on_with(file, name):
    change, message = CONTRADICTIONS[name]
    before = changed(file, change).read_bytes()
    status, error, *_ = resumed()
    assert (status, error.count("\n")) == (1, 1)
    assert error.startswith("error: m.npz: ")
    assert message in error
    assert "--resume" not in error
    assert file.read_bytes() == before
    if "finite" in message and "keeps" not in message:
        status, error, *_ = predicted()
        assert (status, message in error) == (1, True)
    else:
        assert predicted()[0] == 0


@pytest.mark.parametrize("name", GENERIC)
def test_from_python_only_what_contradicts_itself_is_refused(file, name):
    checkpoint = train.load(changed(file, CONTRADICTIONS[name][0]))
    model = settings_of(checkpoint).model(784, 10, np.random.default_rng(0))
    checkpoint.restore(model, settings_of(checkpoint).optimizer(model, 50))


@pytest.mark.parametrize(
    "change",
    [
        lambda notes, arrays: notes["optimizer"]["names"].pop(),
        lambda notes, arrays: notes["optimizer"]["names"][0].pop(),
        lambda notes, arrays: notes["optimizer"]["shapes"].pop(),
        lambda notes, arrays: notes["optimizer"]["shapes"][0].append(1),
        lambda notes, arrays: notes["optimizer"]["groups"].append({}),
        lambda notes, arrays: notes["optimizer"]["state"].update({"9": []}),
        lambda notes, arrays: notes["optimizer"]["state"].pop("0"),
        lambda notes, arrays: arrays.update({"model/layers.0.bias": np.zeros(31)}),
        lambda notes, arrays: arrays.pop("model/layers.0.bias"),
        lambda notes, arrays: arrays.update(other=np.zeros(3)),
        lambda notes, arrays: notes["history"][0].update(cost=10**400),
        lambda notes, arrays: notes["history"][0].update(epoch=1.5),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_in_one_line(file, change):
    changed(file, change)
    with refused(CheckpointError, "m.npz: expected a checkpoint of tinygrad_mnist, found a file that is damaged"):
        train.load(file)


def test_answers_that_are_no_numbers_are_none(file):
    changed(
        file,
        lambda notes, arrays: (
            arrays["model/layers.2.weight"].fill(3e38),
            notes["settings"]["settings"].update(cost="softmax"),
        ),
    )
    status, error, *_ = predicted()
    assert status == 1
    assert error == "error: m.npz: its answers are not finite numbers; train anew, with a smaller --lr\n"


def test_an_honest_checkpoint_of_another_numpy_goes_on(file):
    def change(notes, arrays):
        notes["settings"]["numpy"] = "1.0"
        of_seed(notes, arrays)

    changed(file, change)
    assert resumed()[0] == 0


def test_a_parameter_that_is_never_used_keeps_nothing_and_goes_on(tmp_path, good):
    class Unused(Network2):
        def model(self, n_in, n_out, rng):
            result = super().model(n_in, n_out, rng)
            vars(result)["unused"] = super().model(2, 2, rng)
            return result

    small = mnist.load(good[0] / "digits").head(50)
    training = Training(Unused(epochs=1), small)
    list(training.fit())
    training.save(tmp_path / "m.npz")
    again = Training.resume(train.load(tmp_path / "m.npz"), Unused(epochs=2), small)
    assert [epoch.epoch for epoch in again.fit()] == [2]


# ---- A few of the many that `python -m tests.spoilt` tries


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(("seed", "many"), [(0, 8), *(pytest.param(n, 15, marks=pytest.mark.slow) for n in (0, 1, 2))])
def test_spoilt_checkpoints_are_a_line_and_a_status(good, seed, many):
    spoilt.checkpoints(many, good[1], seed=f"quick {seed}")


@pytest.mark.slow
@pytest.mark.usefixtures("file")
def test_odd_options_are_a_line_and_a_status(good):
    spoilt.options(30, good[1], seed="quick")
