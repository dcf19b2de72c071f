"""Parallel execution of many calls, with a limited number of them open at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from samovar.errors import SamovarError

Item = TypeVar("Item")
Output = TypeVar("Output")


def map_in_order(
    function: Callable[[Item], Output],
    items: Iterable[Item],
    *,
    concurrency: int,
    on_error: Callable[[int, SamovarError], None] | None,
) -> Iterator[Output]:
    """Call `function` for each of `items` in threads, and yield the outputs in the order of the items.

    At most `concurrency` items are read ahead. If an item raises a SamovarError and `on_error` is given, `on_error` is
    called with the item's position and the error, and the item has no output. When the iterator is closed or raises,
    calls that have not started are dropped, and calls that have started are not waited for.

    Raises:
        ValueError: If `concurrency` is below 1.
    """
    if concurrency < 1:
        raise ValueError(f"`concurrency` is {concurrency}, but must be at least 1")
    return _map_in_order(function, iter(items), concurrency, on_error)


# A generator of its own, so that the check above runs at the call and not at the first `next`.
def _map_in_order(
    function: Callable[[Item], Output],
    items: Iterator[Item],
    concurrency: int,
    on_error: Callable[[int, SamovarError], None] | None,
) -> Iterator[Output]:
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="samovar")
    try:
        futures: deque[Future[Output]] = deque(executor.submit(function, item) for item in islice(items, concurrency))
        position = 0
        while futures:
            future = futures.popleft()
            try:
                output = future.result()
            except SamovarError as error:
                if on_error is None:
                    raise
                on_error(position, error)
            else:
                yield output
                del output
            del future  # a future holds its output: keep no job that the caller has received
            position += 1
            futures.extend(executor.submit(function, item) for item in islice(items, 1))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
