"""Ports: who listens on one, and whether a service has lost its own to another program."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from imagemill.local.errors import LocalError
from imagemill.local.ports import PortClaim, holder, listens, next_free

SERVER = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); input()"


@contextmanager
def program_on(port: int, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that listens on that port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)],
        stdin=subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def looks(claim: PortClaim, pid: int | None, times: int = 5) -> list[str | None]:
    return [claim.lost_to(pid) for _ in range(times)]


def test_a_program_of_another_home_is_named_by_it(free_port: Callable[[], int]):
    port = free_port()
    with program_on(port, IMAGEMILL_HOME="/srv/other home") as other:
        said = holder(port)
    assert f"(pid {other.pid}) of the imagemill system in /srv/other home" in said


def test_a_process_listens_on_its_own_ports_only(free_port: Callable[[], int]):
    port = free_port()
    with program_on(port) as other:
        assert listens(other.pid, port)
        assert not listens(other.pid, port + 1)
        assert not listens(os.getpid(), port)
    assert not listens(other.pid, port)


def test_a_claim_is_lost_when_another_program_keeps_the_port(free_port: Callable[[], int]):
    claim = PortClaim(free_port(), "127.0.0.1")
    assert looks(claim, os.getpid()) == [None] * 5
    with program_on(claim.port) as other:
        # Its own process has it, or a later one of the same service may have it in a moment.
        assert looks(claim, other.pid) == [None] * 5
        assert looks(claim, os.getpid(), 2) == [None, None]
        assert f"(pid {other.pid})" in claim.lost_to(os.getpid())
        assert f"(pid {other.pid})" in claim.lost_to(None)
    assert claim.lost_to(None) is None


def test_the_last_port_of_all_is_not_passed():
    with pytest.raises(LocalError, match="between 65535 and 65535"):
        next_free(65535, but={65535})
