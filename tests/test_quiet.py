"""Other libraries' remarks stay off stderr, and only while they are asked to."""

from __future__ import annotations

import logging

import pytest

from iwsltpack.system.quiet import quiet_loggers, quiet_transformers


def test_a_quiet_logger_tells_errors_only_and_is_as_it_was_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("somebody.elses.part")
    logging.getLogger("somebody.elses").setLevel(logging.INFO)
    with quiet_loggers("somebody.elses"):
        logger.warning("have you thought of another backend")
        logger.error("this went wrong")
    logger.info("again")
    assert [record.message for record in caplog.records] == ["this went wrong", "again"]


@pytest.mark.parametrize("shown", [True, False])
def test_transformers_is_as_it_was_afterwards_also_after_an_error(shown: bool) -> None:
    from transformers.utils import logging as theirs

    (theirs.enable_progress_bar if shown else theirs.disable_progress_bar)()
    before = theirs.get_verbosity()
    theirs.set_verbosity_info()
    try:
        with pytest.raises(KeyError), quiet_transformers():
            assert not theirs.is_progress_bar_enabled()
            assert theirs.get_verbosity() == logging.ERROR
            raise KeyError
        assert theirs.is_progress_bar_enabled() is shown
        assert theirs.get_verbosity() == logging.INFO
    finally:
        theirs.set_verbosity(before)
        theirs.enable_progress_bar()
