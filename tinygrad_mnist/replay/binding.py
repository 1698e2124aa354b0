"""The function that replays: a program with the arrays that there are now, behind a test that all is as recorded.

It is written as Python text, so that the test is one expression, and checked at each call in a few microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from tinygrad_mnist.mode import mode, version
from tinygrad_mnist.tensor import Array, Tensor, last_change, leaf, tick

from .formula import Slot
from .guards import Guards, array_of
from .numpy_text import NumPyText
from .program import Buffer
from .recording import Place, Recorder
from .results import Graphed, graphed
from .trees import PLAIN, put_together, same, same_items, taken_apart

_owned: WeakValueDictionary[tuple[int, int, str, int], Any] = WeakValueDictionary()
"""The arrays of states that programs write into, by the place and the id of the array."""

Variant = Any
"""`variant.Variant`, which imports this module."""

MISS = object()
"""What a replay returns if something is not as it was recorded."""


class Binding:
    """A program with the arrays that there are now.

    Args:
        variant: whose program it is.
        text: the program.
        lock: held while the program runs, since its memory is that of all its calls.
        counts: the calls of the step, a list.

    Attributes:
        arrays: of the buffers outside the step.
        replay: the function: what the step would return, or `MISS`.
        replay_many: likewise for many steps, given what the text's `steps` takes and the first one's arguments; it
            returns how many were taken. None if the text has no `steps`.
    """

    def __init__(self, variant: Variant, text: NumPyText, lock: Any, counts: list[int]) -> None:
        self.recorder = variant.recorder
        guards, arguments = variant.guards, variant.kinds
        self.space: dict[str, Any] = {
            "MISS": MISS, "mode": mode, "Tensor": Tensor, "ndarray": np.ndarray, "leaf": leaf, "tick": tick,
            "lock": lock, "same": same, "same_items": same_items, "version": version, "seen": guards.seen,
            "hold": guards.hold, "counts": counts, "due": variant.due, "viewing": _viewing,
            "put_together": put_together, "graphed": graphed,
        }  # fmt: skip
        self.lines: list[str] = []
        self.tests = ["due[0] < due[1]", f"mode.grad_enabled is {variant.key[0]}"]
        names = [f"a{i}" for i in range(len(arguments))]
        for i in range(len(arguments)):
            self._expect_argument(i, variant)
        self.arrays = {b: self._array(b) for b in text.program.outside()}
        self._expect_states()
        self._expect_containers(guards)
        self.tests.append("(version[0] == seen[0] or hold())")
        numbers = [n.text(self._named(n.owner)) for n in text.numbers]
        own = (i for i, kind in enumerate(arguments) if kind.layout and kind.twin is None)
        given = [f"x{i}" for i in own if i not in variant.pinned]
        made = text.bind(self.arrays)
        self.step: Callable[..., Any] = made["step"]
        results = [f"r{i}" for i in range(len(text.program.results))]
        call = f"{self._named(self.step)}({', '.join([*given, *numbers])})"
        call = f"{', '.join(results)} = {call}" if results else call
        source = self._source("replay", names, call, "1", self._rebuilt(variant.tree, iter(results)))
        if "steps" in made:
            call = f"n = {self._named(made['steps'])}({', '.join(['*many', *numbers])})"
            source += self._source("replay_many", ["many", *names], call, "n", "n")
        exec(source, self.space)
        self.replay: Callable[..., Any] = self.space["replay"]
        self.replay_many: Callable[..., Any] | None = self.space.get("replay_many")

    def is_current(self) -> bool:
        """Whether the arrays are still those of their places."""
        return all(array_of(b) is array for b, array in self.arrays.items())

    def written(self) -> dict[Buffer, Array]:
        """The arrays that the program writes."""
        places = [i.output.root for i in self.recorder.instructions if i.update] + list(self.recorder.stored)
        return {b: self.arrays[b] for b in places if b in self.arrays}

    def _changed(self) -> list[Tensor]:
        return [b.source for b in self.written() if isinstance(b.source, Tensor)]

    def _named(self, value: Any) -> str:
        """A name for a value in the text."""
        self.space[name := f"k{len(self.space)}"] = value
        return name

    def _expect_argument(self, place: int, variant: Variant) -> None:
        name, arguments = f"a{place}", variant.kinds
        kind = arguments[place]
        if kind.layout is None:
            was = self._named(value := variant.constants[place])
            plain = isinstance(value, PLAIN) and value is not None and not isinstance(value, bool)
            if type(value) in (tuple, list, dict) and isinstance(kind.value, str):
                self.tests.append(f"{name}.__class__ is {self._named(kind.type)}")
                self.tests.append(f"repr({name}) == {self._named(kind.value)}")
            else:
                self.tests.append(f"({name} is {was} or same({name}, {was}))" if plain else f"{name} is {was}")
            return
        self.lines.insert(0, f"if {name}.__class__ is not {self._named(kind.type)}: return MISS")
        others = [i for i in range(place) if arguments[i].layout is not None and arguments[i].twin is None]
        self.lines[1:1] = [f"if {name} is {'' if i != kind.twin else 'not '}a{i}: return MISS" for i in others]
        if kind.twin is None:
            array = f"x{place}"
            if kind.type is not np.ndarray:
                self.lines.append(f"if {name}._requires_grad is not {kind.tracked}: return MISS")
                if place in variant.pinned:
                    self.tests.append(f"{name} is {self._named(variant.pinned[place])}")
                elif kind.tracked:
                    self.tests.append(f"{name}.op is {name}._grad is None")
            self.lines.append(f"{array} = {name}{'' if kind.type is np.ndarray else '._array'}")
            shape, dtype, strides = map(self._named, kind.layout)
            self.tests += [f"{array}.shape == {shape}", f"{array}.dtype == {dtype}", f"{array}.strides == {strides}"]

    def _array(self, b: Buffer) -> Array:
        """The array of a buffer outside the step, which must stay the same one."""
        source = b.source
        array = array_of(b)
        if isinstance(source, Tensor):
            self.tests.append(f"{self._named(source)}._array is {self._named(array)}")
        elif isinstance(source, Slot):
            state = source.optimizer.state[source.key]
            place = (*source.place, id(array))
            if _owned.get(place) is not array:  # else another program's of that place, which share it
                array = state[source.name] = array.copy(order="K")
                _owned[(*source.place, id(array))] = array
            owner, key = self._named(source.optimizer), self._named(source.key)
            self.tests.append(f"{owner}.state[{key}][{source.name!r}] is {self._named(array)}")
        return array

    def _expect_states(self) -> None:
        for optimizer, p, count in self.recorder.states:
            self.tests.append(f"len({self._named(optimizer)}.state[{self._named(p)}]) == {count}")
        self.tests += [f"{self._named(p)}._grad is None" for p in adding(self.recorder)]

    def _expect_containers(self, guards: Guards) -> None:
        """Test the lists and dicts in Modules, which tell nobody that they are changed."""
        for container, were in guards.reads.containers.values():
            name = self._named(container)
            if isinstance(container, list) and len(were) <= 16 and not any(isinstance(x, PLAIN) for x in were):
                self.tests.append(f"len({name}) == {len(were)}")
                self.tests += [f"{name}[{i}] is {self._named(x)}" for i, x in enumerate(were)]
            elif not isinstance(container, tuple):
                self.tests.append(f"same_items({name}, {self._named(were)})")

    def _rebuilt(self, tree: Any, results: Iterator[str]) -> str:
        """The text of what a step returns."""
        if isinstance(tree, Graphed):
            return f"graphed({self._rebuilt(tree.buffer, results)})"
        if isinstance(tree, Buffer):
            source = tree.root.source
            if isinstance(source, Tensor):
                return f"viewing({next(results)}, {self._named(source)})"
            return f"leaf({next(results)}{'.copy()' if tree.kind == 'constant' else ''})"
        if isinstance(tree, Place):
            return f"a{tree.number}"
        if apart := taken_apart(tree):
            inside = "".join(f"{self._rebuilt(item, results)}, " for item in apart[1])
            kind, keys = self._named(type(tree)), self._named(apart[0])
            return f"({inside})" if type(tree) is tuple else f"put_together({kind}, {keys}, ({inside}))"
        return self._named(tree)

    def _source(self, name: str, names: Sequence[str], call: str, count: str, returned: str) -> str:
        body = [call]
        if changed := [f"{self._named(last_change(t))}[0]" for t in self._changed()]:
            body.insert(0, " = ".join([*changed, "tick()"]))
        if emptied := list(map(self._named, self.recorder.emptied)):
            body.append(f"if not ({' is '.join([*(f'{t}._grad' for t in emptied), 'None'])}):")
            body.append(f"    {' = '.join([*(f'{t}._grad' for t in emptied), 'None'])}")
        parameters = ", ".join([*(f"{known}=MISS" for known in names), "*others"])
        lines = "\n            ".join(self.lines)
        tests = "\n                and ".join(self.tests)
        statements = "\n        ".join(body)
        return f"""def {name}({parameters}):
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
        counts[0] += {count}
        due[0] += {count}
    return {returned}
"""


def _viewing(array: Array, source: Tensor) -> Tensor:
    """A Tensor for memory of another, whose changes in place it knows of."""
    tensor = leaf(array)
    tensor._changed = last_change(source)
    return tensor


def adding(recorder: Recorder) -> list[Tensor]:
    """The parameters whose gradients the step adds to those that are there."""
    return [p for p in recorder.updated if p not in recorder.cleared_first]
