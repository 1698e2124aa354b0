"""Which values an option may have: read from a command line, or checked where they come from Python."""

import argparse
import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_mnist.convert import in_one_line


@dataclass(frozen=True)
class Limit:
    """Values of a kind. Called with a text, as argparse's `type`, it returns the value, or says what was expected.

    Attributes:
        words: these values in words; empty where `names` says them.
        read: makes a value of a text, whether or not it is allowed.
        allows: whether a value is one of them.
        names: all of them, if they are texts that have been chosen: looked at when they are needed, as a file of one's
            own may add a cost to `COSTS`.
    """

    words: str
    read: Callable[[str], Any]
    allows: Callable[[Any], bool]
    names: Collection[str] | None = None

    @property
    def choices(self) -> tuple[str, ...] | None:
        """The values, if there are only so many."""
        return None if self.names is None else tuple(self.names)

    @property
    def expected(self) -> str:
        """The values in words."""
        return self.words if self.choices is None else f"one of {', '.join(self.choices)}"

    def __call__(self, text: str) -> Any:
        """The value that a text stands for."""
        if not self.allows(value := self.read(text)):
            hint = "; separate several by spaces" if value is None and "," in text else ""
            hint += ", which is not finite" if value in (math.inf, -math.inf) else ""
            raise argparse.ArgumentTypeError(f"expected {self.expected}, got {in_one_line(text)}{hint}")
        return value


def whole_number(low: int) -> Limit:
    """A whole number of at least `low`; in a text, 50,000 is one number."""

    def read(text: str) -> int | None:
        plain = text.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+", text) else text
        return int(plain) if plain.isdecimal() and len(plain) < 1000 else None  # Python reads no more than 4,300

    return Limit(f"a whole number of at least {low}", read, lambda value: type(value) is int and value >= low)


def number(low: float, high: float = math.inf, open_low: bool = False) -> Limit:
    """A number from `low`, or above it if `open_low`, to below `high`."""

    def read(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return math.nan

    def allows(value: Any) -> bool:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        return real and (low < value if open_low else low <= value) and value < high

    below = f" and below {high:g}" if high < math.inf else ""
    return Limit(f"a number {'above' if open_low else 'of at least'} {low:g}{below}", read, allows)


def one_of(names: Collection[str]) -> Limit:
    """One of these names, and of those that are added to them later."""
    return Limit("", str, lambda value: isinstance(value, str) and value in names, names)


def file_name(*suffixes: str) -> Limit:
    """The name of a file, of one of these kinds if there are any."""

    def read(text: str) -> Path | None:
        return Path(text) if text else None  # of which Path would make the current directory

    def allows(file: Path | None) -> bool:
        return file is not None and (not suffixes or file.suffix.lower() in suffixes)

    return Limit("a file name" + f" that ends in {', '.join(suffixes)}" * bool(suffixes), read, allows)
