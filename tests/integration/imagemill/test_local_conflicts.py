"""Two systems on one machine, and other programs that take what a system needs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest

from imagemill.local.broker.install import KafkaInstall
from imagemill.local.stack.ready import wait_until
from tests.integration.imagemill.installation import Installation

pytestmark = pytest.mark.longest

SERVICES = {
    "api": "PORT",
    "processor": "IMAGEMILL_WORKER_PORT",
    "notifier": "IMAGEMILL_NOTIFIER_PORT",
}


@dataclass
class Rivals:
    """Two systems with one set of ports: the second lost them to the first.

    `said` is what `up` of the second wrote to stderr after that.
    """

    first: Installation
    second: Installation
    said: str


@pytest.fixture(scope="module")
def rivals(
    kafka_install: KafkaInstall,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Rivals]:
    kafka = kafka_install.libs.parent
    # With a path that a Unix socket cannot have, blanks, and letters that are not ASCII.
    folder = tmp_path_factory.mktemp("Jürgens Rechner") / ("tief " * 20).strip()
    folder.mkdir()
    first = Installation(folder, kafka, free_port)
    second = Installation(tmp_path_factory.mktemp("other"), kafka, free_port)
    second.environ |= {name: first.environ[name] for name in SERVICES.values()}
    second.port = first.port
    try:
        second.up()
        _take_over(first, second)
        later = second.run("up")
        assert later.returncode == 1, later
        yield Rivals(first, second, later.stderr)
    finally:
        for each in (first, second):
            each.run("down")


def _take_over(first: Installation, second: Installation) -> None:
    """Start the first system on the ports of the second, whose services have crashed."""
    services = second.status()
    [pid_file] = second.home.glob("run/supervisord.pid")
    supervisor = int(pid_file.read_text())
    os.kill(supervisor, signal.SIGSTOP)
    try:
        for name in SERVICES:
            os.kill(services[name]["pid"], signal.SIGKILL)
        first.up()
    finally:
        os.kill(supervisor, signal.SIGCONT)


def test_the_later_of_two_systems_says_which_port_is_taken_and_by_whom(rivals: Rivals):
    first, second = rivals.first, rivals.second
    named = re.search(
        r"port (\d+) is taken by .*\(pid (\d+)\) of the imagemill system in (.+)\.", rivals.said
    )
    assert named, rivals.said
    variable = next(name for name in SERVICES.values() if first.environ[name] == named[1])
    assert f"{variable}=" in rivals.said
    assert int(named[2]) in {service["pid"] for service in first.status().values()}
    assert named[3].startswith(str(first.home))
    assert second.run("up").returncode == 1


def test_its_status_says_that_the_services_restart_and_why(rivals: Rivals):
    first, second = rivals.first, rivals.second

    def all_restart() -> bool:
        states = second.status()
        return {states[name]["state"] for name in SERVICES} == {"restarting"}

    assert wait_until(all_restart, 120)
    shown = second.run("status").stdout
    for name, variable in SERVICES.items():
        assert f"The {name} ends soon after each start: port {second.environ[variable]}" in shown
    assert f"the imagemill system in {first.home}" in shown
    for service in first.status().values():
        assert (service["state"], service["restarts"]) == ("running", 0)


def test_each_has_a_broker_of_its_own(rivals: Rivals):
    ports = [each.status()["broker"]["port"] for each in (rivals.first, rivals.second)]
    assert ports[0] != ports[1]
    assert {each.status()["broker"]["state"] for each in (rivals.first, rivals.second)} == {
        "running"
    }


def test_a_port_that_is_taken_from_a_running_service_is_said_and_taken_back(rivals: Rivals):
    first = rivals.first
    notifier = first.status()["notifier"]
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(notifier["pid"], signal.SIGKILL)
        assert wait_until(lambda: _bound(thief, notifier["port"]), 10, every_s=0.001)
        thief.listen()
        assert wait_until(lambda: first.status()["notifier"]["state"] == "restarting", 60)
        reason = first.status()["notifier"]["reason"]
        assert f"port {notifier['port']} is taken by" in reason
        assert f"(pid {os.getpid()})" in reason
        done = first.run("up")
        assert done.returncode == 1
        assert f"port {notifier['port']} is taken by" in done.stderr
    assert wait_until(first.ready, 120)
    assert wait_until(lambda: first.status()["notifier"]["state"] == "running", 60)


def _bound(server: socket.socket, port: int) -> bool:
    try:
        server.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_with_other_ports_it_starts_and_a_second_up_waits_for_the_first(
    rivals: Rivals, free_port: Callable[[], int]
):
    second = rivals.second
    second.environ |= {variable: str(free_port()) for variable in SERVICES.values()}
    second.port = int(second.environ["PORT"])
    ups = [second.begin("up") for _ in range(2)]
    ended = [(*up.communicate(timeout=240), up.returncode) for up in ups]
    assert [code for _, _, code in ended] == [0, 0], ended
    waited = [printed for printed, _, _ in ended if "waiting for it" in printed]
    assert len(waited) == 1
    assert {service["restarts"] for service in second.status().values()} == {0}


def test_a_service_that_ends_at_once_is_shown_with_its_error(rivals: Rivals):
    second = rivals.second
    assert second.run("down").returncode == 0
    rows = second.home / "api"
    rows.rename(rows.with_name("api.kept"))
    rows.write_text("a file where the API's folder belongs")
    try:
        done = second.run("up")
        assert done.returncode == 1
        assert f"the api does not become ready on port {second.port} and has ended" in done.stderr
        api = second.status()["api"]
        assert api["state"] == "restarting"
        assert api["restarts"] >= 2
        assert str(rows) in api["reason"]
        assert f"The api ends soon after each start: {api['reason']}" in second.run("status").stdout
    finally:
        rows.unlink()
        rows.with_name("api.kept").rename(rows)


def test_up_after_a_loop_works_once_its_cause_is_gone(rivals: Rivals):
    second = rivals.second
    second.up()
    # Those that ended while the cause was there are no loop any more.
    assert wait_until(lambda: second.status()["api"]["state"] == "running", 60)


def test_a_supervisor_that_died_leaves_a_socket_and_pid_file_that_keep_nobody_out(rivals: Rivals):
    second = rivals.second
    [pid_file] = second.home.glob("run/supervisord.pid")
    supervisor = int(pid_file.read_text())
    pids = [service["pid"] for service in second.status().values()]
    for pid in (supervisor, *pids):
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not any(map(psutil.pid_exists, (supervisor, *pids))), 20)
    assert pid_file.exists()
    second.up()
    assert second.run("down").returncode == 0


def test_data_is_kept_in_a_home_with_blanks_and_letters_that_are_not_ascii(rivals: Rivals):
    both = (rivals.first, rivals.second)
    [system] = [each for each in both if "Jürgens" in str(each.home)]
    for each in both:
        each.run("down")
    # The locale of a service manager or a bare container.
    system.environ["LC_ALL"] = "C"
    system.up()
    jobs = _jobs(system)
    assert system.run("down").returncode == 0
    system.up()
    assert jobs and jobs <= _jobs(system)


def _jobs(system: Installation) -> set[str]:
    return {job["id"] for job in json.loads(system.get("/v1/jobs?limit=100"))["jobs"]}
