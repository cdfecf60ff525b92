"""The library's face: every public name is there, shown on its page, and the page's examples run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import warm
from conftest import REPOSITORY

import iwsltpack
from iwsltpack.demo.demo_run import lay_out

PAGE = REPOSITORY / "docs" / "library.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_public_name_is_there_and_shown() -> None:
    shown = "\n".join(examples())
    for name in iwsltpack.__all__:
        assert getattr(iwsltpack, name), name
        assert name in dir(iwsltpack)
        assert name == "__version__" or f"iwsltpack.{name}" in shown, f"{name} has no example"


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = iwsltpack.nothing  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu", reason="the last example scores")
    lay_out(tmp_path / "demo")
    done = warm.run([sys.executable, "-c", "\n".join(examples())], cwd=tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "8 lines in test.en-zh.txt" in done.stdout
    assert "chrf 100.0" in done.stdout
