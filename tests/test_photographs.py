"""zoo/images.py and zoo/drawing.py on photographs: noise, shadow, colours, several digits, broken files.

`python -m tests.photographs MODEL.npz` prints all counts for a network; `fuzz` below tries as many files as one likes.
"""

import io
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tinygrad_mnist import mnist
from zoo import predict
from zoo.drawing import find, grown, pieces
from zoo.images import prepare, read_image
from zoo.network2 import Network2
from zoo.training import Training

from .photographs import FONTS, SPOILT, counts, digits, picture_of, rendered

ROOT = Path(__file__).resolve().parent.parent
SEVERAL = pytest.warns(UserWarning, match="there seem to be several digits")


@pytest.fixture(scope="module")
def training():
    result = Training(Network2(epochs=3), mnist.load(ROOT / "data").head(10_000))
    list(result.fit())
    return result


@pytest.fixture
def answer(training, tmp_path):
    def ask(picture):
        picture.save(tmp_path / "a.bmp")
        return int(training.activations(read_image(tmp_path / "a.bmp")[None]).argmax())

    return ask


@pytest.fixture
def read(tmp_path):
    """The pixels of a picture, as one of 28 x 28."""

    def from_file(picture, suffix="png", **options):
        picture.save(tmp_path / f"a.{suffix}", **options)
        return read_image(tmp_path / f"a.{suffix}").reshape(28, 28)

    return from_file


# ---- The same answer as on the clean picture


EVERYDAY = ("grey paper", "noise 5", "noise 8", "noise 12", "three specks", "corners darker by 30 %")


@pytest.mark.slow
def test_small_photographs_are_read_like_clean_pictures(answer):
    found = counts(answer, 200, EVERYDAY)
    assert {name: count for name, count in found.items() if count < 46} == {}


@pytest.mark.slow
def test_large_photographs_are_read_like_clean_pictures(answer):
    found = counts(answer, 800, ["noise 12", "three specks"])
    assert {name: count for name, count in found.items() if count < 46} == {}


@pytest.mark.slow
def test_photographs_of_worse_kinds_are_nearly_always(answer):
    found = counts(answer, 200, SPOILT.keys() - set(EVERYDAY), every=3)
    assert {name: count for name, count in found.items() if count < 14} == {}  # of 17


def alike(one, other):
    """Whether two pictures of a digit look the same, but for a pixel that rounding moves them by."""
    moved = (np.roll(one, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1))
    return max(np.corrcoef(each.ravel(), other.ravel())[0, 1] for each in moved) > 0.9


