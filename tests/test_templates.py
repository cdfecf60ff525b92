"""Templates are filled in as they stand: no name goes missing, nothing is escaped unasked."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from iwsltpack.system.templates import render


def test_what_is_filled_in_stays_as_it_is_and_blocks_leave_no_lines(tmp_path: Path) -> None:
    template = tmp_path / "list.md.jinja"
    template.write_text("# {{ title }}\n{% for item in items %}\n- {{ item | loud }}\n{% endfor %}\n")
    text = render(template, {"loud": str.upper}, title="<a> & *b* {{ c }}", items=["é", "x"])
    assert text == "# <a> & *b* {{ c }}\n- É\n- X\n"


def test_a_name_that_nobody_gave_is_an_error(tmp_path: Path) -> None:
    template = tmp_path / "text.md.jinja"
    template.write_text("{{ titel }}\n")
    with pytest.raises(jinja2.UndefinedError, match="titel"):
        render(template, title="x")
