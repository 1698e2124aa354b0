"""What a step reads of Modules, and whether it is as it was: attributes, and what is in their lists and dicts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tinygrad_mnist.nn import Module

from .chance import GENERATORS
from .trees import items, same, same_items

_ABSENT = object()
_lock = threading.Lock()
_readers: list[Reads] = []
_here = threading.local()


def _noting(module: Module, name: str) -> Any:
    """What `Module.__getattribute__` is while a step is recorded: at all other times reading costs nothing."""
    reads: Reads | None = getattr(_here, "reads", None)
    if reads is not None:
        reads.note(module, name)
    return super(Module, module).__getattribute__(name)


class Reads:
    """The attributes of Modules that a step has read, with what they were, and what their lists and dicts held.

    Args:
        name: called with each Module that the step comes to.
        see: called with each random generator that it reads there.

    Attributes:
        containers: the lists and dicts, and what was in each.
    """

    def __init__(self, name: Callable[[Module], None], see: Callable[[Any], None]) -> None:
        self.name, self.see = name, see
        self.attributes: dict[tuple[int, str], tuple[dict[str, Any], str, Any, type]] = {}
        self.modules: dict[int, tuple[Module, bool]] = {}  # and whether the step has made it
        self.containers: dict[int, tuple[Any, list[Any]]] = {}

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note what this thread reads."""
        with _lock:
            _readers.append(self)
            Module.__getattribute__ = _noting  # type: ignore[method-assign, assignment]
        _here.reads = self
        try:
            yield
        finally:
            _here.reads = None
            with _lock:
                _readers.remove(self)
                if not _readers:
                    del Module.__getattribute__

    def note(self, module: Module, name: str) -> None:
        """An attribute is about to be read."""
        own = object.__getattribute__(module, "__dict__")
        if id(module) not in self.modules:
            self.modules[id(module)] = module, not own and name == "__dict__"  # as by its __init__, before it sets any
            _here.reads = None
            self.name(module)
            _here.reads = self
        if not self.modules[id(module)][1] and (id(module), name) not in self.attributes:
            value = own if name == "__dict__" else own.get(name, _ABSENT)
            self.attributes[id(module), name] = own, name, value, type(module)
            self._walk(value)
            if isinstance(value, GENERATORS):
                self.see(value)

    def made(self, owner: Any) -> bool:
        """Whether it is a Module that the step has made."""
        return self.modules.get(id(owner), (owner, False))[1]

    def _walk(self, value: Any) -> None:
        if isinstance(value, list | tuple | dict) and id(value) not in self.containers:
            inside = items(value)
            self.containers[id(value)] = value, inside
            for item in inside:
                self._walk(item)

    def moved(self) -> str:
        """What is not as it was, in words; empty if all is."""
        for own, name, value, kind in self.attributes.values():
            now = own if name == "__dict__" else own.get(name, _ABSENT)
            if not same(now, value) and not (value is _ABSENT and same(now, getattr(kind, name, _ABSENT))):
                return f"the attribute {name!r} of a {kind.__name__}"
        if any(not same_items(container, were) for container, were in self.containers.values()):
            return "a list or a dict of a Module"
        return ""
