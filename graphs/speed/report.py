"""The results as lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contestants import CONTESTANTS


def times(title: str, rows: Mapping[str, Any], unit: str) -> str:
    """A line for each contestant: its time, and its ratio to the hand-written code."""
    lines = [f"{title:<34}{unit:>10}  x NumPy by hand (middle half)"]
    for name, row in rows.items():
        low, high = row["spread"]
        lines.append(f"  {CONTESTANTS[name].name:<32}{row['time']:>10.4g}  {row['ratio']:.3g} ({low:.3g} - {high:.3g})")
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
