"""The live page in a real browser: Chromium, driven by playwright. CI requires it, others may skip it."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, mnist, nn, sigmoid
from zoo.base import COSTS
from zoo.images import read_pixels
from zoo.network import Network
from zoo.network1 import Network1
from zoo.sketch import seeing
from zoo.sketch.own import OwnSubject
from zoo.sketch.serving import served
from zoo.sketch.subjects import ZooSubject
from zoo.training import Training

from .browser import SIZES, Page
from .helpers import ROOT, environment

if not os.environ.get("CI"):  # which has to have it
    pytest.importorskip("uvicorn", reason='the page needs a server: pip install -e ".[sketch]"')

pytestmark = pytest.mark.slow

TWO = [(80, 90), (110, 55), (160, 50), (190, 85), (170, 130), (120, 180), (80, 220), (140, 222), (205, 220)]


class Opened(Page):
    """The page in a window of the browser."""

    def __init__(self, browser: Any, address: str, size: str = "screen", scheme: str = "light") -> None:
        super().__init__(browser, address, size, scheme)
        self.tab.wait_for_selector("#labels button")

    def draw(self, places: list[tuple[int, int]]) -> None:
        box = self.tab.locator("#pad").bounding_box()
        on = [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in places]
        self.tab.mouse.move(*on[0])
        self.tab.mouse.down()
        for place in on[1:]:
            self.tab.mouse.move(*place, steps=4)
        self.tab.mouse.up()
        self.until("document.querySelector('#verdict').textContent !== ''")
        self.tab.wait_for_timeout(400)  # the last of many looks

    def drawing(self) -> Any:
        """The bytes of the sheet, as it is seen."""
        text = self.tab.evaluate(
            """() => { const sheet = document.querySelector('#pad').getContext('2d').getImageData(0, 0, 280, 280).data;
            return btoa(Array.from({length: 280 * 280}, (_, i) => String.fromCharCode(sheet[4 * i])).join('')) }"""
        )
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(280, 280)

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true; what playwright has for that the page's policy refuses to evaluate."""
        end = time.monotonic() + seconds
        while not self.tab.evaluate(expression):
            assert time.monotonic() < end, expression
            self.tab.wait_for_timeout(30)

    def texts(self, selector: str) -> list[str]:
        return [text.replace("−", "-") for text in self.tab.locator(selector).all_text_contents()]

    def preset(self) -> str:
        """Which of the settings worth looking at are said to be those of the training."""
        return str(self.tab.evaluate("document.querySelector('#preset').selectedOptions[0].text"))

    def trained(self, step: int) -> None:
        """Wait until the page is at this step, and rests."""
        self.until(f"document.body.dataset.step === '{step}'")
        self.until("document.querySelector('#status').textContent.startsWith('paused')")

    def pixels(self, canvas: str) -> Any:
        """The colours of an image."""
        return np.array(
            self.tab.evaluate(
                f"""() => {{ const c = document.querySelector('{canvas}');
                return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }}"""
            )
        ).reshape(28, 28, 4)[..., :3]

    def close(self) -> None:
        assert {url.split("/")[2].split(":")[0] for url in self.requests} == {"127.0.0.1"}
        super().close()


@pytest.fixture(scope="module")
def data(digits: Any) -> mnist.Dataset:
    return mnist.load(digits)


@pytest.fixture
def opened(chromium: Any, data: mnist.Dataset) -> Iterator[Any]:
    """Open a subject in a window, or another window of the last one."""
    windows: list[Opened] = []
    servers: list[Any] = []
    addresses: list[str] = []

    def open_window(subject: Any = None, fragment: str = "", **options: str) -> Opened:
        if subject is not None or not addresses:
            servers.append(served(subject or ZooSubject(data, Network()), 0))
            addresses.append(servers[-1].__enter__())
        windows.append(Opened(chromium, addresses[-1] + fragment, **options))
        return windows[-1]

    yield open_window
    try:
        for window in windows:
            window.close()
    finally:
        for server in servers:
            server.__exit__(None, None, None)


