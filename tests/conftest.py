"""Fixtures of every test: a real broker, photos, ports, and files that no clone has."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagemill.local.broker.clients import plain_clients, wait_until_served
from imagemill.local.broker.install import KafkaInstall
from imagemill.local.broker.prerequisites import BrokerKind, choose_broker, docker_answers, look
from imagemill.local.broker.process import LocalBroker
from imagemill.local.layout import Layout
from tests.support.servers import PortBlock

ROOT = Path(__file__).parents[1]
# A broker of tests lives for minutes, too short for Java's second compiler to pay: without it a
# broker takes half the CPU.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@dataclass(frozen=True)
class Broker:
    """A running Kafka broker; `bootstrap` is a value of KAFKA_BOOTSTRAP_SERVERS."""

    bootstrap: str


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder with astronaut.png, chelsea.png and coffee.png, part of scikit-image's wheel."""
    package = find_spec("skimage")
    assert package is not None and package.origin is not None, "scikit-image is not installed"
    return Path(package.origin).with_name("data")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with files that no clone has; a test that uses it is marked `extra`."""
    folder = Path(os.environ.get("IMAGEMILL_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.fail(f"{folder} is missing: set IMAGEMILL_SHARED to the folder", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def kafka_install() -> KafkaInstall:
    """Java and Kafka's jars, the same as those of `make up` here; fetched where missing."""
    home = Path(os.environ.get("IMAGEMILL_HOME") or ROOT / ".imagemill")
    home.mkdir(parents=True, exist_ok=True)
    with (home / "tests.lock").open("a") as lock:
        # One of the run's two processes fetches; the other waits and finds everything there.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return KafkaInstall.find(Layout.of(home).jars)


@pytest.fixture(scope="session")
def broker(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Broker]:
    """One broker for all tests of a process; each test has its own topic prefix.

    The cluster of KAFKA_BOOTSTRAP_SERVERS if set; else a container, where a Docker daemon answers;
    else a local broker from jars. No test is skipped.
    """
    existing = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if existing:
        yield Broker(existing)
    elif docker_answers(os.environ):
        yield from _container(free_port)
    else:
        install = request.getfixturevalue("kafka_install")
        ports = (free_port(), free_port())
        local = LocalBroker(tmp_path_factory.mktemp("kafka"), install, ports=ports)
        local.start()
        try:
            yield Broker(local.bootstrap)
        finally:
            local.stop()


@pytest.fixture(scope="session")
def start_broker(
    kafka_install: KafkaInstall, free_port: Callable[[], int]
) -> Callable[[Path], AbstractContextManager[LocalBroker]]:
    """Start a broker with its data in a folder; the test may kill and restart it."""

    @contextmanager
    def start(folder: Path) -> Iterator[LocalBroker]:
        local = LocalBroker(folder, kafka_install, ports=(free_port(), free_port()))
        local.start()
        try:
            yield local
        finally:
            local.kill()

    return start


@pytest.fixture
def own_broker(
    start_broker: Callable[[Path], AbstractContextManager[LocalBroker]], tmp_path: Path
) -> Iterator[LocalBroker]:
    """A running broker of this test alone, which may kill and restart it."""
    with start_broker(tmp_path / "kafka") as local:
        yield local


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of topics and consumer groups that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture(scope="session")
def free_port() -> Iterator[Callable[[], int]]:
    """Return a free TCP port, at each call another one."""
    with closing(PortBlock()) as block:
        yield block.take


def _container(free_port: Callable[[], int]) -> Iterator[Broker]:
    from testcontainers.core.container import DockerContainer

    from imagemill.local.broker.container import environment, image

    port = free_port()
    container = DockerContainer(image()).with_bind_ports(port, port)
    for name, value in environment(port, free_port()).items():
        container.with_env(name, value)
    with container:
        wait_until_served(plain_clients(f"127.0.0.1:{port}"), 90.0)
        yield Broker(f"127.0.0.1:{port}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need files no clone has, and run the longest modules first.

    The two processes of `make test` end at about the same time if the modules left at the end are
    short.
    """
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.extra)
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


def pytest_report_header() -> str:
    """Name the kind of broker that the run uses."""
    kind = choose_broker(look(os.environ, jars_present=True))
    if kind is not BrokerKind.EXTERNAL and docker_answers(os.environ):
        kind = BrokerKind.DOCKER
    return f"broker: {kind}"
