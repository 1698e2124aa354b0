"""Imports run downward only: no module is imported, however indirectly, by what it imports itself.

Read from the source, so that nothing hides: imports inside of functions, under `if __name__ == "__main__"` and under
`if TYPE_CHECKING` count too; those for type checkers alone are reported by a test of their own. Not seen is a module
whose name is only known when running, such as the figure that a command names.
"""

from __future__ import annotations

import ast
import functools
import itertools
import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tinygrad_mnist", "zoo", "graphs")
CORE = "tinygrad_mnist"
ROOMS = [
    CORE,
    *(f"{CORE}.{room}" for room in ("gradcheck", "nn", "ops", "optim", "replay", "testing", "visualize")),
    "zoo",
    "graphs",
]

# What is still to be mended: take a room out as soon as its circles are gone (pytest says XPASS then).
CIRCLES_TO_MEND: set[str] = set()
CIRCLES_FOR_TYPE_CHECKERS_TO_MEND: set[str] = set()
NAMES_TO_MEND: set[str] = set()


class Import(NamedTuple):
    """A line by which one module imports another."""

    importer: str
    imported: str
    line: int
    for_types: bool  # under TYPE_CHECKING


Circle = tuple[Import, ...]


# --- reading ---


def modules_in(root: Path, packages: Collection[str]) -> dict[str, Path]:
    """The files of all modules by name; a package goes by that of its __init__."""
    found: dict[str, Path] = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py*")):
            if path.suffix in (".py", ".pyi"):
                parts = path.relative_to(root).with_suffix("").parts
                found.setdefault(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)
    return found


def imports_of(modules: Mapping[str, Path]) -> list[Import]:
    """All imports among these modules."""
    found = []
    for name, path in modules.items():
        reader = _Reader(name, path, modules)
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        found += reader.found
    return found


