"""What the tests of the client share."""

from __future__ import annotations

import pytest
from samovar import transport

from tests.client.api import FakeApi


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that grow from a millisecond."""
    monkeypatch.setattr(transport, "FIRST_PAUSE_SECONDS", 0.001)
