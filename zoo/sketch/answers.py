"""What the page asks for: the JSON of a request is looked at here, and answered by the session."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array

from ..images import read_pixels
from .breaking import CHANGES, breakable, broken
from .session import Session

SIDE = 280
"""Pixels a side of a drawing."""

Given = dict[str, Any]


class RequestError(ValueError):
    """A request that is not what the page sends."""


class Answers:
    """The answers of a session, each made of the JSON object that was sent.

    Attributes:
        by_path: what answers a request that sends something.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.one_at_a_time = threading.Lock()
        self.by_path: dict[str, Callable[[Given], Given]] = {
            "/go": self.go,
            "/change": self.change,
            "/address": self.address,
            "/look": self.look,
            "/learn": self.learn,
            "/wrong": self.next_wrong,
            "/neuron": self.neuron,
            "/break": self.break_rule,
        }

    def state(self) -> Given:
        """What there is to see now."""
        return self.session.state()

    def rules(self) -> Given:
        """The rules that can be broken, and in which ways."""
        return {"rules": breakable(), "changes": {name: text for name, (text, _) in CHANGES.items()}}

    def go(self, given: Given) -> Given:
        """Start, pause, or go one step or epoch."""
        self.session.go(_text(given, "how"))
        return {}

    def change(self, given: Given) -> Given:
        """Train with other settings, or anew."""
        network, settings = _settings(given)
        self.session.change(network, settings, given.get("anew") is True)
        return {}

    def address(self, given: Given) -> Given:
        """Take over the settings that stand in a window's address."""
        network, settings = _settings(given)
        return {"remarks": self.session.read(network, settings, given.get("typed") is True)}

    def look(self, given: Given) -> Given:
        """What the network makes of a digit."""
        pixels, about = self._digit(given)
        return {**about, **self.session.look(pixels, self._label(given))}

    def learn(self, given: Given) -> Given:
        """One real step with a digit."""
        pixels, about = self._digit(given)
        label = self._label(given)
        if label is None:
            raise RequestError("say what the digit is")
        return {**about, **self.session.learn(pixels, label)}

    def next_wrong(self, given: Given) -> Given:
        """The next test digit that is not recognized."""
        return {"example": self.session.wrong_after(_number(given, "example"))}

    def neuron(self, given: Given) -> Given:
        """What a hidden neuron says of each digit."""
        return self.session.neuron(_number(given, "neuron"))

    def break_rule(self, given: Given) -> Given:
        """What the property test finds where a rule is wrong."""
        if not self.one_at_a_time.acquire(blocking=False):
            raise RequestError("a rule is being tried already; wait for it")
        try:
            return broken(_text(given, "op"), _number(given, "place"), _text(given, "change"))
        finally:
            self.one_at_a_time.release()

    def _label(self, given: Given) -> int | None:
        if given.get("label") is None:
            return None
        label, n_classes = _number(given, "label"), self.session.subject.data.n_classes
        if label >= n_classes:
            raise RequestError(f"label: expected a class from 0 to {n_classes - 1}, got {label}")
        return label

    def _digit(self, given: Given) -> tuple[Array, Given]:
        """The digit of a request: an example of the data, or a drawing, prepared as by `zoo.predict`; and about it."""
        if given.get("example") is not None:
            example = _number(given, "example")
            pixels, label = self.session.pixels_of(example)
            return pixels, {"example": example, "truth": label}
        try:
            drawn = base64.b64decode(_text(given, "drawing"), validate=True)
        except ValueError:  # binascii.Error is one, and so is what a letter beyond ASCII raises
            raise RequestError("drawing: expected base64") from None
        if len(drawn) != SIDE * SIDE:
            raise RequestError(f"drawing: expected {SIDE} x {SIDE} bytes, got {len(drawn)}")
        values = np.frombuffer(drawn, np.uint8).reshape(SIDE, SIDE, 1).astype(np.float64)
        pixels, several = read_pixels(values, self.session.subject.data.image_shape)
        return pixels, {"several": several}


def _text(given: Given, name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{name}: expected a text")
    return value


def _settings(given: Given) -> tuple[str, dict[str, str]]:
    settings = given.get("settings")
    if not isinstance(settings, dict) or not all(isinstance(x, str) for x in settings.values()):
        raise RequestError("expected settings, texts by name")
    return _text(given, "network"), settings


def _number(given: Given, name: str) -> int:
    value = given.get(name)
    if type(value) is not int or not 0 <= value < 2**31:
        raise RequestError(f"{name}: expected a whole number of at least 0")
    return value
