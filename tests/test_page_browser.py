"""The page of a training step in a real browser: Chromium, driven by playwright. CI requires it, others may skip it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, mnist, nn, optim, visualize
from tinygrad_mnist.losses import quadratic_cost

from .browser import SIZES, Page
from .helpers import ROOT, named

pytestmark = pytest.mark.slow


class Opened(Page):
    """A page that was saved, without a network."""

    def __init__(self, browser: Any, file: Path, size: str = "screen", scheme: str = "light") -> None:
        super().__init__(browser, file.as_uri(), size, scheme, offline=True)

    def close(self) -> None:
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []
        super().close()

    @property
    def place(self) -> str:
        return str(self.tab.text_content("#count"))


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    pages: list[Opened] = []

    def open_page(page: Any, **options: str) -> Opened:
        pages.append(Opened(chromium, page.save(tmp_path / f"{len(pages)}.html"), **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def of_digits() -> tuple[Any, nn.Module, Any]:
    data, rng = mnist.load(ROOT / "data"), np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(784, 30, init="normal", bias="normal", rng=rng), nn.Sigmoid(),
        nn.Linear(30, 10, init="normal", bias="normal", rng=rng), nn.Sigmoid(),
    )  # fmt: skip
    optimizer = optim.Momentum(model.parameters(), lr=3.0)
    with visualize.trace():
        outputs = model(Tensor(data.train.images[:10], name="images"))
        cost = quadratic_cost(outputs, Tensor(np.eye(10, dtype="f")[data.train.labels[:10]], name="targets"))
    cost.name = "C"
    return cost, model, optimizer


def data_of(page: Any) -> Any:
    match = re.search(r'id="data">(.*?)</script>', page.html, re.S)
    assert match is not None
    return json.loads(match[1])


def rounded(exact: str) -> Decimal:
    """A number to three digits, halves away from zero, as JavaScript's toPrecision rounds the number itself."""
    return Context(prec=3, rounding=ROUND_HALF_UP).create_decimal(Decimal(float(exact)))


def test_every_number_shown_is_pythons(opened: Any) -> None:
    cost, model, optimizer = of_digits()
    made = visualize.page(cost, model=model, optimizer=optimizer)
    data = data_of(made)
    page = opened(made)
    compared = 0
    for step in data["steps"]:
        cards = page.tab.query_selector_all("#cards .array")
        assert page.tab.text_content("#headline") == step["title"]
        assert len(cards) == len(step["cards"])
        in_tables = [row for table in step.get("tables", []) for row in [*table["rows"], table["foot"]]]
        assert page.tab.eval_on_selector_all("#tables [data-exact]", "all => all.map(x => x.dataset.exact)") == [
            cell[0] for row in in_tables for cell in row if isinstance(cell, list)
        ]
        for card, told in zip(cards, step["cards"], strict=True):
            array = data["arrays"][told["array"]]
            shown = card.evaluate(
                "c => [...c.querySelectorAll('[data-exact]')].map(x => [x.dataset.exact, x.textContent, x.tagName])"
            )
            expected = [array["min"], array["max"], array["mean"], array["rms"]] if np.prod(array["shape"]) > 1 else []
            expected += array["values"].split() if "values" in array else array["part"]["values"].split()
            assert [exact for exact, _, _ in shown] == expected
            for exact, text, kind in shown:
                if kind in ("TD", "B"):
                    value = float(exact)
                    whole = value.is_integer() and abs(value) < 1e5
                    assert Decimal(text) == (Decimal(exact) if whole else rounded(exact)), (exact, text)
                compared += 1
        page.tab.keyboard.press("ArrowRight")
    assert compared > 3000
    names = dict(model.named_parameters())
    cost.backward(retain_graph=True)
    for one in data["items"]:
        if one["name"] in names:
            about = data["arrays"][one["gradient"]]
            g = names[one["name"]].grad
            assert g is not None
            assert (about["min"], about["max"]) == (str(g.data.min()), str(g.data.max()))
            assert float(one["rms"]) == pytest.approx(np.sqrt(np.square(g.data.astype(np.float64)).mean()), rel=1e-12)