class _Reader(ast.NodeVisitor):
    """Notes the imports of one module."""

    def __init__(self, name: str, path: Path, modules: Collection[str]) -> None:
        self.name, self.modules = name, modules
        self.package = name if path.stem == "__init__" else name.rpartition(".")[0]
        self.for_types = False
        self.found: list[Import] = []

    def visit_If(self, node: ast.If) -> None:
        if _last_name(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)
            return
        before, self.for_types = self.for_types, True
        for statement in node.body:
            self.visit(statement)
        self.for_types = before
        for statement in node.orelse:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.note(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            self.note(submodule if submodule in self.modules else base, node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        if _last_name(node.func) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self.note(name.value, node.lineno)
        self.generic_visit(node)

    def note(self, imported: str, line: int) -> None:
        """Python runs the packages around a module too, save those that it is in the midst of running."""
        parts = imported.split(".")
        for i in range(1, len(parts) + 1):
            name = ".".join(parts[:i])
            around = i < len(parts) and f"{self.name}.".startswith(f"{name}.")
            if name in self.modules and not around:
                self.found.append(Import(self.name, name, line, self.for_types))


def _last_name(node: ast.expr) -> str:
    """TYPE_CHECKING for typing.TYPE_CHECKING too; to unparse each expression took a second for the tests' files."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# --- circles ---


def circles_in(imports: Collection[Import], for_types: bool = False) -> list[Circle]:
    """For each import that is part of a circle the shortest one; with `for_types` those through TYPE_CHECKING alone."""
    following: dict[str, list[Import]] = {}
    for one in imports:
        if for_types or not one.for_types:
            following.setdefault(one.importer, []).append(one)
    found: dict[frozenset[str], Circle] = {}
    for one in itertools.chain.from_iterable(following.values()):
        if one.for_types == for_types and (way := _way(following, one.imported, one.importer)) is not None:
            circle = (one, *way)
            found.setdefault(frozenset(step.importer for step in circle), circle)
    return sorted(found.values(), key=len)


def _way(following: Mapping[str, Collection[Import]], start: str, end: str) -> Circle | None:
    """The shortest way from one module to another; None if there is none."""
    ways: dict[str, Circle] = {start: ()}
    waiting = [start]
    for name in waiting:
        if name == end:
            return ways[name]
        for one in following.get(name, ()):
            if one.imported not in ways:
                ways[one.imported] = (*ways[name], one)
                waiting.append(one.imported)
    return None


def as_text(circle: Circle) -> str:
    """The circle as one reads it: a:3 → b:1 → a."""
    return " → ".join([*(f"{one.importer}:{one.line}" for one in circle), circle[0].importer])


def room_of(module: str) -> str:
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def through(room: str, circles: Collection[Circle]) -> list[str]:
    """The circles with a module of this room."""
    return [as_text(circle) for circle in circles if any(room_of(one.importer) == room for one in circle)]


MODULES = modules_in(ROOT, PACKAGES)


@functools.cache  # read by the worker that runs these tests alone, and once
def imports() -> list[Import]:
    return imports_of(MODULES)


@functools.cache
def circles(for_types: bool = False) -> list[Circle]:
    return circles_in(imports(), for_types)


def rooms(to_mend: Collection[str]) -> list[object]:
    mark = pytest.mark.xfail(reason="to be mended")
    return [pytest.param(room, marks=[mark] if room in to_mend else []) for room in ROOMS]


@pytest.mark.parametrize("room", rooms(CIRCLES_TO_MEND))
def test_no_imports_run_in_a_circle(room: str) -> None:
    found = through(room, circles())
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("room", rooms(CIRCLES_FOR_TYPE_CHECKERS_TO_MEND))
def test_no_imports_for_type_checkers_close_a_circle(room: str) -> None:
    found = through(room, circles(for_types=True))
    assert not found, "\n" + "\n".join(found)


# --- names ---


def exported(package: str, modules: Mapping[str, Path]) -> set[str]:
    """The names that a package's __init__ binds to anything but its own modules."""
    found = set()
    for node in ast.parse(modules[package].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            own = (node.level == 1 and node.module is None) or (node.level, node.module) == (0, package)
            found |= {
                alias.asname or alias.name for alias in node.names if not (own and f"{package}.{alias.name}" in modules)
            }
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
    return found


def named_twice(modules: Mapping[str, Path]) -> set[str]:
    """The modules with the name of something else that their package exports, or the outermost package around it."""
    packages = [name for name, path in modules.items() if path.stem == "__init__"]
    names = {package: exported(package, modules) for package in packages}
    found = set()
    for name in modules:
        package, _, last = name.rpartition(".")
        if package and last in names[package] | names[package.partition(".")[0]]:
            found.add(name)
    return found


def test_no_module_is_named_like_what_a_package_exports() -> None:
    """`from tinygrad_mnist import x` would be one or the other, by what was imported before."""
    assert named_twice(MODULES) == NAMES_TO_MEND


@pytest.mark.slow
def test_no_test_file_imports_another() -> None:
    tests = modules_in(ROOT, ["tests"])
    found = [one for one in imports_of(tests) if one.imported.rpartition(".")[2].startswith("test_")]
    assert found == []


# --- the tests themselves ---


def made(folder: Path, files: Mapping[str, str]) -> dict[str, Path]:
    """The modules of a package "house" with these files."""
    for name, text in files.items():
        path = folder / "house" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    for inside in [folder / "house", *(path for path in (folder / "house").rglob("*") if path.is_dir())]:
        (inside / "__init__.py").touch()
    return modules_in(folder, ["house"])


def shown(folder: Path, files: Mapping[str, str], for_types: bool = False) -> list[str]:
    return [as_text(circle) for circle in circles_in(imports_of(made(folder, files)), for_types)]


IN_A_FUNCTION = """
def later():
    {}
"""
MAIN = """
if __name__ == "__main__":
    {}
"""


@pytest.mark.parametrize("place", ["{}", IN_A_FUNCTION, MAIN, "if not_found:\n    pass\nelse:\n    {}"])
@pytest.mark.parametrize(
    "back",
    [
        "import house.a",
        "from house.a import x",
        "from house import a",
        "from . import a",
        "from .a import x as y",
        "from .a import *",
        "importlib.import_module('house.a')",
    ],
)
def test_a_circle_is_found_wherever_and_however_it_is_closed(place: str, back: str, tmp_path: Path) -> None:
    modules = made(tmp_path, {"a": "import os\nfrom .b import y", "b": place.format(back)})
    (circle,) = circles_in(imports_of(modules))
    assert {(one.importer, one.imported) for one in circle} == {("house.a", "house.b"), ("house.b", "house.a")}


def test_a_long_circle_through_packages_is_found(tmp_path: Path) -> None:
    files = {
        "room/a": "from ..other.b import x",
        "other/b": "from .. import c",
        "c": "from house.room.a import x",
        "d": "from house import a, c",
    }
    assert shown(tmp_path, files) == ["house.c:1 → house.room.a:1 → house.other.b:1 → house.c"]


def test_a_package_may_gather_its_parts(tmp_path: Path) -> None:
    files = {"room/__init__": "from .a import x", "room/a": "from house.c import y", "c": ""}
    assert shown(tmp_path, files) == []


def test_a_part_that_imports_its_package_closes_a_circle(tmp_path: Path) -> None:
    files = {"room/__init__": "from .a import x", "room/a": "from house.room import x"}
    assert shown(tmp_path, files) == ["house.room:1 → house.room.a:1 → house.room"]


def test_a_package_is_run_for_each_of_its_parts(tmp_path: Path) -> None:
    files = {
        "room/__init__": "from .a import x",
        "room/a": "from house.c import y",
        "room/b": "",
        "c": "from house.room.b import z",
    }
    assert shown(tmp_path, files) == ["house.c:1 → house.room:1 → house.room.a:1 → house.c"]


def test_a_circle_for_type_checkers_is_reported_apart(tmp_path: Path) -> None:
    a = """
    from typing import TYPE_CHECKING
    if TYPE_CHECKING:
        from .b import x
    else:
        from .c import x
    """
    files = {"a": a, "b": "from .a import y", "c": ""}
    assert shown(tmp_path, files) == []
    assert shown(tmp_path, files, for_types=True) == ["house.a:4 → house.b:1 → house.a"]


def test_what_leads_downward_only_is_no_circle(tmp_path: Path) -> None:
    assert shown(tmp_path, {"a": "from . import b, c", "b": "from .c import x", "c": "import math"}) == []


def test_names_of_two_things_are_found(tmp_path: Path) -> None:
    files = {
        "__init__": "from .ops import where as where\nfrom . import ops as ops\ndef fit(): pass",
        "ops": "",
        "where": "",
        "room/fit": "",
        "room/other": "",
    }
    assert named_twice(made(tmp_path, files)) == {"house.where", "house.room.fit"}


def test_all_modules_are_read() -> None:
    assert {"tinygrad_mnist", "tinygrad_mnist.tensor", "tinygrad_mnist.replay.program", "graphs.speed"} <= set(MODULES)
    assert {room_of(name) for name in MODULES} == set(ROOMS)
    pairs = {(one.importer, one.imported) for one in imports()}
    assert {("tinygrad_mnist", "tinygrad_mnist.tensor"), ("zoo.pictures", "tinygrad_mnist.visualize")} <= pairs
