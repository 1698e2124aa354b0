"""The writer: causal to the last bit, its gradients, its training and its checkpoints, and what its command says."""

import dataclasses
import os
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_mnist import Tensor, mnist, nn, ops, train
from tinygrad_mnist.gradcheck import check_gradients
from tinygrad_mnist.train import CheckpointError
from zoo import writer_training
from zoo.models import NETWORK3, WRITER
from zoo.patches import CODES, codebook_of, cut, decode, encode, grid_of, joined
from zoo.transformer import Writer, attention_of, class_likelihoods, log_likelihood, write
from zoo.writer_measures import Reader, differences, written
from zoo.writer_training import WriterSettings, WriterTraining, settings_of_writer, writer_of

from .helpers import ROOT, needs_compiler, refused, start, write_data

TINY = WriterSettings(steps=20, batch_size=20, warm_up=5, size=8, heads=2, blocks=1, seed=1)
OPTIONS = ("--steps", 20, "--batch-size", 5, "--size", 8, "--heads", 2, "--blocks", 1)


@pytest.fixture
def quick(monkeypatch):
    """Measure and save every five steps, on few digits, with a codebook found on few."""
    for name, value in {"EVERY": 5, "HELD_OUT": 20, "CODEBOOK_FROM": 100}.items():
        monkeypatch.setattr(writer_training, name, value)


@pytest.fixture
def small(digits):
    return mnist.load(digits).head(200)  # ten steps an epoch


def tiny(blocks=2, **options):
    """A writer of images of 8 x 12, six patches, in three classes; and some symbols."""
    rng = np.random.default_rng(0)
    writer = Writer((8, 12), 3, 8, 2, blocks, rng=rng, **options)
    return writer, np.column_stack([rng.integers(CODES, CODES + 3, 5), rng.integers(0, CODES, (5, 6))])


# --- the network ---


def test_no_place_sees_what_comes_after_it_to_the_last_bit():
    writer, symbols = tiny()
    before = writer(Tensor(symbols[:, :-1])).numpy()
    for place in range(1, 6):
        changed = symbols[:, :-1].copy()
        changed[:, place] = (changed[:, place] + 7) % CODES
        after = writer(Tensor(changed)).numpy()
        assert np.array_equal(before[:, :place], after[:, :place])
        assert (before[:, place:] != after[:, place:]).any((0, 2)).all()  # and all that come after it do


def test_the_gradients_of_the_whole_network_are_right():
    writer, symbols = tiny(blocks=1)
    agreement = check_gradients(lambda: writer.cost(symbols), parameters=writer)
    assert agreement.compared >= 5 * len(list(writer.parameters()))  # some entries of each


def test_the_cost_is_the_mean_log_likelihood_and_so_is_that_of_the_own_class():
    writer, symbols = tiny()
    likelihoods = log_likelihood(writer, symbols)
    assert writer.cost(Tensor(symbols)).item() == pytest.approx(-likelihoods.mean() / 6, rel=1e-6)
    classes = class_likelihoods(writer, symbols)
    assert classes.shape == (5, 3)
    assert np.array_equal(classes[np.arange(5), symbols[:, 0] - CODES], likelihoods)
    assert np.ptp(classes, axis=1).min() > 1e-3


def test_the_probabilities_of_all_digits_add_up_to_one():
    writer = Writer((4, 8), 2, 8, 2, 1, rng=np.random.default_rng(0))
    every = np.stack(np.meshgrid(CODES, np.arange(CODES), np.arange(CODES)), -1).reshape(-1, 3)
    assert np.exp(log_likelihood(writer, every)).sum() == pytest.approx(1, rel=1e-5)


def test_what_attention_looks_at_is_what_the_layer_takes_in():
    writer, symbols = tiny()
    maps = attention_of(writer, symbols[:, :-1])
    assert maps.shape == (2, 5, 2, 6, 6)
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-6)
    assert (np.triu(maps, 1) == 0).all()
    block = writer.blocks.layers[0]
    x = block.norm(writer.embedded(Tensor(symbols[:, :-1])))
    values = ops.swapaxes(block.attention.value(x).reshape(5, 6, 2, 4), 1, 2).numpy()
    taken_in = (maps[0] @ values).swapaxes(1, 2).reshape(5, 6, 8)
    np.testing.assert_allclose(
        block.attention.output(Tensor(taken_in)).numpy(), block.attention(x).numpy(), rtol=1e-5, atol=1e-6
    )


