"""README's Python, pasted block by block into one session."""

import doctest
import re
from pathlib import Path

from tinygrad_mnist import OPS, mnist
from tinygrad_mnist.replay import Compiled

ROOT = Path(__file__).resolve().parent.parent


def test_all_blocks_run_in_reading_order(table, tmp_path, monkeypatch):
    small = mnist.load(ROOT / "data").head(500)
    monkeypatch.setattr(mnist, "load", lambda: small)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    session: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        statements = [example.source for example in doctest.DocTestParser().get_examples(block)]
        for statement in statements or [block]:
            exec(compile(statement, "<README>", "exec"), session)  # no file: hypothesis would read it as Python
    assert len(blocks) > 5
    assert "softsign" in OPS
    step = session["step"]
    assert isinstance(step, Compiled)
    assert "def step(" in step.source
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["flow", "step"]
