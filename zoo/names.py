"""The names of networks, whether their files are in zoo/ or anywhere else, and the commands that run them."""

import importlib
import pkgutil
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.installation import told

from .base import BaseNetwork

HERE = Path(__file__).parent
NAMES = ("network", "network1", "network2", "network3")
"""The book's networks, which `python -m zoo` trains."""


def network_class(name: str) -> type[BaseNetwork]:
    """The class of a network by its name, which is that of its module in zoo/: "network2" -> zoo.network2.Network2.

    Of other names it is a class that the running program has defined. Nothing but a module of the zoo is imported,
    whatever the name, which may come from a file.
    """
    if name in _modules():
        for found in vars(importlib.import_module(f"{__package__}.{name}")).values():
            if isinstance(found, type) and issubclass(found, BaseNetwork) and network_name(found) == name:
                return found
    elif own := [kind for kind in _below(BaseNetwork) if network_name(kind) == name]:
        return own[-1]  # of a notebook's cell that was run again, the last
    raise ValueError(
        f"there is no network {in_one_line(name)}; a network is a class with the name of its module in zoo/, or of a "
        "file of your own, which then runs it"
    )


def network_name(network: BaseNetwork | type[BaseNetwork]) -> str:
    """The name of a network: that of its class in small letters, which in zoo/ is its module's."""
    return _kind(network).__name__.lower()


def title(network: BaseNetwork | type[BaseNetwork]) -> str:
    """A network as messages name it: zoo.network2, or the name alone of one whose file is elsewhere."""
    return f"zoo.{network_name(network)}" if in_zoo(network) else network_name(network)


def in_zoo(network: BaseNetwork | type[BaseNetwork]) -> bool:
    """Whether the file of its class is in zoo/."""
    return _kind(network).__module__.rpartition(".")[0] == __package__


def check_name(network: BaseNetwork | type[BaseNetwork]) -> None:
    """Raise a ValueError if by its name, which a checkpoint has, another network would be found."""
    kind, name = _kind(network), network_name(network)
    if in_zoo(kind) and (module := kind.__module__.rpartition(".")[2]) != name:
        raise ValueError(f"{kind.__name__}: the network of zoo/{module}.py is named {module.capitalize()}; rename it")
    if not in_zoo(kind) and name in _modules():
        raise ValueError(f"{kind.__name__}: zoo/{name}.py has that name; give the class of your own another")


def make_one_module(network: type[BaseNetwork], namespace: Mapping[str, Any]) -> None:
    """See to it that a file of the zoo that runs as `__main__`, with this namespace, is known by its own name.

    Else `network_class` would import it a second time, and its ops would be defined twice, by two modules.
    """
    name = getattr(namespace.get("__spec__"), "name", "")
    if network.__module__ == "__main__" and name.rpartition(".")[0] == __package__:
        network.__module__ = name
        module = _main()
        if vars(module) is not namespace:  # as runpy and profilers run it, if nothing else is said
            module = ModuleType(name)
            vars(module).update(namespace)
        sys.modules.setdefault(name, module)


def file_of(network: BaseNetwork | type[BaseNetwork]) -> str | None:
    """The name of the file of a network that is not in zoo/; None for those in it, and for a notebook's."""
    file = None if in_zoo(network) else getattr(sys.modules.get(_kind(network).__module__), "__file__", None)
    return Path(file).name if file else None


def command_of(network: BaseNetwork | type[BaseNetwork]) -> str:
    """How the network is run: `python -m zoo.network2`; of another file `python mynet.py`, as it was called."""
    if in_zoo(network):
        return told(f"python -m zoo.{network_name(network)}")
    if spec := getattr(_main(), "__spec__", None):
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return f"python {shlex.quote(sys.argv[0])}" if getattr(_main(), "__file__", None) else network_name(network)


def _kind(network: BaseNetwork | type[BaseNetwork]) -> type[BaseNetwork]:
    return network if isinstance(network, type) else type(network)


def _main() -> ModuleType:
    return sys.modules["__main__"]


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules([str(HERE)])]


def _below(kind: type[BaseNetwork]) -> Iterator[type[BaseNetwork]]:
    """All subclasses that there are, of a class and of its subclasses."""
    for below in kind.__subclasses__():
        yield below
        yield from _below(below)