def test_it_writes_on_from_what_it_is_given():
    writer, symbols = tiny()
    for places in (1, 4, 7):
        done = write(writer, symbols[:, :places], np.random.default_rng(0))
        assert done.shape == (5, 7)
        assert np.array_equal(done[:, :places], symbols[:, :places])
        assert ((done[:, 1:] >= 0) & (done[:, 1:] < CODES)).all()
    likeliest = write(writer, symbols[:, :6], np.random.default_rng(0), temperature=0)
    assert np.array_equal(likeliest[:, 6], writer(Tensor(symbols[:, :6])).numpy()[:, -1].argmax(1))


def test_what_it_draws_has_the_probabilities_that_it_says():
    writer = Writer((4, 4), 1, 8, 2, 1, rng=np.random.default_rng(0))
    asked = np.full((20_000, 1), CODES)
    for temperature in (1.0, 0.5):
        drawn = write(writer, asked, np.random.default_rng(1), temperature)[:, 1]
        shares = np.bincount(drawn, minlength=CODES) / len(drawn)
        expected = ops.softmax(writer(Tensor(asked[:1])).numpy()[0, 0].astype(float) / temperature)
        assert np.abs(shares - expected).max() < 5 * np.sqrt(expected.max() / len(drawn))


# --- patches ---


def test_patches_are_cut_in_the_order_of_reading_and_joined_again():
    images = np.arange(2 * 96).reshape(2, 96)
    patches = cut(images, (8, 12))
    assert patches.shape == (2, 6, 16)
    assert patches[0, 1].reshape(4, 4).tolist() == images[0].reshape(8, 12)[:4, 4:8].tolist()
    assert np.array_equal(joined(patches, (8, 12)), images)


def test_a_codebook_has_a_blank_and_every_entry_is_its_own_nearest(small):
    codebook = codebook_of(small.train.images[:100], (28, 28), np.random.default_rng(0), rounds=3)
    assert codebook.dtype == np.float32
    assert not codebook[0].any()
    codes = np.arange(CODES)[None, :49]
    assert np.array_equal(encode(decode(codes, (28, 28), codebook), (28, 28), codebook), codes)


def test_more_rounds_find_a_better_codebook(small):
    images = small.train.images[:200]
    errors = []
    for rounds in (0, 1, 8):
        codebook = codebook_of(images, (28, 28), np.random.default_rng(0), rounds)
        errors.append(np.square(decode(encode(images, (28, 28), codebook), (28, 28), codebook) - images).mean())
    assert errors[0] > errors[1] > errors[2]


def test_encoding_in_parts_is_encoding(small, monkeypatch):
    codebook = codebook_of(small.train.images[:100], (28, 28), np.random.default_rng(0), rounds=1)
    whole = encode(small.train.images, (28, 28), codebook)
    monkeypatch.setattr("zoo.patches._AT_ONCE", 7)
    assert np.array_equal(encode(small.train.images, (28, 28), codebook), whole)
    assert encode(small.train.images[:0], (28, 28), codebook).shape == (0, 49)


def test_images_that_cannot_be_cut_and_blank_ones_are_refused():
    with refused(ValueError, "30 x 28", "4 x 4", "pad"):
        grid_of((30, 28))
    with refused(ValueError, "blank"):
        codebook_of(np.zeros((3, 16)), (4, 4), np.random.default_rng(0))


# --- training ---


def course(data, settings, backend="numpy"):
    training = WriterTraining(settings, data, backend=backend)
    records = list(training.fit())
    return training, [(record.step, record.cost, record.held_out) for record in records]


@pytest.mark.slow
def test_compiled_it_learns_the_same_bits_as_eagerly(small, quick):
    compiled, records = course(small, TINY)
    eager, same = course(small, TINY, "eager")
    assert compiled.step.replays >= 10
    assert eager.step.replays == 0
    assert records == same
    assert [step for step, _, _ in records] == [5, 10, 15, 20]
    ours, theirs = compiled.writer.state_dict(), eager.writer.state_dict()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_in_c_it_learns_the_same_within_rounding(small, quick):
    needs_compiler()
    compiled, records = course(small, TINY, "c")
    assert compiled.step.replays >= 10
    _, same = course(small, TINY, "eager")
    np.testing.assert_allclose(records, same, rtol=1e-4)


