"""The local system as its user has it: brought up, killed piece by piece, taken down, kept."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from PIL import Image

from imagemill.local.broker.install import KafkaInstall
from imagemill.local.stack.ready import wait_until
from tests.integration.imagemill.installation import Installation

pytestmark = pytest.mark.longest

NAMES = ["broker", "api", "processor", "notifier"]


@pytest.fixture(scope="module")
def installation(
    kafka_install: KafkaInstall,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("stack")
    installation = Installation(folder, kafka_install.libs.parent, free_port)
    installation.printed = installation.up()
    try:
        yield installation
    finally:
        installation.run("down")


def test_up_shows_a_cut_out_and_where_everything_is(installation):
    cutout = installation.home / "sample" / "cutout.png"
    photo = installation.home / "sample" / "photo.jpg"
    for named in (cutout, photo, installation.home / "logs", f":{installation.port}/"):
        assert str(named) in installation.printed
    with Image.open(cutout) as image, Image.open(photo) as source:
        assert image.mode == "RGBA"
        assert image.size == source.size
        alpha = image.getchannel("A")
        # The cat fills the middle; the upper corners are background.
        assert alpha.getpixel((image.width // 2, image.height // 2)) > 250
        assert alpha.getpixel((2, 2)) < 5


def test_status_names_every_process(installation):
    services = installation.status()
    assert list(services) == NAMES
    for service in services.values():
        assert set(service) == {"name", "pid", "state", "restarts", "port"}
        assert service["state"] == "running"
        assert service["restarts"] == 0
        assert psutil.pid_exists(service["pid"])
    assert services["api"]["port"] == installation.port


def test_every_service_has_its_log(installation):
    logs = installation.home / "logs"
    for name in NAMES:
        assert (logs / f"{name}.log").stat().st_size > 0


def test_a_second_up_takes_seconds(installation):
    before = {name: service["pid"] for name, service in installation.status().items()}
    started = time.monotonic()
    installation.up()
    assert time.monotonic() - started < 15
    after = {name: service["pid"] for name, service in installation.status().items()}
    assert after == before


@pytest.mark.parametrize("name", NAMES)
def test_what_is_killed_is_started_again_within_two_seconds(installation, name):
    before = installation.status()[name]
    os.kill(before["pid"], signal.SIGKILL)
    killed = time.monotonic()

    def again() -> bool:
        return installation.status()[name]["pid"] not in (None, before["pid"])

    assert wait_until(again, 10)
    process = psutil.Process(installation.status()[name]["pid"])
    # By its own start time: asking for the status takes most of a second itself.
    assert process.create_time() - (time.time() - (time.monotonic() - killed)) < 2
    assert wait_until(lambda: installation.status()[name]["restarts"] == before["restarts"] + 1, 10)
    assert wait_until(installation.ready, 120)


def test_a_taken_port_is_said_before_anything_starts(installation, tmp_path, kafka_install):
    other = Installation(tmp_path, kafka_install.libs.parent, lambda: installation.port)
    other.environ["IMAGEMILL_HOST"] = installation.host
    done = other.run("up")
    if done.returncode == 0:
        other.run("down")
    assert done.returncode == 1
    assert f"port {installation.port} is taken" in done.stderr
    assert {service["state"] for service in other.status().values()} == {"stopped"}


def test_after_all_that_it_still_works_and_a_restart_elsewhere_loses_nothing(installation):
    installation.up()
    jobs = json.loads(installation.get("/v1/jobs?limit=100"))["jobs"]
    assert jobs
    pids = [service["pid"] for service in installation.status().values()]

    assert installation.run("down").returncode == 0
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    assert {service["state"] for service in installation.status().values()} == {"stopped"}

    installation.environ["IMAGEMILL_HOST"] = "127.0.0.2"
    assert f"http://127.0.0.2:{installation.port}/" in installation.up()
    kept = {job["id"] for job in json.loads(installation.get("/v1/jobs?limit=100"))["jobs"]}
    assert {job["id"] for job in jobs} <= kept
