"""The results as lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contestants import CONTESTANTS


def times(title: str, rows: Mapping[str, Any], unit: str, base: str = "NumPy by hand") -> str:
    """A line for each contestant: its time, and its ratio to that of another one, the hand-written code."""
    lines = [f"{title:<30}{unit:>12}  x {base} (middle half), least"]
    for name, row in rows.items():
        low, high = row["spread"]
        ratios = f"{row['ratio']:.3g} ({low:.3g} - {high:.3g}), {row['least_ratio']:.3g}"
        lines.append(f"  {CONTESTANTS[name].name:<28}{row['time']:>12.4g}  {ratios}")
    return "\n".join(lines)


def ops(rows: Mapping[str, Any]) -> str:
    """What eager ops cost."""
    shown = ", ".join(f"{name} {row['extra']:.2f}" for name, row in rows.items())
    return f"an eager op, µs above its NumPy call: {shown}"


def chain(rows: Mapping[str, Any]) -> str:
    """What a node of a deep chain costs."""
    shown = ", ".join(f"{CONTESTANTS[name].name} {row['time']:.2f}" for name, row in rows.items())
    return f"a deep chain, µs per node, forward and backward: {shown}"


def memory(rows: Mapping[str, Any]) -> str:
    """What a step takes of memory."""
    shown = ", ".join(f"{CONTESTANTS[name].name} {mb:.1f}" for name, mb in rows["megabytes"].items())
    return f"memory at the peak of a step, batch {rows['batch']}, hidden {rows['hidden']}, MB: {shown}"