def is_shown(text: str, value: float, digits: int = 3) -> bool:
    """Whether a text is a number as the page writes it."""
    if "e" in text:
        return value != 0 and abs(value) < 0.5 * 10**-digits and float(text) == float(f"{value:.0e}")
    return abs(float(text) - value) <= 0.5001 * 10**-digits


def signed_image(levels: Any) -> Any:
    """The colours of numbers from -127 to 127, in light."""
    zero, plus, minus = (np.array([int(c[i : i + 2], 16) for i in (0, 2, 4)]) for c in ("f4f2ee", "c04a00", "0064a8"))
    pole = np.where(levels[..., None] < 0, minus, plus)
    return zero + (pole - zero) * np.abs(levels[..., None]) / 127


def test_every_number_shown_of_a_drawing_is_pythons(opened: Any) -> None:
    subject = ZooSubject(mnist.load(ROOT / "data").head(1000), Network1(seed=1))
    window = opened(subject)
    window.draw(TWO)
    network: Any = subject.training.model
    pixels, _ = read_pixels(window.drawing().astype(float)[..., None])
    assert pixels.any()
    np.testing.assert_allclose(window.pixels("#seen")[..., 0], 16 + (255 - 16) * pixels.reshape(28, 28), atol=1)

    x = Tensor(pixels[None], requires_grad=True)
    outputs = network(x)
    answer = int(outputs.numpy().argmax())
    hidden = network.layers[1](network.layers[0](x)).numpy()[0]
    loss = COSTS["quadratic"](outputs, seeing.row(answer, 10))
    shown = window.texts("#outputs .number")
    assert len(shown) == 10
    assert all(map(is_shown, shown, outputs.numpy()[0].tolist()))
    verdict = window.texts("#verdict")[0]
    assert re.match(rf"an? {answer}\? By ", verdict)
    assert is_shown(verdict.split()[-1], loss.item())
    for text, a in zip(window.texts("#outputs .slope"), outputs.numpy()[0].tolist(), strict=True):
        slope = float(np.float32(a) * (1 - np.float32(a)))
        assert (text != "") == (slope < 0.01)
        assert text == "" or is_shown(text, slope)
    activations = window.texts("#tiles .number")
    assert all(abs(float(text) - a) <= 0.00501 for text, a in zip(activations, hidden.tolist(), strict=True))
    for mark, a in zip(window.texts("#tiles .slope"), hidden.tolist(), strict=True):
        slope = float(np.float32(a) * (1 - np.float32(a)))
        assert (mark != "") == (slope < 0.01)
        assert mark == "" or is_shown(mark.removeprefix("⚑ "), slope)
    flat = int((hidden * (1 - hidden) < 0.01).sum())
    assert f"{flat} of 30 hidden neurons" in window.texts("#saturation")[0]

    gradient = grad(loss, x).numpy().reshape(28, 28)
    levels = np.rint(gradient / np.abs(gradient).max() * 127)
    np.testing.assert_allclose(window.pixels("#gradient"), signed_image(levels), atol=1)
    weights = network.layers[0].weight.numpy().T.reshape(30, 28, 28)
    levels = np.rint((weights / np.percentile(np.abs(weights), 99.5)).clip(-1, 1) * 127)
    np.testing.assert_allclose(window.pixels("#tiles .tile:nth-child(7) canvas"), signed_image(levels[6]), atol=1)


