"""One piece of work in a thread beside the caller's own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def beside(work: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Runs ``work`` in a thread while the block runs; both have ended afterwards.

    Args:
        stop: called when the block failed, to wake the work up.

    Raises:
        BaseException: the block's error or that of the work, whichever came first.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # for the thread that waits
            failure.append(error)

    thread = threading.Thread(target=run, name="veilform-beside", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        first = list(failure)
        stop()
        thread.join()
        if first:
            raise first[0] from None
        raise
    thread.join()
    if failure:
        raise failure[0]