@pytest.mark.parametrize(("size", "place"), [(300, (650, 20)), (120, (30, 640)), (700, (50, 50))])
def test_a_digit_need_not_be_large_nor_in_the_middle(read, size, place):
    photograph = Image.new("L", (800, 800), 255)
    photograph.paste(rendered("5", size=size).crop((size // 5, 0, size * 4 // 5, size)), place)
    assert alike(read(photograph), read(rendered("5", size=800)))


def test_orientations_transparency_and_depth_do_not_matter(read):
    clean = rendered("7", size=400)
    expected = read(clean)
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, how in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ("jpg", "png", "webp", "tiff"):
            assert alike(read(clean.transpose(how), suffix, exif=exif), expected), (orientation, suffix)
    ink = Image.new("RGBA", clean.size, (255, 255, 255, 0))
    ink.putalpha(clean.point(lambda value: 255 - value))
    assert alike(read(ink), expected)
    assert alike(read(Image.fromarray(np.asarray(clean, np.uint16) * 100 + 9000)), expected)
    assert alike(read(clean.convert("RGB").quantize(8), "gif"), expected)


@pytest.mark.slow
def test_pictures_of_mnists_own_size_keep_their_pixels(read):
    test = mnist.load(ROOT / "data").test
    assert test is not None
    images = test.images[:120].reshape(-1, 28, 28)
    same = [np.abs(read(picture_of(255 * image), "bmp") - prepare(image)).max() <= 0.1 for image in images]
    assert np.mean(same) > 0.99


# ---- What is no drawing


def test_a_speck_far_from_the_digit_is_not_in_its_box():
    ink = np.zeros((100, 100, 1))
    ink[30:70, 45:50] = 200
    clean = find(ink.copy()).ink
    ink[2:6, 3:7] = 150
    assert np.array_equal(find(ink).ink, clean)


@pytest.mark.parametrize("sigma", [0, 3, 25])
def test_paper_alone_is_nothing(tmp_path, sigma):
    paper = 200 * np.linspace(1, 0.7, 300) + np.random.default_rng(0).normal(0, sigma, (300, 300))
    picture_of(paper).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="there is nothing on this image"):
        read_image(tmp_path / "a.png")


def test_pieces_hang_together_at_sides_and_corners():
    mask = np.zeros((6, 7), bool)
    mask[0, 0] = mask[1, 1] = mask[2, 0] = True
    mask[4:6, 4:7] = True
    first, second = pieces(mask)
    assert (first.area, first.top, first.bottom, first.left, first.right) == (6, 4, 6, 4, 7)
    assert (second.area, second.height, second.width, second.extent) == (3, 3, 2, 3)
    assert pieces(np.zeros((3, 3), bool)) == []
    assert grown(mask)[3].tolist() == [True, True, False, True, True, True, True]


def test_the_longest_way_through_a_piece_is_followed():
    mask = np.ones((41, 41), bool)
    mask[1::4, 1:] = mask[3::4, :-1] = False
    (only,) = pieces(mask)
    assert only.area == mask.sum()


# ---- Several digits


@pytest.mark.slow
@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("text", ["42", "10", "17", "88", "99", "365"])
def test_several_digits_earn_a_warning(read, text, font):
    with SEVERAL:
        read(rendered(text, font, 400))


@pytest.mark.slow
def test_single_digits_earn_none(read):
    rng = np.random.default_rng(0)
    for picture in digits(200):
        read(picture, "bmp")
        read(picture_of(SPOILT["three specks"](np.asarray(picture, float), rng)), "bmp")


@pytest.mark.slow
def test_handwritten_digits_earn_none(tmp_path):
    images = mnist.load(ROOT / "data").train.images[:200].reshape(-1, 28, 28)
    warned = 0
    for image in images:
        picture_of(255 - 255 * image).resize((140, 140), Image.Resampling.BICUBIC).save(tmp_path / "a.bmp")
        with warnings.catch_warnings(record=True, action="always") as said:
            read_image(tmp_path / "a.bmp")
        warned += bool(said)
    assert warned <= 1


BROKEN = {
    "a 5 with its bar apart": [
        [(130, 40), (80, 40)],
        [(72, 56), (70, 95), (100, 85), (125, 105), (110, 145), (70, 150)],
    ],
    "a 4 with its bar apart": [[(70, 40), (60, 100), (105, 100)], [(118, 40), (118, 160)]],
    "a 7 with its bar apart": [[(60, 40), (130, 40), (95, 150)], [(70, 100), (88, 100)]],
    "a 0 in two halves": [
        [(95, 40), (70, 60), (65, 100), (75, 140), (95, 155)],
        [(107, 155), (132, 130), (135, 80), (110, 42)],
    ],
    "a squat 4 whose bar stands beside it": [[(40, 50), (40, 120), (120, 120)], [(133, 55), (133, 150)]],
    "a 1 whose base is apart": [[(100, 30), (100, 130)], [(60, 158), (140, 158)]],
    "a 3 in two arcs": [
        [(70, 40), (105, 32), (125, 50), (112, 78), (90, 84)],
        [(90, 112), (125, 122), (132, 150), (105, 172), (70, 160)],
    ],
    "a 5 in two halves": [
        [(135, 30), (75, 30), (72, 85)],
        [(80, 112), (120, 115), (132, 140), (112, 168), (70, 165)],
    ],
    "a 6 whose loop is apart": [
        [(110, 30), (80, 70), (70, 115)],
        [(105, 120), (132, 145), (105, 172), (95, 145), (105, 120)],
    ],
    "an 8 in two loops": [
        [(100, 40), (80, 65), (100, 88), (122, 65), (100, 40)],
        [(100, 100), (75, 130), (100, 160), (128, 130), (100, 100)],
    ],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_digit_in_two_pieces_is_one_digit_and_whole(read, name):
    picture = Image.new("L", (200, 200), 255)
    for stroke in BROKEN[name]:
        ImageDraw.Draw(picture).line(stroke, fill=0, width=8, joint="curve")
    pixels = read(picture)
    points = np.concatenate([np.array(stroke) for stroke in BROKEN[name]])
    width, height = np.ptp(points, 0) + 8
    columns, rows = np.ptp(np.flatnonzero(pixels.any(0))) + 1, np.ptp(np.flatnonzero(pixels.any(1))) + 1
    assert rows == 20
    assert abs(columns - 20 * width / height) <= 2


@pytest.mark.parametrize("down", [80, 95])
def test_two_digits_one_below_the_other_earn_a_warning(read, down):
    picture = Image.new("L", (200, 200), 255)
    for top in (10, 10 + down):
        ImageDraw.Draw(picture).ellipse((70, top, 115, top + 65), outline=0, width=8)
    with SEVERAL:
        read(picture)


@pytest.mark.slow
def test_the_command_says_so_after_its_answer(training, tmp_path, capfd):
    training.save(tmp_path / "m.npz")
    rendered("42", size=400).save(tmp_path / "a.png")
    assert predict.main([str(tmp_path / "m.npz"), str(tmp_path / "a.png"), str(ROOT / "zoo/drawings/two.png")]) == 0
    said = capfd.readouterr()
    assert len(said.out.splitlines()) == 2
    assert re.fullmatch(
        r"warning: .*a\.png: there seem to be several digits, of which one was read; cut it out\n", said.err
    )


def test_the_drawings_of_readme_are_recognized(training):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"zoo\.predict model\.npz (zoo/drawings/\w+\.png)", readme)
    assert shown
    assert all((ROOT / name).is_file() for name in shown)
    for name, digit in {"two": 2, "five": 5, "seven": 7}.items():
        assert training.activations(read_image(ROOT / "zoo" / "drawings" / f"{name}.png")[None]).argmax() == digit


# ---- Files that are huge, broken, or something else


OTHERS = {
    "a.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
    "eps.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
    "dos.eps": (b"\xc5\xd0\xd3\xc6" + bytes(60), "EPS"),
    "a.wmf": (b"\xd7\xcd\xc6\x9a\0\0" + bytes(60), "WMF"),
    "a.psd": (b"8BPS\0\1" + bytes(60), "PSD"),
    "a.pdf": (b"%PDF-1.7\n" + bytes(60), "PDF"),
    "a.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "a.heic": (b"\0\0\0\x18ftypheic" + bytes(60), "HEIC"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_only_pictures_of_pixels_are_opened(tmp_path, monkeypatch, name):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    content, kind = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match=rf"{kind} is none of PNG, JPEG, .*; name a PNG or JPEG file") as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_pictures_of_pixels_are_read(read, suffix):
    assert alike(read(rendered("3").convert("RGB"), suffix), read(rendered("3")))


MEASURED = """
import re, sys
from pathlib import Path
from zoo.images import prepare, read_image
try:
    read_image(sys.argv[1])
except (OSError, ValueError) as error:
    print(error)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1000)
"""


def read_and_measured(path):
    """What a process says that reads a picture, and its peak of memory in megabytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    *said, megabytes = done.stdout.splitlines()
    return said, int(megabytes)


def huge(mode, size=8000):
    picture = Image.new(mode, (size, size), "white")
    picture.paste("black", (size * 2 // 5, size // 5, size // 2, size * 4 // 5))
    return picture


LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "suffix", "options"),
    [
        ("RGBA", "png", {"compress_level": 1}),  # the most: four bytes a pixel, and opacity
        ("RGB", "jpg", {}),
        ("RGB", "bmp", {}),
    ],
)
def test_64_megapixels_take_less_than_400_megabytes(tmp_path, mode, suffix, options):
    huge(mode).save(tmp_path / f"a.{suffix}", **options)
    said, megabytes = read_and_measured(tmp_path / f"a.{suffix}")
    assert said == []
    assert megabytes < 400


def png(width, height, content=b"", colour=2):
    """A PNG that says that it has this size."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.slow
@LINUX
def test_more_than_fits_is_refused_in_one_line(tmp_path):
    huge("L", 6400).save(tmp_path / "progressive.jpg", progressive=True)
    huge("1", 5000).convert("RGB").save(tmp_path / "a.webp", lossless=True, quality=0, method=0)
    (tmp_path / "bomb.png").write_bytes(png(30_000, 30_000, zlib.compress(bytes(10**7))))
    (tmp_path / "large.png").write_bytes(png(12_000, 12_000, zlib.compress(bytes(10**7))))
    for name, words in {
        "progressive.jpg": "6400 x 6400 pixels, expected at most 40 million; scale it down",
        "a.webp": "5000 x 5000 pixels, expected at most 16 million; scale it down",
        "large.png": "12000 x 12000 pixels, expected at most 70 million; scale it down",
        "bomb.png": "decompression bomb",
    }.items():
        said, megabytes = read_and_measured(tmp_path / name)
        assert len(said) == 1
        assert words in said[0]
        assert megabytes < 150


def odd(rng):
    """The bytes of a picture that is odd, broken, or both."""
    modes = ("1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I", "F", "CMYK", "YCbCr", "LAB", "HSV")
    suffix = rng.choice(["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"])
    size = tuple(int(2 ** rng.uniform(0, 8)) for _ in range(2))
    pixels = rng.integers(0, 256, (*size, 4)) if rng.random() < 0.5 else np.full((*size, 4), rng.integers(0, 256))
    picture = Image.fromarray(pixels.astype(np.uint8))
    if rng.random() < 0.5:
        ImageDraw.Draw(picture).line([tuple(rng.integers(0, 200, 2).tolist()) for _ in range(4)], (9, 9, 9, 255), 5)
    file = io.BytesIO()
    try:
        try:
            changed = picture.convert(str(rng.choice(modes)))
        except ValueError:
            changed = picture.convert("L")
        more = {"save_all": True, "append_images": [changed, changed]} if rng.random() < 0.2 else {}
        changed.save(file, suffix, **more)
    except (OSError, ValueError, SystemError, KeyError):
        file = io.BytesIO()
        picture.convert("RGB").save(file, suffix)
    content = bytearray(file.getvalue())
    match rng.integers(0, 4):
        case 0:
            content = content[: rng.integers(0, len(content) + 1)]
        case 1:
            for place in rng.integers(0, len(content), 1 + len(content) // 50):
                content[place] = rng.integers(0, 256)
        case 2:
            for place in rng.integers(0, min(len(content), 64), 3):  # where sizes are claimed
                content[place] = rng.choice([0, 1, 127, 128, 255])
    return bytes(content)


def fuzz(folder, seeds):
    """Read odd pictures: each is a digit, or one line that says why not."""
    read, said = 0, []
    for seed in seeds:
        (folder / "a.bin").write_bytes(odd(np.random.default_rng(seed)))
        try:
            with warnings.catch_warnings(action="ignore"):
                pixels = read_image(folder / "a.bin")
        except (OSError, ValueError) as error:
            said.append(str(error))
        else:
            assert pixels.shape == (784,)
            assert np.isfinite(pixels).all()
            assert 0 <= pixels.min() <= pixels.max() <= 1
            read += 1
    assert [line for line in said if not re.fullmatch(r".*a\.bin: .{9,400}", line)] == []
    return read


def test_odd_pictures_are_read_or_refused_in_one_line(tmp_path):
    assert 5 <= fuzz(tmp_path, range(60)) <= 55
