"""The thread that reads the API keys."""

from __future__ import annotations

import asyncio
import threading

import pytest

from imagemill.settings import ApiSettings
from producer_api.access.keys import feed
from producer_api.access.keys.feed import KeyFeed
from producer_api.access.keys.ring import KeyRing


class _FailsOnce(KeyFeed):
    """Fails as by a defect when it reads first."""

    def __init__(self) -> None:
        super().__init__(ApiSettings(_env_file=None), KeyRing())  # type: ignore[call-arg]
        self.calls = 0
        self.read_again = threading.Event()

    def _follow(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise TypeError("a defect")
        self.read_again.set()


async def test_a_defect_does_not_end_the_reading_of_revocations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed, "_RETRY_S", 0.01)
    failing = _FailsOnce()
    failing.start()
    assert await asyncio.to_thread(failing.read_again.wait, 10)
    await failing.stop()
    assert "a defect" in caplog.text