def test_keys_buttons_and_the_slider_go_on_and_back(opened: Any) -> None:
    a, b = named(2.0, "a"), named(3.0, "b")
    page = opened(visualize.page(a * b + a))
    count = int(page.place.split()[-1])
    assert page.place == f"1 of {count}"
    page.tab.evaluate(f"location.hash = '#{count - 1}'")
    page.tab.locator("#count", has_text=f"{count - 1} of {count}").wait_for()
    page.tab.keyboard.press("Home")
    for press, expected in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("End", count), ("Home", 1)):
        page.tab.keyboard.press(press)
        assert page.place == f"{expected} of {count}"
    page.tab.click("#forth")
    page.tab.click("#forth")
    page.tab.click("#back")
    assert page.place == f"2 of {count}"
    page.tab.click("#phases [data-phase=backward]")
    assert page.tab.text_content("#headline").startswith("backward begins")
    page.tab.keyboard.press("ArrowRight")
    assert page.tab.text_content("#waiting") == "Still to be passed on, the youngest first:∂v1, complete"
    page.tab.fill("#place", str(count - 1))
    assert page.place == f"{count} of {count}"
    assert page.tab.is_disabled("#forth")
    page.tab.keyboard.press("Home")
    page.tab.click("#play")
    page.tab.locator("#count", has_text=f"2 of {count}").wait_for()
    page.tab.click("#play")
    assert page.tab.text_content("#play") == "play"


def test_what_is_pointed_at_lights_up_in_all_views(opened: Any) -> None:
    cost, model, optimizer = of_digits()
    page = opened(visualize.page(cost, model=model, optimizer=optimizer))
    page.tab.click("#phases [data-phase=forward]")
    page.tab.hover("#formula [data-items]")
    for view in ("#graph .node.lit", "#sources .lit", "#program .lit", "#formula .lit", "#cards .lit"):
        assert page.tab.locator(view).count() > 0, view
    page.tab.hover("#headline")
    assert page.tab.locator(".lit").count() == 0
    page.tab.locator("#graph .node.op").nth(2).click()
    assert "by linear" in page.tab.text_content("#headline")
    assert page.tab.locator("#program .now").count() > 0
    assert page.tab.locator("#sources .now").count() > 0


def test_the_first_screen_says_what_it_is_and_what_to_press(opened: Any) -> None:
    cost, model, optimizer = of_digits()
    page = opened(visualize.page(cost, model=model, optimizer=optimizer))
    assert page.tab.text_content("#hint").startswith("This is one step of training, slowed down. Press → or step ▶")
    box = page.tab.locator("#hint").bounding_box()
    assert box["y"] + box["height"] <= SIZES["screen"][1] / 2
    page.tab.keyboard.press("ArrowRight")
    assert page.tab.locator("#hint").is_hidden()


def test_each_gradients_own_statements_are_marked_and_their_names_explained(opened: Any) -> None:
    cost, model, optimizer = of_digits()
    made = visualize.page(cost, model=model, optimizer=optimizer)
    data, page = data_of(made), opened(made)
    program = data["program"]
    assert "notes every NumPy call" in page.tab.text_content("#statements h4")
    for step in data["steps"]:
        marked = page.tab.locator("#statements .now").all_text_contents()
        assert marked == [program["lines"][i] for i in step.get("lines", [])]
        said = page.tab.text_content("#legend")
        if marked:
            named_there = page.tab.locator("#legend b").all_text_contents()
            assert named_there == list(dict.fromkeys(named_there))
            code = " ".join(line for line in marked if "#" not in line)
            assert set(named_there) == set(re.findall(r"\w+", code)) & program["legend"].keys()
            assert all(program["legend"][name] in said for name in named_there)
        else:
            assert said == step.get("about", "")
        page.tab.keyboard.press("ArrowRight")
    page.tab.locator("#statements .listing > div", has_text="multiply(sub,").last.hover()
    assert "div 0.1, computed once" in page.tab.text_content("#legend")
    page.tab.hover("#headline")
    assert "div" not in page.tab.text_content("#legend")


