"""Break it: a rule of the table made wrong in a process of its own, where the property test looks for it.

The table of the process that asks is never touched. What comes back: `found`, whether the test failed; `example`, the
smallest counterexample; `message`, what the test says of it; `tried`, how many examples it took.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_mnist import OPS
from tinygrad_mnist.op import Each, Rule

CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sign": ("the sign changed", lambda r: -r),
    "twice": ("twice as large", lambda r: 2 * r),
    "none": ("as it is", lambda r: r),
}
"""What can be made of a rule's result: in words, and as a function."""

SECONDS = 90
"""How long the test may take; it takes one to three."""


def breakable() -> dict[str, list[str]]:
    """The ops whose rules can be broken, with each rule as it is written; in an order fit to be read."""
    found = {}
    for name, op in OPS.items():
        if op.differentiable and not isinstance(op.rules, Each) and all(rule is not None for rule in op.rules):
            texts = [_text(rule) for rule in op.rules]
            if all(texts):
                found[name] = texts
    return found


def _text(rule: Rule | None) -> str:
    """How a rule is written, if that is one line."""
    try:
        text = textwrap.dedent(inspect.getsource(rule)) if rule is not None else ""
    except (OSError, TypeError):
        return ""
    lines = text.strip().splitlines()
    line = lines[0].partition("  #")[0].strip().rstrip(",") if len(lines) == 1 else ""
    try:
        return line if isinstance(ast.parse(line, mode="eval").body, ast.Lambda) else ""
    except SyntaxError:  # it goes on in another line, or is no lambda
        return ""


def broken(name: str, place: int, change: str) -> dict[str, Any]:
    """Break a rule in another process, and say what the property test finds there.

    Raises:
        ValueError: there is no such rule, or change.
        RuntimeError: the test could not be run.
    """
    rules = breakable().get(name, [])
    if not 0 <= place < len(rules):
        raise ValueError(f"{name!r:.40} has no rule number {place}; choose one of {', '.join(breakable())}")
    if change not in CHANGES:
        raise ValueError(f"{change!r:.40} is no change; choose one of {', '.join(CHANGES)}")
    command = [sys.executable, "-c", f"from {__name__} import main; main()", name, str(place), change]
    root = str(Path(__file__).parents[__name__.count(".")])  # the other process is to find the same package
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the property test of {name} took more than {SECONDS} seconds, and was ended") from None
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the test ended without a word"])[-1])
    result: dict[str, Any] = json.loads(done.stdout)
    return {"op": name, "rule": rules[place], "change": CHANGES[change][0], **result}


def _find(name: str, place: int, change: str) -> dict[str, Any]:
    """Break a rule in this process, and try the property of all ops."""
    from hypothesis import Phase, given, settings

    from tinygrad_mnist.testing import check, operands

    op, alter = OPS[name], CHANGES[change][1]
    rules = list(op.rules)
    right = rules[place]
    assert right is not None
    rules[place] = lambda g, out, *inputs, **params: alter(right(g, out, *inputs, **params))
    object.__setattr__(op, "rules", tuple(rules))  # one of ours is not to be defined again
    tried, failed = 0, None

    @settings(derandomize=True, database=None, deadline=None, max_examples=50, phases=[Phase.generate, Phase.shrink])
    @given(operands(name))
    def holds(case: Any) -> None:
        nonlocal tried, failed
        tried += 1
        try:
            check(case)
        except Exception as error:
            failed = (repr(case), str(error))  # of all that fail the last one is the smallest
            raise

    try:
        holds()
    except Exception as error:
        example, message = failed or ("", str(error))
        return {"found": True, "tried": tried, "example": example, "message": message}
    return {"found": False, "tried": tried, "example": "", "message": ""}


def main() -> None:
    """What the other process runs: the op's name, the rule's place and the change are its arguments."""
    try:
        print(json.dumps(_find(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
    except ImportError as missing:
        sys.exit(str(missing))
