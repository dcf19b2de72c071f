"""Much work, some of it at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from samovar.errors import SamovarError

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(
    work: Callable[[Given], Made],
    given: Iterable[Given],
    *,
    concurrency: int,
    on_error: Callable[[int, SamovarError], None] | None,
) -> Iterator[Made]:
    """What `work` makes of each of `given`, in order; at most `concurrency` are held at a time.

    Closing it, or an error, drops what has not begun and does not wait for what has.

    Raises:
        ValueError: when `concurrency` is below 1.
    """
    if concurrency < 1:
        raise ValueError("At least one at a time")
    return _in_order(work, iter(given), concurrency, on_error)


def _in_order(
    work: Callable[[Given], Made],
    given: Iterator[Given],
    concurrency: int,
    on_error: Callable[[int, SamovarError], None] | None,
) -> Iterator[Made]:
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="samovar")
    try:
        begun: deque[Future[Made]] = deque(executor.submit(work, one) for one in islice(given, concurrency))
        position = 0
        while begun:
            future = begun.popleft()
            try:
                made = future.result()
            except SamovarError as error:
                if on_error is None:
                    raise
                on_error(position, error)
            else:
                yield made
                del made
            del future  # it holds the job: nothing is kept of what was handed out
            position += 1
            begun.extend(executor.submit(work, one) for one in islice(given, 1))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
