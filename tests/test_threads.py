"""Work shared out to threads: results in order, and nothing left at work after the first error."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from iwsltpack.system.threads import for_each


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    begun: list[str] = []

    def work(item: int) -> int:
        time.sleep((9 - item) / 1000)
        return item * item

    def run(pool: ThreadPoolExecutor | None) -> list[int]:
        return for_each(pool, work, range(9), meanwhile=lambda: begun.append("meanwhile"))

    if threads:
        with ThreadPoolExecutor(threads) as pool:
            found = run(pool)
    else:
        found = run(None)
    assert found == [item * item for item in range(9)]
    assert begun == ["meanwhile"]


@pytest.mark.parametrize("by_caller", [True, False])
def test_after_an_error_nothing_is_at_work_any_more(by_caller: bool) -> None:
    stop, failed, running, done = threading.Event(), threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        if item == 0:
            running.set()
            assert failed.wait(20)
            time.sleep(0.05)
        elif item == 1 and not by_caller:
            assert running.wait(20)
            failed.set()
            raise ValueError("told")
        done.append(item)

    def meanwhile() -> None:
        if by_caller:
            assert running.wait(20)
            failed.set()
            raise ValueError("told")

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ValueError, match="told"):
            for_each(pool, work, range(500), stop, meanwhile)
        seen = len(done)
        assert 0 in done and stop.is_set()
        time.sleep(0.05)
        assert len(done) == seen
    assert len(done) < 500 or by_caller
