"""The network in training: one thread that trains, one lock, and any number of windows that look.

The training is `subject.training.fit`, with a progress function that lets others in between two steps. Whoever looks,
or takes a step of their own, holds the lock, so that no step happens meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from tinygrad_mnist import mnist, train
from tinygrad_mnist.command import one_line
from tinygrad_mnist.tensor import Array, Tensor, leaf

from .seeing import evaluation, finite, first_weights, look, moved, row, tiles
from .subjects import Subject

SAMPLE = 1000
"""On how many validation digits, the first ones, cost and accuracy are measured while the network trains."""

SECONDS = 0.1
"""How often they are measured."""

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
        self._begin()

    # --- The thread that trains ---

    def _begin(self) -> None:
        """Forget what was measured, and have a thread wait for its first step."""
        self.steps, self.in_epoch, self.total, self.target = 0, 0, 0, 0.0
        self.points: list[dict[str, Any]] = []
        self.fault, self.own_steps, self.changes = "", 0, list[str]()
        self.began = len(self.subject.training.history)
        self.ready = threading.Event()
        data = self.subject.data
        self.weights = first_weights(self.subject.training.model, data.train.images[0], data.image_shape)
        self.first = None if self.weights is None else self.weights.data.copy()
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
        """Note the cost, the accuracy, and the norms of the last step's gradients."""
        training, data = self.subject.training, self.subject.data
        split = data.validation if len(data.validation) else data.train
        images, labels = split.images[:SAMPLE], split.labels[:SAMPLE]
        targets = np.eye(data.n_classes, dtype=np.float32)[labels]
        with np.errstate(all="ignore"), evaluation(training.model):
            outputs = train.evaluate(training.model, images)
            cost = self.subject.cost(leaf(outputs), leaf(targets)).item()
            shown = self.subject.probabilities(outputs)
            right = shown.argmax(1) == labels
        recall = [finite(right[labels == c].mean()) if (labels == c).any() else None for c in range(data.n_classes)]
        point = {
            "step": self.steps,
            "cost": finite(cost),
            "validation": float(right.mean()),
            "norms": _norms(training.model),
        }
        saturated = float(np.mean((shown < 0.01) | (shown > 0.99))) if shown.min() >= 0 and shown.max() <= 1 else None
        if self.points and self.points[-1]["step"] == self.steps:
            self.points.pop()
        self.points.append({**point, "recall": recall, "saturated": saturated})
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
            running = self.running
            self.end()
            begin()
            self._begin()
            if running:
                self.go("run")

    @property
    def running(self) -> bool:
        """Whether steps are being taken."""
        return self.steps < self.target and not self.fault

    def change(self, network: str, given: dict[str, str]) -> None:
        """Take other settings over: between two steps, or in a new training. A ValueError if they cannot be."""
        with self.order:
            self._change(network, given)

    def _change(self, network: str, given: dict[str, str]) -> None:
        before = self.subject.training
        with self.still():
            described = self.subject.described()["address"]
            anew = self.subject.change(network, given)
            if not anew and described != (now := self.subject.described()["address"]) and self.steps:
                said = [
                    f"{key} {now.get(key, 'default')}"
                    for key in {**described, **now}
                    if described.get(key) != now.get(key)
                ]
                self.changes.append(f"{', '.join(said)} from step {self.steps + 1:,} on")
            self.version += 1
        if anew:
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
            return {"step": self.steps, **self._look(pixels, label)}

    def _look(self, pixels: Array, label: int | None) -> dict[str, Any]:
        subject = self.subject
        return look(subject.training.model, subject.cost, subject.probabilities, pixels, subject.data.n_classes, label)

    def learn(self, pixels: Array, label: int) -> dict[str, Any]:
        """Take one step of the training's own optimizer with this digit alone; what it changed."""
        training, n_classes = self.subject.training, self.subject.data.n_classes
        with self.still():
            before = self._look(pixels, label)
            weights = {name: p.data.copy() for name, p in training.model.named_parameters()}
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
                "norms": _norms(training.model),
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
                "status": status,
                "fault": self.fault,
                "step": self.steps,
                "in_epoch": self.in_epoch,
                "total": self.total,
                "epoch": len(training.history),
                "began": self.began,
                "rate": training.optimizer.groups[0]["lr"],
                "own_steps": self.own_steps,
                "changes": self.changes[-6:],
                "records": [
                    {k: finite(v) if isinstance(v, float) else v for k, v in asdict(e).items()}
                    for e in training.history[-POINTS:]
                ],
                "points": self.points,
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


def _norms(model: Any) -> dict[str, float | None]:
    """The norms of the gradients of the last step, by parameter; None before the first."""
    with np.errstate(all="ignore"):
        return {
            name: finite(np.linalg.norm(p.grad.data)) if isinstance(p.grad, Tensor) else None
            for name, p in model.named_parameters()
        }