@pytest.mark.slow
def test_the_cost_falls_within_fifty_steps(small, quick):
    settings = dataclasses.replace(TINY, steps=50, batch_size=10, size=16)
    _, records = course(small, settings)
    assert records[-1][1] < 0.75 * records[0][1]
    assert records[-1][2] < 0.75 * np.log(CODES)  # better than a guess


@pytest.mark.parametrize("backend", ["numpy", pytest.param("c", marks=pytest.mark.slow)])
def test_saved_and_resumed_it_comes_to_the_same_bits(small, quick, tmp_path, backend):
    if backend == "c":
        needs_compiler()
    whole, _ = course(small, TINY, backend)
    part = WriterTraining(TINY, small, backend=backend)
    for record in part.fit():
        if record.step == 10:  # the last of the first epoch: the next step needs another order
            assert part.done == part.steps_an_epoch
            break
    part.save(tmp_path / "m.npz")
    checkpoint = train.load(tmp_path / "m.npz")
    rest = WriterTraining.resume(checkpoint, settings_of_writer(checkpoint), small, backend=backend)
    assert [record.step for record in rest.fit()] == [15, 20]
    one, two = whole.writer.state_dict(), rest.writer.state_dict()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    known = [dataclasses.replace(record, seconds=0.0) for record in rest.records]
    assert known == [dataclasses.replace(record, seconds=0.0) for record in whole.records]


@pytest.mark.parametrize("part", ["optimizer", "schedule", "settings"])
def test_a_checkpoint_that_contradicts_itself_is_not_gone_on_with(small, quick, tmp_path, part):
    training = WriterTraining(TINY, small)
    next(training.fit())
    training.save(tmp_path / "m.npz")
    checkpoint = train.load(tmp_path / "m.npz")
    changes: dict[str, Any] = {"optimizer": {"state": {}}, "schedule": {"epoch": 3}, "settings": {"done": 15}}
    changed: dict[str, Any] = {part: {**getattr(checkpoint, part), **changes[part]}}
    spoilt = dataclasses.replace(checkpoint, **changed)
    with refused(CheckpointError, "contradicts itself"):
        WriterTraining.resume(spoilt, settings_of_writer(spoilt), small)
    assert WriterTraining.resume(checkpoint, settings_of_writer(checkpoint), small).done == 5


def test_every_digit_is_seen_once_an_epoch(small):
    training = WriterTraining(TINY, small)
    seen = np.concatenate([training.batch(step) for step in range(training.steps_an_epoch)])
    every = training.writer.encoded(small.train.images, small.train.labels)
    assert np.array_equal(np.sort(seen.view("S400").ravel()), np.sort(every.view("S400").ravel()))
    assert not np.array_equal(training.batch(0), training.batch(training.steps_an_epoch))


def test_settings_are_checked():
    with refused(ValueError, "multiple of the 4 heads", "30", "--size"):
        WriterSettings(size=30)
    with refused(ValueError, "steps", "-1"):
        WriterSettings(steps=-1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s["settings"].update(size=1 << 20),
        lambda s: s["settings"].update(blocks=10**9),
        lambda s: s["data"].update(image_shape=[28, 10**9]),
        lambda s: s["data"].update(n_classes=10**9),
        lambda s: s.update(done="all"),
        lambda s: s.update(network="network3"),
        lambda s: s.update(records=[{"step": 1}]),
        lambda s: s.pop("weights_only"),
    ],
)
def test_a_checkpoint_that_is_not_what_it_says_is_refused(spoil):
    checkpoint = train.load(WRITER)
    settings = {key: value.copy() if isinstance(value, dict) else value for key, value in checkpoint.settings.items()}
    spoil(settings)
    with refused(CheckpointError, "expected a writer"):
        writer_of(dataclasses.replace(checkpoint, settings=settings))


# --- the writer in zoo/models ---


def test_the_models_are_small_and_go_together():
    assert WRITER.stat().st_size + NETWORK3.stat().st_size < 700_000
    writer = writer_of(train.load(WRITER))
    assert writer.length == 49
    assert isinstance(Reader(NETWORK3, writer).model, nn.Module)


def test_the_writer_in_the_zoo_writes_what_is_asked_for():
    writer = writer_of(train.load(WRITER))
    classes = np.arange(30) % 10
    symbols = written(writer, classes, np.random.default_rng(0), 0.7)
    assert (Reader(NETWORK3, writer).read(writer.decoded(symbols)) == classes).mean() >= 0.8
    assert np.array_equal(symbols[:, 0] - CODES, classes)


