"""Ports that no other process of tests is given, in this run or in another one."""

from __future__ import annotations

import itertools
import os
import socket

from imagemill.local.broker.ports import is_free

_SIZE = 500
# Below those that the system itself gives to connections.
_BLOCKS = range(12_000, 32_000, _SIZE)


class PortBlock:
    """A block of ports, this process's while it lives: it listens on the first of them.

    To look for a free port is not enough: a broker takes seconds until it listens on it, and
    meanwhile another process finds the port free too.
    """

    def __init__(self) -> None:
        self._sign, first = _claim()
        self._ports = itertools.cycle(range(first + 1, first + _SIZE))

    def close(self) -> None:
        """Leave the block to others."""
        self._sign.close()

    def take(self) -> int:
        """A free port, one that was not given for as long as possible."""
        for port in itertools.islice(self._ports, _SIZE):
            if is_free(port):
                return port
        raise AssertionError("no port of the block is free")


def _claim() -> tuple[socket.socket, int]:
    """The socket that says whose a block is, and its port."""
    start = os.getpid() % len(_BLOCKS)
    for first in (*_BLOCKS[start:], *_BLOCKS[:start]):
        sign = socket.socket()
        try:
            sign.bind(("127.0.0.1", first))
            sign.listen()
        except OSError:
            sign.close()
        else:
            return sign, first
    raise AssertionError("other processes of tests have all blocks of ports")