def test_one_real_step_with_a_digit_of_ones_own(opened: Any, data: mnist.Dataset) -> None:
    subject = ZooSubject(data, Network())
    twin: Any = Training(Network(), data)
    window = opened(subject)
    window.draw(TWO)
    pixels, _ = read_pixels(window.drawing().astype(float)[..., None])
    assert window.tab.is_disabled("#learn")
    window.tab.click("#labels button:nth-child(3)")
    window.tab.click("#learn")
    window.tab.wait_for_selector("#moved p")
    before = twin.model.state_dict()
    loss = COSTS["quadratic"](twin.model(pixels[None]), seeing.row(2, 10))
    loss.backward()
    twin.optimizer.step()
    after = twin.model.state_dict()
    assert {k: v.tobytes() for k, v in subject.training.model.state_dict().items()} == {
        k: v.tobytes() for k, v in after.items()
    }
    text = window.texts("#moved p")[0]
    now = COSTS["quadratic"](twin.model(pixels[None]), seeing.row(2, 10)).item()
    costs = re.match(r"Cost (\S+) → (\S+);", text)
    assert costs is not None
    assert is_shown(costs[1], loss.item(), 4)
    assert is_shown(costs[2], now, 4)
    moved = sum(int(np.count_nonzero(after[name] != before[name])) for name in before)
    assert f"{moved:,} of 23,860 weights moved" in text
    window.tab.click("#moved summary")
    rows = [
        row.split("\t")
        for row in window.tab.locator("#moved table").first.inner_text().replace("−", "-").split("\n")[1:]
    ]
    for (name, *numbers), p in zip(rows, twin.model.parameters(), strict=True):
        change = after[name].astype(float) - before[name]
        expected = [seeing.rms(p.grad.numpy()), np.sqrt(np.mean(change**2)), np.abs(change).max()]
        assert all(is_shown(number, float(value), 4) for number, value in zip(numbers, expected, strict=True))
    assert "1 step of your own" in window.texts("#deviations")[0]
    assert "step 0 + 1 of your own" in window.texts("#status")[0]
    change = (after["layers.0.weight"] - before["layers.0.weight"]).T.reshape(30, 28, 28)
    scale = np.percentile(np.abs(change), 99.5)
    levels = np.rint((change / scale).clip(-1, 1) * 127)
    np.testing.assert_allclose(window.pixels("#tiles .tile:nth-child(2) canvas"), signed_image(levels[1]), atol=1)


def test_training_live_two_windows_and_reload(opened: Any, data: mnist.Dataset) -> None:
    subject = ZooSubject(data, Network())
    one, two = opened(subject), opened()
    one.tab.click("#step")
    one.trained(1)
    two.trained(1)
    one.tab.click("#epoch")
    two.trained(100)
    assert one.tab.evaluate("document.activeElement.id") == "epoch"  # a button that does nothing just now keeps it
    assert one.tab.evaluate("document.querySelector('#status').ariaLive") == "polite"
    names = one.tab.evaluate("[...document.querySelectorAll('#plots title')].map((t) => t.textContent)")
    assert [re.sub(r", .*", "", name) for name in names] == [
        "cost C", "accuracy", "saturated neurons", "size (RMS) of the gradient by layer"
    ]  # fmt: skip
    assert all(re.search(r"(now|hidden|layer 1) \d", name) for name in names)
    expected = Training(Network(epochs=1), data)
    record: Any = next(expected.fit())
    assert subject.training.model.state_dict()["layers.0.weight"].tobytes() == (
        expected.model.state_dict()["layers.0.weight"].tobytes()
    )
    assert "The command line comes to the same bits." in one.texts("#deviations")
    labels = " ".join(two.texts("#plots .label"))
    assert f"epoch {record.cost:.3f}" in labels
    assert f"valid. {100 * record.validation:.1f} %" in labels
    two.tab.click("#run")
    one.until("document.querySelector('#run').textContent === 'pause'")
    one.draw(TWO)  # while it trains
    one.tab.click("#run")
    two.until("document.querySelector('#status').textContent.startsWith('paused')")
    step = two.tab.evaluate("document.body.dataset.step")
    one.tab.reload()
    one.tab.wait_for_selector("#labels button")
    assert one.tab.evaluate("document.body.dataset.step") == step
    one.tab.click("#restart")
    two.trained(0)


def test_two_settings_are_compared(opened: Any, data: mnist.Dataset) -> None:
    window = opened(ZooSubject(data, Network1(lr=0.1, momentum=0.0)))
    assert window.preset() == "momentum, 1: η 0.1 without it"
    assert window.texts("#plots .empty")[0] == "start, and see how wrong it is"
    assert window.tab.locator(".curve.before").count() == 0
    assert window.tab.is_disabled("#kinds [data-kind=learned]")
    first = next(text for text in window.texts("#plots .label") if text.startswith("now "))
    window.tab.click("#epoch")
    window.trained(32)
    assert window.tab.get_attribute("#kinds [data-kind=learned]", "aria-pressed") == "true"
    assert "".join(window.texts("#plots .empty")) == ""
    cost = next(text for text in window.texts("#plots .label") if text.startswith("now "))
    window.tab.select_option("#preset", label="momentum, 2: η 0.1 with μ 0.9")
    window.trained(0)
    assert window.texts("#before") == ["before: μ 0.0"]
    assert window.tab.locator(".curve.before").count() == 2
    assert first.replace("now", "before") in window.texts("#plots .label")  # at the same step
    window.tab.click("#epoch")
    window.trained(32)
    labels = window.texts("#plots .label")
    assert cost.replace("now", "before") in labels
    assert any("velocity: " in text for text in window.texts("#plots figcaption"))
    window.tab.click("#restart")
    window.trained(0)
    assert window.texts("#before") == ["before: the same settings"]
    window.tab.reload()
    window.tab.wait_for_selector(".curve.before", state="attached")