def test_differences_are_from_the_nearest():
    known = np.array([[64, 1, 2, 3], [65, 1, 2, 4], [66, 9, 9, 9]])
    assert differences(np.array([[0, 1, 2, 3], [0, 9, 9, 3], [0, 5, 5, 5]]), known).tolist() == [0, 1, 3]


@pytest.mark.slow
def test_after_500_steps_most_of_what_it_writes_is_read_as_asked():
    data = mnist.load(ROOT / "data")
    training = WriterTraining(WriterSettings(steps=500), data)
    *_, last = training.fit()
    assert training.step.replays > 450
    assert last.held_out < 1.1
    classes = np.arange(200) % 10
    symbols = written(training.writer, classes, np.random.default_rng(0), 0.7)
    assert (Reader(NETWORK3, training.writer).read(training.writer.decoded(symbols)) == classes).mean() >= 0.6


# --- the command ---


@pytest.mark.slow
def test_the_command_trains_saves_goes_on_and_writes(zoo, quick, tmp_path):
    done = zoo("zoo.writer", *OPTIONS, "--save", "m.npz", "--seed", 3)
    assert "step 20/20" in done.stdout
    assert "of 10 are read as asked" in done.stdout
    assert "finished writer of 20 steps" in zoo("zoo.writer", *OPTIONS, "--save", "m.npz", status=1).stderr
    done = zoo("zoo.writer", "--resume", "m.npz", "--steps", 30, "--quiet", "--weights-only")
    assert done.stdout.startswith("step 30/30")
    done = zoo("zoo.writer", "m.npz", "--write", 7, 7, "--count", 2, "--temperature", 1)
    assert done.stdout.count("read as") == 4 + 1
    assert "weights only" in zoo("zoo.writer", "--resume", "m.npz", status=1).stderr


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_same_bits(zoo, quick, monkeypatch, tmp_path):
    zoo("zoo.writer", *OPTIONS, "--save", "whole.npz", "--quiet")
    batch = WriterTraining.batch

    def interrupted(training, step):
        if step == 12:
            raise KeyboardInterrupt
        return batch(training, step)

    monkeypatch.setattr(WriterTraining, "batch", interrupted)
    done = zoo("zoo.writer", *OPTIONS, "--save", "part.npz", status=130)
    assert "holds the first 10 steps; `python -m zoo.writer --resume part.npz` goes on" in done.stderr
    monkeypatch.setattr(WriterTraining, "batch", batch)
    assert "10 of 20 steps" in zoo("zoo.writer", *OPTIONS, "--save", "part.npz", status=1).stderr
    zoo("zoo.writer", "--resume", "part.npz", "--quiet")
    one, two = (train.load(tmp_path / name) for name in ("whole.npz", "part.npz"))
    assert all(np.array_equal(one.model[name], two.model[name]) for name in one.model)


def test_it_says_what_is_wrong_in_one_line(zoo, digits, quick, tmp_path):
    zoo("zoo.writer", *OPTIONS, "--save", "m.npz", "--quiet")
    for arguments, words in {
        ("--write", "12"): "name some of 0 to 9",
        ("--write", "1", "--count", "10001"): "--count 10001: expected at most 10,000",
        ("m.npz", "--complete", "200"): "test digits 0 to 199",
        ("m.npz", "--attention", "1", "--patch", "49"): "one of 0 to 48",
        ("missing.npz", "--write", "1"): "missing.npz",
        (str(NETWORK3), "--write", "1"): "expected a writer",
        (
            "--write",
            "1",
            "--reader",
            str(WRITER),
        ): "expected a network of the zoo, found another checkpoint (it holds a "
        f"writer, which `python -m zoo.writer {WRITER} --write 7` takes)",
        ("--resume", "m.npz", "--lr", "0.5"): "--lr 0.002, not 0.5",
        ("--resume", "m.npz", "--train-size", "500"): "other data",
        ("--size", "30"): "multiple of the 4 heads",
        ("--picture", "missing/p.png"): "missing",
    }.items():
        assert words in zoo("zoo.writer", *arguments, status=1).stderr, arguments
    for arguments, words in {
        ("m.npz", "--steps", "5"): "--resume m.npz",
        ("--write", "1", "--patch", "3"): "--attention",
        ("--complete", "1", "--attention", "1", "--picture", "p.png"): "one thing",
        ("--weights-only",): "--save",
        ("--temperature", "-1", "--write", "1"): "at least 0",
        ("--picture", "p.jpg"): ".png",
    }.items():
        assert words in zoo("zoo.writer", *arguments, status=2).stderr, arguments


