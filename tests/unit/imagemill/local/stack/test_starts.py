"""Services that start again and again are recognised, with the reason from their log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagemill.local.layout import Layout
from imagemill.local.stack.starts import Start, in_a_loop, last_error, read_starts, record_start

BIND = "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8080)"
TRACEBACK = f"""\
2026-01-01 00:00:00,000 INFO producer_api: serving on 127.0.0.1:8080
Traceback (most recent call last):
  File "runner.py", line 1, in <module>
{BIND}
CRITICAL faust.worker: We experienced a crash! Reraising original exception...
"""


def starts_at(*seconds: float) -> list[Start]:
    return [Start(at, 1, 0) for at in seconds]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of(tmp_path)
    layout.create()
    return layout


@pytest.mark.parametrize(
    ("starts", "loop"),
    [
        ([], False),
        ([990], False),
        ([990, 995], False),
        ([990, 992, 994], True),
        ([900, 940, 980], True),
        ([100, 200, 990, 992, 994], True),
        # Killed twice within an hour, or stable since.
        ([100, 700, 990], False),
        ([900, 910, 920], False),
    ],
)
def test_three_starts_in_two_minutes_the_last_just_now_are_a_loop(starts, loop):
    assert in_a_loop(starts_at(*starts), now=1000.0) is loop


def test_a_start_is_recorded_with_the_length_of_the_log(layout):
    record_start(layout, "api")
    layout.log("api").write_text("four")
    record_start(layout, "api")
    assert [(start.pid, start.log_bytes) for start in read_starts(layout, "api")] == [
        (os.getpid(), 0),
        (os.getpid(), 4),
    ]


def test_starts_that_an_earlier_version_recorded_are_read(layout):
    layout.starts("api").write_text("2026-01-01T00:00:00.000+00:00 7\n")
    assert read_starts(layout, "api") == [Start(1767225600.0, 7, None)]


def test_the_reason_is_the_first_error_of_the_last_run(layout):
    log = layout.log("api")
    record_start(layout, "api")
    log.write_text("ERROR of a run before\n")
    record_start(layout, "api")
    with log.open("a") as file:
        file.write(TRACEBACK)
    record_start(layout, "api")
    with log.open("a") as file:
        file.write("ERROR of the present run\n")
    assert last_error(layout, "api", read_starts(layout, "api")) == BIND


def test_without_an_error_the_reason_is_the_last_line(layout):
    record_start(layout, "api")
    layout.log("api").write_text("reading settings\ngiving up\n\n")
    record_start(layout, "api")
    assert last_error(layout, "api", read_starts(layout, "api")) == "giving up"


def test_a_log_that_was_rotated_is_read_as_a_whole(layout):
    layout.starts("api").write_text(
        "2026-01-01T00:00:00.000+00:00 7 5000\n2026-01-01T00:00:01.000+00:00 8 9000\n"
    )
    layout.log("api").write_text("giving up\n")
    assert last_error(layout, "api", read_starts(layout, "api")) == "giving up"


def test_no_log_gives_no_reason(layout):
    assert last_error(layout, "api", starts_at(1, 2, 3)) == ""
