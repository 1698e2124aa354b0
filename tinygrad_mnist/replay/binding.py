"""The function that replays: a program with the arrays that there are now, behind a test that all is as recorded.

It is written as Python text, so that the test is one expression, and checked at each call in a few microseconds.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from tinygrad_mnist.mode import mode
from tinygrad_mnist.tensor import Tensor, last_change, leaf, tick

from .formula import Slot
from .numpy_text import NumPyText
from .program import Buffer
from .recording import Recorder
from .watching import PLAIN, Kind, Watch, same, same_keys

_owned: WeakValueDictionary[tuple[int, int, str, int], Any] = WeakValueDictionary()
"""The arrays of states that programs write into, by the place and the id of the array."""

MISS = object()
"""What a replay returns if something is not as it was recorded."""


def bind(
    text: NumPyText,
    recorder: Recorder,
    kinds: Sequence[Kind],
    watches: Sequence[Watch],
    *,
    linked: bool,
    tree: Any,
    lock: Any,
) -> Callable[..., Any]:
    """Make the function that replays a program.

    Args:
        text: the program.
        recorder: of the recording that it was made from.
        kinds: what the arguments must be like.
        watches: what else must be as it was.
        linked: whether results were linked to the graph.
        tree: what the step returns, with buffers for its Tensors.
        lock: held while the program runs, since its memory is that of all its calls.
    """
    return _Binder(text, recorder, lock).function(kinds, watches, linked, tree)


class _Binder:
    """Collects the text of the function: statements for its arguments, and tests."""

    def __init__(self, text: NumPyText, recorder: Recorder, lock: Any) -> None:
        self.text, self.recorder = text, recorder
        self.space: dict[str, Any] = {
            "MISS": MISS, "mode": mode, "Tensor": Tensor, "ndarray": np.ndarray, "leaf": leaf, "tick": tick,
            "lock": lock, "same": same, "same_keys": same_keys,
        }  # fmt: skip
        self.lines: list[str] = []
        self.tests: list[str] = []

    def named(self, value: Any) -> str:
        """A name for a value in the text."""
        self.space[name := f"k{len(self.space)}"] = value
        return name

    def function(self, kinds: Sequence[Kind], watches: Sequence[Watch], linked: bool, tree: Any) -> Callable[..., Any]:
        """The function itself."""
        self.tests.append(f"mode.grad_enabled is {linked}")
        names = [f"a{i}" for i in range(len(kinds))]
        for name, kind in zip(names, kinds, strict=True):
            self._expect_argument(name, kind)
        arrays = self._outside()
        for w in watches:
            if w.how == "order" and not all(type(key) is str for key in w.value):
                self.tests.append(f"same_keys({self.named(w.owner)}, {self.named(w.value)})")
            elif w.how in ("length", "order"):
                self.tests.append(
                    f"{'len' if w.how == 'length' else 'list'}({self.named(w.owner)}) == {self.named(w.value)}"
                )
            else:
                self._expect(self._place(w), w.value)
        self._expect_optimizers()
        numbers = [self._number(n, i) for i, n in enumerate(self.text.numbers)]
        given = [name for name, kind in zip(names, kinds, strict=True) if kind.layout is not None]
        call = f"{self.named(self.text.bind(arrays))}({', '.join([*given, *numbers])})"
        results = [f"r{i}" for i in range(len(self.text.program.results))]
        updated = [f"{self.named(last_change(p))}[0]" for p in self.recorder.updated]
        body = [" = ".join([*updated, "tick()"])] if updated else []
        body.append(f"{', '.join(results)} = {call}" if results else call)
        returned = self._rebuilt(tree, iter(results))
        exec(self._source(names, body, returned), self.space)
        replay: Callable[..., Any] = self.space["replay"]
        return replay

    def _expect_argument(self, name: str, kind: Kind) -> None:
        if kind.layout is None:
            self._expect(name, kind.value)
            return
        self.lines += [f"if {name}.__class__ is Tensor:",
                       f"    if {name}._requires_grad is not {kind.tracked}: return MISS",
                       f"    {name} = {name}._array",
                       f"elif {kind.tracked} or {name}.__class__ is not ndarray: return MISS"]  # fmt: skip
        shape, dtype, strides = map(self.named, kind.layout)
        self.tests += [f"{name}.shape == {shape}", f"{name}.dtype == {dtype}", f"{name}.strides == {strides}"]

    def _place(self, watch: Watch) -> str:
        """The text that finds what is watched."""
        owner, key = self.named(watch.owner), watch.key
        if watch.how == "item":
            return f"{owner}[{self.named(key)}]"
        plain = key.isidentifier() and not keyword.iskeyword(key)
        return f"{owner}.{key}" if plain else f"getattr({owner}, {key!r})"

    def _expect(self, text: str, value: Any) -> None:
        """Test that a value is the same as it was; a number or a text may be another object."""
        name = self.named(value)
        plain = isinstance(value, PLAIN) and value is not None and not isinstance(value, bool)
        self.tests.append(f"({text} is {name} or same({text}, {name}))" if plain else f"{text} is {name}")

    def _outside(self) -> dict[Buffer, Any]:
        """The arrays of the buffers outside the step, which must stay the same ones."""
        arrays: dict[Buffer, Any] = {}
        for b in self.text.program.outside():
            source = b.source
            if isinstance(source, Tensor):
                arrays[b] = source._array
                t = self.named(source)
                self.tests += [f"{t}._array is {self.named(source._array)}", f"{t}._requires_grad is {b.tracked}"]
            elif isinstance(source, Slot):
                state = source.optimizer.state[source.key]
                array = state[source.name]
                place = (*source.place, id(array))
                if _owned.get(place) is not array:  # else another program's of that place, which share it
                    array = state[source.name] = array.copy(order="K")
                    _owned[(*source.place, id(array))] = array
                arrays[b] = array
                owner, key = self.named(source.optimizer), self.named(source.key)
                self.tests.append(f"{owner}.state[{key}][{source.name!r}] is {self.named(arrays[b])}")
            else:
                arrays[b] = source
        self.tests += [f"{self.named(p)}._grad is None" for p in self.recorder.updated]
        return arrays

    def _expect_optimizers(self) -> None:
        for optimizer, groups in self.recorder.groups:
            o = self.named(optimizer)
            self.tests.append(f"{o}._groups is {self.named(optimizer._groups)}")
            for group, _ in groups:
                self.tests.append(f"{self.named(group)}['params'] is {self.named(group['params'])}")
        for optimizer, p, count in self.recorder.states:
            self.tests.append(f"len({self.named(optimizer)}.state[{self.named(p)}]) == {count}")
        for n in self.recorder.frozen:
            self.tests.append(f"{self.named(n.owner)}[{n.key!r}] == {self.named(n.value)}")
        for n, value in self.recorder.truths.items():
            self.tests.append(f"({self.named(n.owner)}[{n.key!r}] != 0) is {value}")

    def _number(self, number: Any, place: int) -> str:
        """The name of a number that is read at each replay."""
        name = f"number{place}"
        self.lines.append(f"{name} = {self.named(number.owner)}[{number.key!r}]")
        self.tests.append(f"{name}.__class__ is {self.named(type(number.value))}")
        return name

    def _rebuilt(self, tree: Any, results: Iterator[str]) -> str:
        """The text of what a step returns."""
        if isinstance(tree, Buffer):
            return f"leaf({next(results)}{'.copy()' if tree.kind == 'constant' else ''})"
        if isinstance(tree, dict):
            items = (f"{self.named(key)}: {self._rebuilt(item, results)}" for key, item in tree.items())
            return f"{{{', '.join(items)}}}"
        if isinstance(tree, tuple | list):
            text = "".join(f"{self._rebuilt(item, results)}, " for item in tree)
            return f"({text})" if isinstance(tree, tuple) else f"[{text}]"
        return self.named(tree)

    def _source(self, names: Sequence[str], body: Sequence[str], returned: str) -> str:
        parameters = ", ".join([*(f"{name}=MISS" for name in names), "*others"])
        lines = "\n            ".join(self.lines)
        tests = "\n                and ".join(self.tests)
        statements = "\n        ".join(body)
        return f"""def replay({parameters}):
    if others or mode.observer is not None:
        return MISS
    with lock:
        try:
            {lines}
            if not (
                {tests}
            ):
                return MISS
        except (AttributeError, LookupError, ValueError):
            return MISS
        {statements}
    return {returned}
"""
