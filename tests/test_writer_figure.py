"""The figure of what the writer writes: what its record says is of the digits that it shows, and so is its picture."""

from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure

from graphs import writer
from tinygrad_mnist import mnist, train
from zoo import writer_training
from zoo.models import NETWORK3, WRITER
from zoo.patches import decode
from zoo.writer_measures import Reader
from zoo.writer_training import WriterSettings, writer_of

CLASSES = np.arange(writer.SHOWN * 10).reshape(writer.SHOWN, 10) % 10


def images(found, stage):
    """What a stage shows, as (shown, classes, pixels)."""
    codes = np.array(stage["codes"]).reshape(CLASSES.size, -1)
    return decode(codes, found["shape"], np.array(found["codebook"], np.float32)).reshape(*CLASSES.shape, -1)


def test_a_run_tells_what_is_read_of_the_digits_that_it_shows(digits, monkeypatch):
    data = mnist.load(digits).head(60)
    by_heart = np.stack([data.train.images[data.train.labels == label][0] for label in range(10)])
    chances = []

    def written(model, classes, rng, temperature):
        """Digits that can be read, in place of those of four steps."""
        chances.append((rng.random(), temperature))
        return model.encoded(by_heart[classes], classes)

    replaced = {"STEPS": (2, 9), "READ": CLASSES.size, "digits": data.head, "written": written,
                "WriterSettings": partial(WriterSettings, size=8, heads=2, blocks=1),
                "_fastest": lambda: "numpy"}  # fmt: skip
    monkeypatch.setattr(writer_training, "EVERY", 2)
    monkeypatch.setattr(writer_training, "HELD_OUT", 20)
    for name, value in replaced.items():
        monkeypatch.setattr(writer, name, value)
    found = writer.run({"epochs": 2, "train_size": 50}, 7)

    assert [stage["step"] for stage in found["stages"]] == [2, 4]  # the last one, as 9 is never reached
    assert [[stage["step"], stage["held_out"]] for stage in found["stages"]] == found["costs"]
    assert chances == [(np.random.default_rng([2, 7]).random(), 0.7)] * 2
    reader = Reader(NETWORK3, writer_of(train.load(WRITER)))
    for stage, told in zip(found["stages"], found["told"], strict=True):
        shown = images(found, stage)
        assert (shown == shown[:1]).all()
        read = reader.read(shown.reshape(CLASSES.size, -1)).reshape(CLASSES.shape)
        assert stage["asked"] == pytest.approx((read == CLASSES).mean())
        assert stage["asked"] > 0.5
        assert told.endswith(f"{100 * stage['asked']:.1f} % read as asked")
    assert 0.5 < found["real"] <= 1


def test_the_picture_has_a_grid_for_each_stage_and_a_row_for_each_class():
    rng = np.random.default_rng(0)
    stages = [
        {"step": step, "held_out": 1.0, "asked": 0.25 * i, "codes": rng.integers(0, 64, (*CLASSES.shape, 49)).tolist()}
        for i, step in enumerate(writer.STEPS)
    ]
    found = {"costs": [[100, 2.0], [3126, 1.0]], "stages": stages, "real": 0.9, "shape": [28, 28]}
    found["codebook"] = rng.random((64, 16)).tolist()
    drawn = Figure(figsize=writer.FIGURE.size)
    writer.draw(drawn, {"writer": [found]})
    above, below = drawn.subfigs
    assert [axis.get_title().split("\n")[0] for axis in above.axes] == [f"{step:,} steps" for step in writer.STEPS]
    for axis, stage in zip(above.axes, stages, strict=True):
        picture = np.asarray(axis.images[0].get_array())
        cells = picture.reshape(10, 32, writer.SHOWN, 32).transpose(2, 0, 1, 3)[..., 2:-2, 2:-2]
        np.testing.assert_allclose(cells, images(found, stage).reshape(cells.shape), rtol=1e-6)
        assert [int(place) // 32 for place in axis.get_yticks()] == [*range(10)]
        assert [label.get_text() for label in axis.get_yticklabels()] == [*"0123456789"]
    cost, asked = below.axes
    assert np.asarray(cost.lines[0].get_xdata()).tolist() == [100, 3126]
    assert np.asarray(asked.lines[0].get_ydata()).tolist() == [0, 25, 50, 75]