def test_small_gradients_do_not_stretch_the_axis(opened: Any) -> None:
    window = opened()
    figure = window.tab.evaluate(
        """async () => { const { curves } = await import('/curves.js');
        const other = { cost: 1, validation: 0, velocity: null, saturated: {} };
        const point = (step, norm) => ({ ...other, step, gradients: { w: norm } });
        const points = [point(0, null), point(1, 0.5), point(2, 3e-9), point(3, 0)];
        return curves({ points, step: 3, records: [], began: 0, total: 1, former: null }).at(-1).outerHTML }"""
    )
    assert "edge: ≤ 1e−4" in figure
    assert ">w 0<" in figure
    places = [place.split(",") for place in re.findall(r'points="([^"]*)"', figure)[0].split()]
    assert len(places) == 3
    assert places[1][1] == places[2][1] > places[0][1]


def test_being_right_by_chance_is_not_called_right_alone(opened: Any, data: mnist.Dataset) -> None:
    subject = ZooSubject(data, Network())
    network: Any = subject.training.model
    output = network.layers[2]
    output.weight.data[:], output.bias.data[:] = 0, -8  # a dead network: it says 0.0003 to all ten
    output.bias.data[3] = -7
    window = opened(subject)
    split = data.test
    assert split is not None
    three = int(np.flatnonzero(split.labels == 3)[0])
    window.tab.click("#example")
    for i in range(three):
        window.until(f"document.querySelector('#note').textContent.startsWith('Test digit {i},')")
        window.tab.click("#example")
    window.until("document.querySelector('#verdict').textContent.startsWith('a 3? Right')")
    verdict = window.texts("#verdict")[0]
    share = np.mean(data.validation.labels == 3)
    assert "a 3? Right, by chance: by 0.001 to 3e-4 for 0. No output reaches 0.5." in verdict
    assert f"When it says 3, it is right in {100 * share:.0f} %." in verdict
    assert window.texts("#lost")[0].startswith("⚑ Not recognized yet, and saturated: 0, 1, 2, 4, 5, 6, 7, 8, 9;")


def test_what_a_hidden_neuron_looks_for(opened: Any, data: mnist.Dataset) -> None:
    subject = ZooSubject(data, Network1())
    window = opened(subject)
    window.tab.focus("#tiles .tile")
    window.tab.keyboard.press("ArrowRight")
    window.tab.keyboard.press("Enter")
    window.tab.wait_for_selector("#neuron", state="visible")
    network: Any = subject.training.model
    said = network.layers[1](network.layers[0](data.validation.images)).numpy()[:, 1]
    means = [said[data.validation.labels == c].mean() for c in range(10)]
    assert [float(text) for text in window.texts("#neuron-bars .number")] == pytest.approx(means, abs=0.0051)
    assert re.search(rf"on average \S+ of an? {np.argmax(means)},", window.texts("#neuron-text")[0])
    np.testing.assert_array_equal(window.pixels("#neuron-image"), window.pixels("#tiles .tile:nth-child(2) canvas"))
    window.tab.click("#tiles .tile:nth-child(2)")
    window.tab.wait_for_selector("#neuron", state="hidden")