@pytest.mark.parametrize("what", [["--write", 12], ["--attention", 1, "--patch", 60], ["--complete", 999]])
def test_what_it_cannot_do_is_refused_before_the_training(zoo, quick, what):
    assert zoo("zoo.writer", *OPTIONS, *what, status=1).stdout == ""


@pytest.mark.slow
def test_a_cost_that_is_no_number_ends_it(zoo, quick):
    done = zoo("zoo.writer", *OPTIONS, "--lr", 1e30, "--save", "m.npz", status=1)
    assert "try a learning rate below" in done.stderr


def test_a_full_disk_is_named_with_what_was_saved(zoo, quick, monkeypatch):
    save = WriterTraining.save

    def full(training, path, weights_only=False):
        if training.done == 15:
            raise OSError(28, "No space left on device", str(path))
        save(training, path, weights_only)

    monkeypatch.setattr(WriterTraining, "save", full)
    done = zoo("zoo.writer", *OPTIONS, "--save", "m.npz", status=1)
    assert "m.npz: No space left on device; m.npz holds the first 10 steps" in done.stderr


def test_completions_attention_and_classes_are_shown(zoo):
    done = zoo("zoo.writer", "--complete", 0, "--count", 2)
    assert done.stdout.count("read as") == 2
    assert "test digit 0, a 7" in done.stdout
    done = zoo("zoo.writer", "--attention", 0, "--patch", 10)
    assert done.stdout.count("head ") >= 8
    assert "row 2, column 4" in done.stdout.splitlines()[0]
    share = float(zoo("zoo.writer", "--classify", 20).stdout.split(" %")[0].split("%")[0])
    assert share >= 85


def test_a_completion_goes_by_the_upper_part_alone(zoo, small, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")  # one below the other
    images, labels = np.rint(small.test.images[:12] * 255).astype(np.uint8).reshape(-1, 28, 28), small.test.labels[:12]
    spoilt = images.copy()
    spoilt[:, 16:] = 128  # the lower part, and the label, are others
    said = [
        zoo("zoo.writer", "--complete", 0, "--count", 3, data=data).stdout.partition("what it sees")[2]
        for data in (
            write_data(tmp_path / "real", images, labels, images, labels),
            write_data(tmp_path / "spoilt", images, labels, spoilt, 9 - labels),
        )
    ]
    assert said[0] == said[1]
    assert said[0].count("read as") == 3


@pytest.mark.parametrize("what", [["--write", "3", "5"], ["--complete", "1"], ["--attention", "1"]])
def test_pictures_are_drawn(zoo, tmp_path, what):
    zoo("zoo.writer", *what, "--count", 2, "--picture", "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.slow
def test_it_is_measured(zoo):
    done = zoo("zoo.writer", "--measure", "--count", 20)
    for line in ("held-out cost", "read as asked", "real digits", "argmax p(image|class)", "copies"):
        assert line in done.stdout


def test_other_images_are_not_read_by_the_network_of_the_zoo(zoo, quick, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 8, 12), np.uint8)
    data = write_data(tmp_path / "own", images, np.arange(60) % 3, images[:6], np.arange(6) % 3)
    done = zoo("zoo.writer", *OPTIONS, "--save", "own.npz", data=data)
    assert "read as" not in done.stdout
    zoo("zoo.writer", "own.npz", "--measure", "--count", 6, data=data)
    assert "3 classes" in zoo("zoo.writer", "--classify", data=data, status=1).stderr


@pytest.mark.slow
def test_killed_it_leaves_a_whole_checkpoint(digits, tmp_path):
    process = start(
        "zoo.writer", "--steps", 5000, "--size", 8, "--heads", 2, "--save", "m.npz", data=digits, cwd=tmp_path
    )
    for line in process.stdout:
        if line.startswith("step  200"):
            break
    process.kill()
    process.communicate(timeout=60)
    assert settings_of_writer(train.load(tmp_path / "m.npz")).steps == 5000
    assert train.load(tmp_path / "m.npz").settings["done"] >= 200
    assert [name for name in os.listdir(tmp_path) if name.endswith(".npz") and not name.startswith(".")] == ["m.npz"]
