"""The types that editors and type checkers see are those of the table."""

from .write_stub import STUB, stub


def test_the_stub_is_what_the_table_says():
    assert STUB.read_text(encoding="utf-8") == stub(), "the table has changed: python -m tests.write_stub"