def test_settings_and_the_address(opened: Any, data: mnist.Dataset) -> None:
    subject: Any = ZooSubject(data, Network())
    window = opened(subject, "#network=network1&mu=0.25&seed=4")
    assert subject.network == Network1(momentum=0.25, seed=4)
    window.tab.click("#step")
    window.trained(1)
    window.tab.click("#all-settings summary")
    window.tab.fill("#settings [name=eta]", "0.5")
    window.tab.keyboard.press("Enter")
    window.until("location.hash.includes('eta=0.5')")
    assert subject.training.optimizer.groups[0]["lr"] == 0.5
    assert "η 0.5 from step 2 on" in window.texts("#deviations")[0]
    window.tab.select_option("#settings [name=cost]", "cross-entropy")
    window.trained(0)
    assert subject.network == Network1(momentum=0.25, seed=4, lr=0.5, cost="cross-entropy")
    command = "python -m zoo.network1 --cost cross-entropy --seed 4 --mu 0.25"
    assert window.texts("#command") == [command]  # 0.5 is that cost's own rate
    assert window.preset() == "settings of your own"
    window.tab.select_option("#preset", label="the digit that seed 17 loses")
    window.until("location.hash === '#network=network&seed=17'")
    assert subject.network == Network(seed=17)
    assert window.preset() == "the digit that seed 17 loses"
    assert "output for 8" in window.texts("#watch")[0]
    window.tab.click("#step")
    window.trained(1)
    for rate, said in (("2.5", "η 2.5"), ("3.0", "η 3.0")):  # the preset's own, but not from the first step on
        window.tab.fill("#settings [name=eta]", rate)
        window.tab.keyboard.press("Enter")
        window.until(f"document.querySelector('#deviations').textContent.includes('{said} from step 2')")
        assert window.preset() == "settings of your own"
    window.tab.select_option("#settings [name=network]", "network3")
    window.tab.wait_for_selector("#settings [name=lambda]")
    window.tab.fill("#settings [name=lambda]", "-1")
    window.tab.keyboard.press("Enter")
    window.until("document.querySelector('#settings-error').textContent.endsWith('1.0 stays')")
    assert "λ: expected a number of at least 0, got '-1'" in window.texts("#settings-error")[0]
    assert window.tab.input_value("#settings [name=lambda]") == "1.0"
    assert any("400" in line for line in window.said)
    window.said.clear()


def test_the_charts_have_one_axis_and_are_seen_without_scrolling(opened: Any, data: mnist.Dataset) -> None:
    window = opened(ZooSubject(data, Network1()))
    window.tab.click("#epoch")
    window.trained(32)
    window.tab.click("#restart")  # what was before goes on to the right, in all of them
    window.trained(0)
    for _ in range(2):
        window.tab.click("#step")
        window.until("document.querySelector('#status').textContent.startsWith('paused')")
    window.trained(2)
    ends = window.tab.evaluate(
        """[...document.querySelectorAll('#plots svg')].map((s) => [s.querySelector('.curve.a').points,
        s.querySelector('.grid').x2.baseVal.value].map((p) => p.length ? [...p].at(-1).x : p))"""
    )
    assert len(ends) == 4
    assert all(end == pytest.approx(ends[0]) for end in ends)
    bottom = window.tab.evaluate("document.querySelector('#plots').getBoundingClientRect().bottom")
    assert bottom <= SIZES["screen"][1]
    assert window.tab.locator("#plots text", has_text="step 0").count() == 1


def test_keys_draw(opened: Any) -> None:
    window = opened()
    window.tab.focus("#pad")
    window.tab.keyboard.press(" ")
    for _ in range(14):
        window.tab.keyboard.press("ArrowDown")
    window.until("document.querySelector('#verdict').textContent !== ''")
    window.tab.keyboard.press(" ")
    window.tab.focus("#clear")
    window.tab.keyboard.press("Enter")
    window.until("document.querySelector('#verdict').textContent === ''")


def test_test_digits_and_those_it_misses(opened: Any, data: mnist.Dataset) -> None:
    window = opened()
    window.tab.click("#example")
    window.until("document.querySelector('#note').textContent.startsWith('Test digit 0')")
    assert data.test is not None
    assert f"a {data.test.labels[0]}." in window.texts("#note")[0]
    window.tab.click("#wrong")
    window.until("document.querySelector('#verdict').textContent.includes('But it is')")


