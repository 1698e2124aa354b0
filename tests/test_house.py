"""How the source is arranged: imports run one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def imports(package: Path) -> dict[str, set[str]]:
    """For each module of a package the modules of it that it imports anywhere, in functions and under conditions too.

    That a package's __init__ is run before its modules does not count: only what a file itself asks for.
    """
    files = {".".join(file.relative_to(package.parent).with_suffix("").parts): file for file in package.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): file for name, file in files.items()}
    found: dict[str, set[str]] = {}
    for name, file in modules.items():
        here = name if file.name == "__init__.py" else name.rpartition(".")[0]
        asked = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = here.split(".")[: len(here.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                inside = {f"{source}.{alias.name}" for alias in node.names}
                asked |= {each if each in modules else source for each in inside}
        found[name] = (asked & modules.keys()) - {name}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The modules that import each other, in groups, by whatever detour."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting.extend(new)
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {tuple(sorted(o for o in reach[name] if name in reach[o])) for name in graph if name in reach[name]}
    return [list(group) for group in sorted(groups)]


@pytest.mark.parametrize("package", ["zoo"])
def test_no_modules_import_each_other(package):
    graph = imports(ROOT / package)
    assert len(graph) > 3
    assert any(graph.values())
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("closing", "expected"),
    [
        ("from ..a import x", [["p.a", "p.sub.c"]]),
        ("from .. import a", [["p.a", "p.sub.c"]]),
        ("def f():\n    from p import a", [["p.a", "p.sub.c"]]),
        ("if __name__ == '__main__':\n    import p.a", [["p.a", "p.sub.c"]]),
        ("from p.b import x", [["p.a", "p.b", "p.sub.c"]]),
        ("from .. import y", [["p", "p.a", "p.sub.c"]]),
        ("import os", []),
    ],
)
def test_a_circle_is_found_wherever_it_is_closed(tmp_path, closing, expected):
    sources = {"__init__": "from .a import x", "a": "from .sub import c", "b": "from .a import x", "sub/__init__": ""}
    (tmp_path / "p" / "sub").mkdir(parents=True)
    for name, text in {**sources, "sub/c": closing}.items():
        (tmp_path / "p" / f"{name}.py").write_text(text)
    assert circles(imports(tmp_path / "p")) == expected
