"""zoo/predict.py: drawings of any size and colour become what MNIST's digits are, and are recognized."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tinygrad_mnist import mnist
from zoo.images import prepare, read_image
from zoo.network2 import Network2
from zoo.training import Training

from .helpers import write_data

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data():
    return mnist.load(ROOT / "data")


@pytest.fixture(scope="module")
def training(data):
    """A network that knows its digits well enough: 10,000 of them, three times."""
    result = Training(Network2(epochs=3), data.head(10_000), source=str(ROOT / "data"))
    list(result.fit())
    return result


@pytest.fixture(scope="module")
def model(training, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "model.npz"
    training.save(file)
    return file


@pytest.fixture
def predict(model, zoo):
    """Run the command in an empty directory."""

    def run(*arguments, status=0, file=model):
        return zoo("zoo.predict", file, *arguments, status=status, data=ROOT / "data")

    return run


def square(data, i):
    return np.rint(data.test.images[i] * 255).astype(np.uint8).reshape(28, 28)


def scattered(image, size, place, canvas=(300, 400), invert=False):
    """A digit of some size, somewhere on a larger canvas."""
    result = np.zeros(canvas, np.uint8)
    grown = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    result[place[0] : place[0] + size, place[1] : place[1] + size] = grown
    return 255 - result if invert else result


# ---- Preparing


def test_the_digits_of_mnist_stay_as_they_are(data):
    images = data.test.images[:500].reshape(-1, 28, 28)
    same = [np.abs(prepare(image) - image).max() <= 0.1 for image in images]  # fainter borders are cut off
    assert np.mean(same) > 0.97  # the centre of mass of a few lies between two pixels


@settings(deadline=None, max_examples=25)
@given(index=st.integers(0, 99), down=st.integers(0, 250), right=st.integers(0, 350))
def test_where_a_drawing_is_does_not_matter(data, index, down, right):
    ink = np.zeros((300, 400))
    ink[down : down + 28, right : right + 28] = data.test.images[index].reshape(28, 28)[: 300 - down, : 400 - right]
    if not ink[down : down + 28, right : right + 28].any():
        return
    whole = down <= 272 and right <= 372
    result = prepare(ink)
    if whole:
        assert np.array_equal(result, prepare(data.test.images[index].reshape(28, 28)))
    assert result.shape == (28, 28)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_any_drawing_fits_into_any_shape(height, width, shape, seed):
    ink = np.random.default_rng(seed).random((height, width))
    ink[seed % height, seed % width] = 1
    result = prepare(ink, shape)
    assert result.shape == shape
    assert np.isfinite(result).all()
    assert result.max() > 0


def test_a_drawing_fills_20_of_28_pixels_around_its_centre_of_mass():
    ink = np.zeros((500, 500))
    ink[100:400, 50:90] = 1
    result = prepare(ink)
    rows, columns = np.flatnonzero(result.any(1)), np.flatnonzero(result.any(0))
    assert len(rows) == 20
    assert 2 <= len(columns) <= 4
    assert abs(np.average(np.arange(28), weights=result.sum(1)) - 14) <= 0.5
    assert abs(np.average(np.arange(28), weights=result.sum(0)) - 14) <= 0.5


def test_nothing_drawn_is_an_error():
    with pytest.raises(ValueError, match="there is nothing on this image"):
        prepare(np.zeros((9, 9)))


# ---- Reading


FORMATS = {
    "png": lambda image, path: image.save(path),
    "jpg": lambda image, path: image.save(path, quality=50),
    "jpeg": lambda image, path: image.convert("RGB").save(path),
}


@pytest.mark.parametrize(
    ("suffix", "invert"),
    [
        pytest.param(suffix, invert, marks=() if (suffix, invert) == ("jpg", True) else pytest.mark.slow)
        for suffix in FORMATS
        for invert in (False, True)  # white on black, and black on white
    ],
)
def test_drawings_are_recognized_like_the_digits_they_were_made_of(training, data, tmp_path, suffix, invert):
    rng = np.random.default_rng(1)
    right = []
    for i in range(20):
        size = int(rng.integers(40, 250))
        place = rng.integers(0, 300 - size), rng.integers(0, 400 - size)
        picture = Image.fromarray(scattered(square(data, i), size, place, invert=invert))
        FORMATS[suffix](picture, tmp_path / f"a.{suffix}")
        pixels = read_image(tmp_path / f"a.{suffix}")
        right.append(training.activations(pixels[None]).argmax() == data.test.labels[i])
    assert np.mean(right) >= 0.85


def drawn(mode, paper, stroke, size=(200, 160)):
    image = Image.new(mode, size, paper)
    ImageDraw.Draw(image).line([(110, 30), (90, 130)], fill=stroke, width=14)
    return image


PICTURES = {
    "grey": lambda: drawn("L", 255, 0),
    "grey on grey": lambda: drawn("L", 120, 160),
    "one bit": lambda: drawn("1", 1, 0),
    "colour": lambda: drawn("RGB", (250, 240, 200), (20, 30, 160)),
    "palette": lambda: drawn("RGB", (255, 255, 255), (200, 0, 0)).convert("P"),
    "CMYK": lambda: drawn("RGB", (255, 255, 255), (0, 0, 0)).convert("CMYK"),
    "dark on nothing": lambda: drawn("RGBA", (0, 0, 0, 0), (0, 0, 60, 255)),
    "light on nothing": lambda: drawn("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)),
    "grey on nothing": lambda: drawn("LA", (0, 0), (30, 255)),
    "16 bits": lambda: Image.fromarray(np.asarray(drawn("L", 255, 0)).astype(np.uint16) * 257),
    "32 bits": lambda: Image.fromarray(np.asarray(drawn("L", 0, 200)).astype(np.int32) * 99),
    "lit from the side": lambda: Image.fromarray(
        (np.asarray(drawn("L", 255, 60)) * np.linspace(0.6, 1, 200)).astype(np.uint8)
    ),
    "touching the border": lambda: drawn("L", 255, 0).crop((0, 30, 200, 160)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_stroke_is_found_in_every_kind_of_picture(name, tmp_path):
    PICTURES[name]().save(tmp_path / "a.tiff" if name in ("CMYK", "32 bits") else tmp_path / "a.png")
    pixels = read_image(next(tmp_path.iterdir())).reshape(28, 28)
    rows, columns = np.flatnonzero((pixels > 0.5).any(1)), np.flatnonzero((pixels > 0.5).any(0))
    assert 19 <= len(rows) <= 20
    assert 5 <= len(columns) <= 9
    assert 0.05 < np.mean(pixels > 0.5) < 0.12


def test_a_photo_is_turned_upright(tmp_path):
    image = drawn("L", 255, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    image.save(tmp_path / "plain.jpg")
    image.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif)
    assert np.abs(read_image(tmp_path / "plain.jpg") - read_image(tmp_path / "turned.jpg")).mean() < 0.02


# ---- The command


def test_images_and_test_digits_are_said_with_their_confidences(predict, data, tmp_path):
    Image.fromarray(scattered(square(data, 0), 120, (20, 200), invert=True)).save(tmp_path / "seven.png")
    done = predict("seven.png", 0, 1)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert re.match(r"seven\.png: 7  \(confidences: 7 [01]\.\d{3}, \d ", lines[0])
    assert lines[1].startswith("test image 0: 7, right  (confidences: 7 ")
    assert lines[2].startswith("test image 1: 2, right  (confidences: 2 ")
    confidences = [float(found) for found in re.findall(r"\d (\d\.\d+)", lines[0])]
    assert len(confidences) == 10
    assert confidences == sorted(confidences, reverse=True)


def test_the_image_is_drawn_as_the_network_sees_it(predict):
    done = predict("--draw", 0)
    assert "says and is" in done.stdout
    assert len(done.stdout.splitlines()) == 15


def test_a_file_whose_name_is_a_number_is_a_file(predict, data, tmp_path):
    Image.fromarray(square(data, 1)).save(tmp_path / "0", format="png")
    assert predict(0).stdout.startswith("0: 2  (confidences: 2 ")


def test_what_is_no_drawing_is_said_in_one_line(tmp_path):
    drawn("L", 200, 200).save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    drawn("L", 255, 0).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-400])
    for name, message in {
        "blank.png": "there is nothing on this image",
        "text.png": "not an image that can be read",
        "empty.png": "not an image that can be read",
        "cut.jpg": "not an image that can be read",
        "none.png": "no such image",
        ".": "not an image that can be read",
    }.items():
        with pytest.raises((OSError, ValueError), match=message) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_what_is_wrong_is_one_line(predict, model, tmp_path):
    (tmp_path / "cut.npz").write_bytes(model.read_bytes()[:-9])
    assert re.match("error: none.png: no such image", predict("none.png", status=1).stderr)
    assert "test image 10000: there are test images 0 to 9999 in " in predict("10000", status=1).stderr
    assert "expected a checkpoint of tinygrad_mnist" in predict("0", status=1, file=tmp_path / "cut.npz").stderr
    assert "required: IMAGE" in predict(status=2).stderr


@pytest.mark.slow
def test_what_comes_after_a_bad_image_is_answered_all_the_same(predict, tmp_path):
    (tmp_path / "empty.png").touch()
    for bad in ("empty.png", "none.png", 10000):
        done = predict(0, bad, 1, status=1)
        answers = [line.partition(" (")[0].rstrip() for line in done.stdout.splitlines()]
        assert answers == ["test image 0: 7, right", "test image 1: 2, right"]
        assert re.match(rf"error: (test image )?{bad}: ", done.stderr)


def test_indices_are_of_data_like_the_models(predict, tmp_path):
    images, labels = np.full((12, 3, 3), 9), np.arange(12) % 2
    data = write_data(tmp_path / "other", images, labels, images, labels)
    assert "has the shape (3, 3), the model expects (28, 28)" in predict("0", "--data", data, status=1).stderr
