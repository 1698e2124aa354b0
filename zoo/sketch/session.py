"""The network in training: one thread that trains, one lock, and any number of windows that look.

The training is `subject.training.fit`, with a progress function that lets others in between two steps. Whoever looks,
or takes a step of their own, holds the lock, so that no step happens meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from tinygrad_mnist import mnist, train
from tinygrad_mnist.command import one_line
from tinygrad_mnist.tensor import Array, leaf

from .measuring import SAMPLE, gradients, measured, neuron
from .seeing import evaluation, finite, first_weights, look, moved, row, tiles
from .subjects import Subject

SECONDS = 0.1
"""How often cost, accuracy and gradients are measured."""

POINTS = 300
"""How many measurements are kept; of more, every second of the older half is left out."""


class _Ended(Exception):  # noqa: N818 (not an error)
    """The training is not wanted any more."""


class Session:
    """What all windows look at.

    Args:
        subject: what is trained.

    Attributes:
        version: moves whenever there is something new to see.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.lock = threading.Lock()  # held by whoever computes with the network
        self.order = threading.RLock()  # held by whoever changes what is trained
        self.changed = threading.Condition()
        self.visitors = 0
        self.version = 0
        self.thread: threading.Thread | None = None
        self.generation = 0
        self.program = secrets.token_hex(8)  # another one is another program, at the same address
        self.former: dict[str, Any] | None = None  # the training before this one, to compare with
        self._begin()

    # --- The thread that trains ---

    def _begin(self, begin: Callable[[], None] = lambda: None) -> None:
        """Begin, forget what was measured, and have a thread wait for its first step; nobody sees half of that."""
        with self.lock:
            begin()
            self.steps, self.in_epoch, self.total, self.target = 0, 0, 0, 0.0
            self.points: list[dict[str, Any]] = []
            self.fault, self.own_steps, self.changes = "", 0, list[str]()
            self.began = len(self.subject.training.history)
            self.ready = threading.Event()
            data = self.subject.data
            self.weights = first_weights(self.subject.training.model, data.train.images[0], data.image_shape)
            self.first = None if self.weights is None else self.weights.data.copy()
            self.settings = self._settings()
            self._measure()
            self.thread = threading.Thread(target=self._train, args=(self.generation,), daemon=True)
        self.thread.start()
        self.ready.wait(60)
        self.version += 1

    def end(self) -> None:
        """End the thread; the network stays as it is after its last step."""
        with self.changed:
            self.generation += 1
            self.changed.notify_all()
        if self.thread is not None:
            self.thread.join()

    def _train(self, generation: int) -> None:
        def progress(batches: Iterable[Any], total: int, desc: str) -> Iterator[Any]:
            self.in_epoch, self.total = 0, total
            for batch in batches:
                self._wait(generation)
                yield batch  # and the step is done
                self.steps, self.in_epoch = self.steps + 1, self.in_epoch + 1
                if self.steps >= self.target or time.monotonic() - self.measured > SECONDS:
                    self._measure()

        with self.lock:
            try:
                for _ in self.subject.training.fit(progress):
                    self._measure()
            except _Ended:
                pass
            except Exception as error:  # whatever a user's model or cost raises is said on the page
                self.fault = one_line(str(error)) or type(error).__name__
                self.target = 0
                self.version += 1
            finally:
                self.ready.set()

    def _wait(self, generation: int) -> None:
        """Let others in, and wait until a step is wanted."""
        if self.steps >= self.target and self.points[-1]["step"] != self.steps:
            self._measure()
        while True:
            self.lock.release()
            self.ready.set()
            try:
                with self.changed:
                    self.changed.wait_for(lambda: self.steps < self.target or self.generation != generation)
                while self.visitors and self.generation == generation:
                    time.sleep(0.0002)  # a lock that is released and taken again at once would let nobody in
            finally:
                self.lock.acquire()
            if self.generation != generation:
                raise _Ended
            if self.steps < self.target:  # of which a visitor may have thought better
                return

    def _measure(self) -> None:
        """Note how the training stands."""
        point, self.classes = measured(self.subject, self.steps)
        if self.points and self.points[-1]["step"] == self.steps:
            self.points.pop()
        self.points.append(point)
        if len(self.points) > POINTS:
            half = POINTS // 2
            self.points = [*self.points[:half:2], *self.points[half:]]
        self.measured = time.monotonic()
        self.version += 1

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Nobody trains in the block."""
        with self.changed:
            self.visitors += 1
        try:
            with self.lock:
                yield
        finally:
            with self.changed:
                self.visitors -= 1

    # --- What windows ask for ---

    def go(self, how: str) -> None:
        """Train: "run" until told otherwise, one "step", to the end of the "epoch"; or "pause", or "restart"."""
        if how == "restart":
            self._anew(self.subject.begin)
            return
        with self.order, self.still():
            left = self.total - self.in_epoch if self.total else 1
            until = {"run": math.inf, "step": self.steps + 1, "epoch": self.steps + left, "pause": 0}
            if how not in until:
                raise ValueError(f"{how!r:.40} is none of {', '.join(until)}, restart")
            if self.fault and how != "pause":
                raise ValueError(f"{self.fault}; start anew")
            with self.changed:
                self.target = until[how]
                self.version += 1
                self.changed.notify_all()

    def _anew(self, begin: Callable[[], None]) -> None:
        with self.order:
            endless = self.running and self.target == math.inf  # not one epoch that was asked for
            self.end()
            if self.steps:  # of which `settings` still tells, whatever the subject was changed to
                self.former = {"settings": self.settings, "changes": self.changes, "points": self.points}
            self._begin(begin)
            if endless:
                self.go("run")

    def _settings(self) -> dict[str, str]:
        """The settings as the page writes them: the network's name, and by their labels what its form has."""
        described = self.subject.described()
        name = {"network": described["address"]["network"]} if described["address"] else {}
        return {**name, **{field["label"]: field["value"] for field in described["fields"]}}

    @property
    def running(self) -> bool:
        """Whether steps are being taken."""
        return self.steps < self.target and not self.fault

    def change(self, network: str, given: dict[str, str], anew: bool = False) -> None:
        """Take other settings over: between two steps, or in a new training. A ValueError if they cannot be.

        Args:
            network: its name.
            given: settings that are not its defaults, as texts by name.
            anew: whether the training begins anew in any case.
        """
        with self.order:
            self._change(network, given, anew)

    def read(self, network: str, given: dict[str, str], typed: bool) -> list[str]:
        """Take over what of an address can be had; what is said of the rest, a line each."""
        with self.order:
            name, settings, remarks = self.subject.read(network, given, typed)
            if name is not None:
                self.change(name, settings)
        return remarks

    def _change(self, network: str, given: dict[str, str], restart: bool) -> None:
        before = self.subject.training
        with self.still():
            settings = self._settings()
            anew = self.subject.change(network, given)
            now = self._settings()
            if not (anew or restart) and settings != now and self.steps:
                said = [f"{key} {now[key]}" for key in now if settings.get(key) != now[key]]
                self.changes.append(f"{', '.join(said)} from step {self.steps + 1:,} on")
            if not (anew or restart):
                self.settings = self._settings()
            self.version += 1
        if not anew and restart:
            self._anew(self.subject.begin)
        elif anew:
            made, self.subject.training = self.subject.training, before  # the thread ends with its own
            self._anew(lambda: setattr(self.subject, "training", made))

    @property
    def digits(self) -> mnist.Split:
        """Those to look at: which the network was not trained on, if there are any."""
        data = self.subject.data
        return data.test if data.test is not None else data.validation if len(data.validation) else data.train

    def pixels_of(self, example: int) -> tuple[Array, int]:
        """A digit to look at, one of `digits`, and what it is."""
        split = self.digits
        return split.images[example % len(split)], int(split.labels[example % len(split)])

    def wrong_after(self, example: int) -> int:
        """The next digit after this one that the network gets wrong; itself if there is none."""
        split = self.digits
        with self.still(), np.errstate(all="ignore"), evaluation(self.subject.training.model):
            answers = train.evaluate(self.subject.training.model, split.images).argmax(1)
        wrong = np.flatnonzero(answers != split.labels)
        return int(wrong[np.searchsorted(wrong, example, "right") % len(wrong)]) if len(wrong) else example

    def look(self, pixels: Array, label: int | None) -> dict[str, Any]:
        """What the network makes of a digit now."""
        with self.still():
            return {"step": self.steps, "own_steps": self.own_steps, **self._look(pixels, label)}

    def _look(self, pixels: Array, label: int | None) -> dict[str, Any]:
        subject = self.subject
        return look(subject.training.model, subject.cost, subject.probabilities, pixels, subject.data.n_classes, label)

    def neuron(self, number: int) -> dict[str, Any]:
        """What a hidden neuron says of each class now."""
        with self.still():
            count = 0 if self.weights is None else tiles(self.weights.data, self.subject.data.image_shape)["count"]
            if number >= count:
                raise ValueError(f"neuron: expected a number below {count}, got {number}")
            return neuron(self.subject, number)

    def learn(self, pixels: Array, label: int) -> dict[str, Any]:
        """Take one step of the training's own optimizer with this digit alone; what it changed."""
        training, n_classes = self.subject.training, self.subject.data.n_classes
        with self.still():
            before = self._look(pixels, label)
            weights = {name: p.data.copy() for name, p in training.model.named_parameters()}
            kept = sorted({name for state in training.optimizer.state.values() for name in state})
            parts = [(part, part.training) for part in training.model.modules()]
            training.model.train()
            with np.errstate(over="ignore", invalid="ignore"):
                loss = self.subject.cost(training.model(leaf(pixels[None])), leaf(row(label, n_classes)))
                training.optimizer.zero_grad()
                loss.backward()
                training.optimizer.step()
            for part, was in parts:
                part.training = was
            self.own_steps += 1
            after = {name: p.data for name, p in training.model.named_parameters()}
            result = {
                "before": before,
                "after": self._look(pixels, label),
                **moved(weights, after),
                "gradients": gradients(training.model),
                "kept": kept,
                "tiles": None,
            }
            if self.weights is not None:
                name = next(n for n, p in training.model.named_parameters() if p is self.weights)
                result["tiles"] = tiles(self.weights.data - weights[name], self.subject.data.image_shape)
            self._measure()
        return result

    def state(self) -> dict[str, Any]:
        """All that a window shows of the training."""
        with self.still():
            data, training = self.subject.data, self.subject.training
            shape = data.image_shape
            status = "stopped" if self.fault else "running" if self.running else "paused"
            return {
                "version": self.version,
                "program": self.program,
                "run": self.generation,
                "status": status,
                "fault": self.fault,
                "step": self.steps,
                "in_epoch": self.in_epoch,
                "total": self.total,
                "epoch": len(training.history),
                "began": self.began,
                "lr": training.optimizer.groups[0]["lr"],
                "own_steps": self.own_steps,
                "changes": self.changes[-6:],
                "records": [
                    {k: finite(v) if isinstance(v, float) else v for k, v in asdict(e).items()}
                    for e in training.history[-POINTS:]
                ],
                "points": self.points,
                "settings": self.settings,
                "former": self.former,
                **self.classes,
                "tiles": None if self.weights is None else tiles(self.weights.data, shape),
                "learned": None if self.weights is None else tiles(self.weights.data - self.first, shape),
                "data": {
                    "shape": list(shape),
                    "classes": data.n_classes,
                    "train": len(data.train),
                    "sample": min(SAMPLE, len(data.validation) or len(data.train)),
                    "digits": len(self.digits),
                },
                **self.subject.described(),
            }
