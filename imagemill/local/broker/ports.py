"""The ports of a local broker: chosen once, remembered in its folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from imagemill.local.ports import next_free

DEFAULT_PORT = 9092


def read_ports(folder: Path) -> tuple[int, int]:
    """Read the remembered ports of clients and of the controller.

    Raises:
        FileNotFoundError: none were chosen yet.
    """
    ports = json.loads((folder / "ports.json").read_text())
    return ports["port"], ports["controller_port"]


def choose_ports(folder: Path, first: int, *, but: Collection[int] = ()) -> tuple[int, int]:
    """Choose the remembered ports if they are free, else the next free ones, and remember them.

    `but` are ports that others will listen on, though they may be free now.

    Raises:
        LocalError: no port is free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        port, controller_port = read_ports(folder)
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        port, controller_port = first, first + 1
    port = next_free(port, but=but)
    controller_port = next_free(controller_port, but={*but, port})
    ports = json.dumps({"port": port, "controller_port": controller_port})
    (folder / "ports.json").write_text(ports)
    return port, controller_port
