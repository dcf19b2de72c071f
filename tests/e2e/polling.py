"""Waiting for a state of the local cloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

_T = TypeVar("_T")


def poll(read: Callable[[], _T], is_wanted: Callable[[_T], bool], *, seconds: float = 60, pause: float = 0.2) -> _T:
    """Return the first value of `read` for which `is_wanted` returns True. Fail the test after `seconds`.

    Args:
        read: Reads the value. It is called again and again.
        is_wanted: Returns whether a value is the one to wait for.
        seconds: Time to wait at most.
        pause: Seconds between two calls of `read`.
    """
    __tracebackhide__ = True
    until = time.monotonic() + seconds
    while not is_wanted(value := read()):
        if time.monotonic() > until:
            pytest.fail(f"After {seconds} s the value is still {value!r}")
        time.sleep(pause)
    return value
