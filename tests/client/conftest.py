"""Fixtures that the tests of the client share."""

from __future__ import annotations

import pytest
from samovar import transport

from tests.client.api import FakeApi


@pytest.fixture
def api() -> FakeApi:
    """Return an API in memory whose jobs end at the first poll."""
    return FakeApi()


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the backoff at a millisecond."""
    monkeypatch.setattr(transport, "FIRST_BACKOFF_SECONDS", 0.001)
