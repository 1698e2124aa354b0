"""What a reader opens to follow (x * y).sum().backward() stays short, and about that."""

import re
from pathlib import Path

import pytest

import tinygrad_mnist

PACKAGE = Path(tinygrad_mnist.__file__).parent
PATH = ["tensor.py", "op.py", "ops/arithmetic.py", "ops/elementary.py", "backward.py"]


def test_the_reading_path_is_at_most_1200_lines_and_named_in_readme():
    lines = sum(len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in PATH)
    assert lines <= 1200
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    assert re.search(r",?\s+".join(f"`{re.escape(name)}`" for name in PATH), readme)


@pytest.mark.parametrize("name", PATH)
def test_nothing_on_it_asks_for_a_recorder_or_a_picture(name):
    """They stand at one interception point, `mode.observer`."""
    code = re.sub(r'"""[\s\S]*?"""|#.*|diagonal,? trace', "", (PACKAGE / name).read_text(encoding="utf-8"))
    assert not re.search(r"\b(compil\w+|record\w*|replay\w*|pictur\w+|trac(e|er|ing)\b|graphviz)", code, re.IGNORECASE)
    assert "import" in code
