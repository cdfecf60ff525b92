"""Other libraries' bars and remarks, kept off stderr while their work is a part of ours."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

SILENT = logging.CRITICAL + 1
"""A level above every message."""

_settings = threading.Lock()
"""What is set here holds for the whole process."""


def quiet_process() -> None:
    """Keep the warnings of every library off stderr for good, however it tells them; errors stay."""
    warnings.simplefilter("ignore")
    # It has a handler of its own, and reads this when imported.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.ERROR)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and load report out of the way, and leave its settings as they were."""
    from transformers.utils import logging as theirs

    with _settings:
        shown = theirs.is_progress_bar_enabled()
        verbosity = theirs.get_verbosity()
        theirs.disable_progress_bar()  # type: ignore[no-untyped-call]
        theirs.set_verbosity_error()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            theirs.set_verbosity(verbosity)
            if shown:
                theirs.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def quiet_loggers(*names: str, level: int = logging.ERROR) -> Iterator[None]:
    """Let loggers, and those below them that have no level of their own, tell nothing under `level`."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, former in zip(loggers, before, strict=True):
            logger.setLevel(former)