class Odd(nn.Module):
    """A network with a part that has an odd name."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.first, self.second = nn.Linear(784, 20, rng=rng), nn.Linear(20, 15, rng=rng)
        setattr(self, "<img src=x>", nn.Linear(15, 10, rng=rng))

    def forward(self, x: Any) -> Any:
        return getattr(self, "<img src=x>")(sigmoid(self.second(sigmoid(self.first(x)))))


def test_any_module(opened: Any, data: mnist.Dataset) -> None:
    model = Odd(np.random.default_rng(0))
    window = opened(OwnSubject(model, data))
    window.draw(TWO)
    assert len(window.texts("#tiles .tile")) == 20
    assert len(window.texts("#layers .tile")) == 15
    rows = {tile.bounding_box()["y"] for tile in window.tab.locator("#layers .tile").all()}
    assert len(rows) < 5  # not one below the other
    window.tab.click("#step")
    window.trained(1)
    assert window.tab.is_hidden("#command")
    window.tab.click("#labels button:nth-child(3)")
    window.tab.click("#learn")
    window.tab.wait_for_selector("#moved p")
    assert any(text.startswith("<img src=x>.weight") for text in window.texts("#moved th"))  # names are texts


def test_a_rule_is_broken_and_found(opened: Any) -> None:
    window = opened()
    window.tab.click("#show-breaking")
    window.tab.wait_for_selector("#op option", state="attached")
    window.tab.select_option("#op", "mul")
    assert window.texts("#rule") == ["lambda g, out, x, y: -(g * y)"]
    window.tab.click("#break")
    window.tab.wait_for_selector("#found pre", timeout=90_000)
    assert window.texts("#found pre")[0].startswith("mul(array(")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_out_of_its_window(size: str, scheme: str, opened: Any) -> None:
    window = opened(size=size, scheme=scheme)
    window.draw(TWO)
    width = SIZES[size][0]
    assert window.tab.evaluate("document.documentElement.scrollWidth") <= width
    outside = window.tab.evaluate(
        f"[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > {width} + 1).length"
    )
    assert outside == 0
    if size == "phone":
        small = window.tab.evaluate(
            "[...document.querySelectorAll('button')].filter((b) => b.offsetHeight && b.offsetHeight < 34).length"
        )
        assert small == 0


def started(digits: Any, port: str = "0") -> tuple[Any, str]:
    """The program, and its address."""
    command = [sys.executable, "-m", "zoo.sketch", "--no-browser", "--port", port]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(digits), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[0]


def test_a_program_that_is_started_again_gets_the_settings_of_its_page(chromium: Any, digits: Any) -> None:
    process, address = started(digits)
    settings = "#network=network1&eta=0.5&seed=4"
    try:
        window = Opened(chromium, f"{address}{settings}&mu=7")
        assert window.texts("#told")[0].endswith("got '7'; 0.5 is taken")
        window.draw(TWO)
        window.tab.click("#step")
        window.trained(1)
        assert window.texts("#told") == [""]
        process.kill()
        process.communicate(timeout=30)
        window.tab.wait_for_selector("#gone", state="visible")
        process, again = started(digits, address.split(":")[-1].rstrip("/"))
        assert again == address
        window.until("document.querySelector('#told').textContent.includes('started again')")
        window.trained(0)
        assert window.tab.is_hidden("#gone")
        assert window.tab.evaluate("location.hash") == settings
        assert window.texts("#command") == ["python -m zoo.network1 --eta 0.5 --seed 4"]
        assert window.drawing().any()
        assert all("ERR_" in line for line in window.said)  # of the requests that nobody answers
        window.said.clear()
        window.close()
    finally:
        process.kill()
        process.communicate()


def test_a_server_that_ends_is_told_and_ends_cleanly(chromium: Any, digits: Any) -> None:
    process, address = started(digits)
    try:
        window = Opened(chromium, address)
        window.tab.click("#run")
        window.until("document.body.dataset.step !== '0'")
        assert window.tab.is_hidden("#gone")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors) == (130, "", "interrupted\n")
        window.tab.wait_for_selector("#gone", state="visible")
        assert all("ERR_" in line for line in window.said)  # of the requests that nobody answers
        window.said.clear()
        window.close()
    finally:
        process.kill()
        process.wait()
