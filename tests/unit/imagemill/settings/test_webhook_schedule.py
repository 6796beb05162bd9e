"""The delays between the attempts at a webhook, by the settings of today and of before."""

from __future__ import annotations

from typing import Any

import pytest

from imagemill.settings import NotifierSettings
from imagemill.settings.environment import SettingsInvalid


def delays_s(**fields: Any) -> tuple[float, ...]:
    return NotifierSettings(_env_file=None, **fields).webhook_delays_s  # type: ignore[call-arg]


def test_ten_attempts_in_about_three_days():
    minutes = [5 / 60, 5, 30, 120, 300, 600, 840, 1200, 1440]
    assert delays_s() == tuple(minute * 60 for minute in minutes)


def test_a_schedule_of_ones_own():
    assert delays_s(webhook_schedule="1s, 0.5m,2h,1d") == (1, 30, 7200, 86_400)
    assert delays_s(webhook_schedule="") == ()


def test_attempts_shorten_the_schedule_or_repeat_its_last_delay():
    assert delays_s(webhook_attempts=1) == ()
    assert delays_s(webhook_attempts=3) == (5, 300)
    assert delays_s(webhook_schedule="1s,2s", webhook_attempts=5) == (1, 2, 2, 2)


def test_a_base_doubles_the_delay_in_place_of_the_schedule():
    assert delays_s(webhook_retry_base_s=1, webhook_attempts=3) == (1, 2)
    assert delays_s(webhook_retry_base_s=0.5)[:4] == (0.5, 1, 2, 4)


@pytest.mark.parametrize("schedule", ["5", "5x", "s", "-1s", "0s", "8d", "nan s", "infs", "1s;2s"])
def test_a_delay_that_is_none_is_a_wrong_setting(schedule: str):
    with pytest.raises(SettingsInvalid, match="WEBHOOK_SCHEDULE"):
        delays_s(webhook_schedule=schedule)