def test_no_arrow_passes_through_the_name_of_a_frame(opened: Any) -> None:
    cost, model, optimizer = of_digits()
    page = opened(visualize.page(cost, model=model, optimizer=optimizer))
    boxes = "all => all.map(x => x.getBoundingClientRect().toJSON())"
    names = page.tab.eval_on_selector_all("#graph .frame-name", boxes)
    arrows = page.tab.eval_on_selector_all("#graph .arrow", boxes)
    assert len(names) >= 2
    for name in names:
        for arrow in arrows:
            apart = arrow["right"] < name["left"] or name["right"] < arrow["left"]
            assert apart or arrow["bottom"] < name["top"] or name["bottom"] < arrow["top"]


def test_a_number_below_the_bound_is_not_rounded_to_it(opened: Any) -> None:
    a = 0.5 + np.sqrt(0.25 - np.array([0.009996, 0.010004, 0.2]))  # of these slopes
    page = opened(visualize.page(Tensor(np.log(a / (1 - a)), True, name="z").sigmoid().sum()))
    page.tab.keyboard.press("ArrowRight")
    assert "1 of these 3 activations" in page.tab.text_content("#why")
    slopes = page.tab.locator("#cards .array").last.locator("td")
    assert slopes.all_text_contents() == ["0.009996", "0.01", "0.2"]
    assert slopes.nth(0).get_attribute("class") == "ringed"


def test_forward_values_appear_and_gradients_flow_back(opened: Any) -> None:
    a, b = named(2.0, "a"), named(3.0, "b")
    made = visualize.page(a * b + a)
    page = opened(made)
    assert page.tab.locator(".node.later").count() == 2
    for step in data_of(made)["steps"]:
        if step["phase"] == "forward":
            assert page.tab.locator(".arrow.flow").count() == 0
        if "flow" in step:
            assert page.tab.locator(".arrow.flow").count() == 1
            assert page.tab.locator(".node.later").count() == 0
            parts, uses = step["gradient"][2:]
            badges = page.tab.locator(".node .badge").all_text_contents()
            assert (f"{parts} of {uses}" in badges) == (parts < uses)
        page.tab.keyboard.press("ArrowRight")
    assert page.tab.locator(".node.updated").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_window_and_nothing_is_cut_off(opened: Any, size: str, scheme: str) -> None:
    cost, model, optimizer = of_digits()
    made = visualize.page(cost, model=model, optimizer=optimizer)
    page = opened(made, size=size, scheme=scheme)
    for _ in data_of(made)["steps"]:
        wide = page.tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
        for panel in ("#now", "#sources", "#statements", "#legend"):
            assert page.tab.eval_on_selector(panel, "panel => panel.scrollWidth - panel.clientWidth") <= 0, panel
        for button in ("#back", "#forth", "#play"):
            box = page.tab.locator(button).bounding_box()
            assert box["y"] + box["height"] <= SIZES[size][1]
            assert box["height"] >= 38
        page.tab.locator("#forth").dispatch_event("click")
    assert page.tab.screenshot()


def test_a_notebooks_frame_runs_and_hostile_names_stay_text(opened: Any, chromium: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=alert(1)>\"'ﬁ"
    made = visualize.page((named([1.0, 2.0], name) * 2).sum())
    page = opened(made)
    page.tab.keyboard.press("ArrowRight")
    assert page.tab.locator("#formula [data-items]").nth(1).text_content() == name
    (tmp_path / "notebook.html").write_text(f"<!DOCTYPE html>{made._repr_html_()}", encoding="utf-8")
    tab = chromium.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto((tmp_path / "notebook.html").as_uri())
    frame = tab.frames[1]
    frame.click("#forth")
    assert frame.text_content("#count").startswith("2 of")
    assert said == []
    tab.close()
