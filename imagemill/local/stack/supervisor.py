"""A client of supervisord: launches it, starts and stops its programs, lists them."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
import xmlrpc.client
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from imagemill.local.errors import LocalError
from imagemill.local.layout import Layout
from imagemill.local.stack.programs import STOP_ORDER
from imagemill.local.stack.starts import read_starts

# State of a process whose supervisord was killed: nothing starts it again.
ORPHANED = "orphaned"


@dataclass(frozen=True)
class ProcessState:
    """One supervised process. `restarts` counts since the system was last brought up."""

    name: str
    pid: int | None
    state: str
    restarts: int


class Supervisor:
    """The supervisord of one home folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def _ask(self, method: str, *arguments: object) -> Any:
        """Call a method over the socket; OSError or HTTPException if nobody answers there."""
        transport = SupervisorTransport(None, None, f"unix://{self._layout.supervisor_socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def running(self) -> bool:
        """Return whether supervisord answers."""
        try:
            return self._ask("getState")["statename"] == "RUNNING"
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def launch(self, config: str, environ: dict[str, str], timeout_s: float = 20.0) -> None:
        """Start supervisord in the background with a configuration.

        Raises:
            LocalError: it did not start; the text has its output.
        """
        layout = self._layout
        layout.create()
        for starts in layout.run.glob("*.starts"):
            starts.unlink()
        layout.supervisor_config.write_text(config)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c"]
        done = subprocess.run(
            [*command, str(layout.supervisor_config)], env=environ, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise LocalError(f"the supervisor did not start:\n{done.stdout}{done.stderr}".strip())
        deadline = time.monotonic() + timeout_s
        while not self.running():
            if time.monotonic() > deadline:
                raise LocalError(
                    f"the supervisor did not answer within {timeout_s:.0f} s; see "
                    f"{layout.log('supervisord')}"
                )
            time.sleep(0.05)

    def _orphans(self) -> list[tuple[str, psutil.Process]]:
        """List the processes, by name, that a killed supervisord has left running."""
        left = []
        for starts in self._layout.run.glob("*.starts"):
            noted = read_starts(self._layout, starts.stem)
            try:
                process = psutil.Process(noted[-1].pid) if noted else None
                # Process ids are reused: a process that began after the record is not ours.
                if (
                    process is not None
                    and process.status() != psutil.STATUS_ZOMBIE
                    and process.create_time() <= starts.stat().st_mtime + 1
                ):
                    left.append((starts.stem, process))
            except psutil.NoSuchProcess:
                continue
        return left

    def end_orphans(self) -> bool:
        """End, in order, the processes that a killed supervisord has left running.

        They hold their ports and the broker's data, so nothing could start beside them. Return
        False if there were none.
        """
        orphans = self._orphans()
        for kind in STOP_ORDER:
            left = [process for name, process in orphans if name.partition("-")[0] == kind]
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
            _, stubborn = psutil.wait_procs(left, timeout=40)
            for process in stubborn:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        return bool(orphans)

    def start(self, name: str) -> None:
        """Start a program's processes; those that run already go on.

        Raises:
            LocalError: its command could not be run, or supervisord has ended meanwhile.
        """
        try:
            self._ask("startProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            raise LocalError(f"{name} could not be started: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException) as error:
            raise LocalError(
                f"{name} could not be started: the system was stopped meanwhile"
            ) from error

    def stop(self, name: str) -> None:
        """Stop a program's processes and wait until they have ended."""
        try:
            self._ask("stopProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise

    def processes(self) -> list[ProcessState]:
        """List the processes; without a supervisord, those that it left running, as ORPHANED.

        The list is empty while supervisord starts or ends.
        """
        try:
            found = [
                (info["name"], info["pid"] or None, info["statename"].lower())
                for info in self._ask("getAllProcessInfo")
            ]
        except xmlrpc.client.Error:
            return []
        except (OSError, http.client.HTTPException):
            found = [(name, process.pid, ORPHANED) for name, process in self._orphans()]
        return [
            ProcessState(name, pid, state, max(0, len(read_starts(self._layout, name)) - 1))
            for name, pid, state in found
        ]

    def shutdown(self, timeout_s: float = 120.0) -> None:
        """Stop all programs in order, then supervisord itself.

        Raises:
            LocalError: a process still runs after that time.
        """
        pid = self._ask("getPID")
        self._ask("shutdown")
        deadline = time.monotonic() + timeout_s
        while psutil.pid_exists(pid):
            if time.monotonic() > deadline:
                raise LocalError(
                    f"the services did not end within {timeout_s:.0f} s; see {self._layout.logs}"
                )
            time.sleep(0.05)
