"""What every test may ask for: a real broker, the test photos, and where shared data lies."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagemill.local.broker.kafka import KafkaInstall, LocalBroker, plain_clients, wait_until_served
from imagemill.local.broker.prerequisites import BrokerKind, choose_broker, docker_answers, look
from imagemill.local.layout import Layout
from tests.support.ports import PortBlock

ROOT = Path(__file__).parents[1]
# The processes of `make test` end together if what is left at the end is short.
_LONGEST_FIRST = (
    "test_matting.py",
    "test_guarantees.py",
    "test_notifier.py",
    "test_local_stack.py",
    "test_pool.py",
    "test_real_models.py",
    "test_console.py",
    "test_batched_models.py",
    "test_api_broker_failures.py",
    "test_log_gaps.py",
    "test_retries.py",
    "test_read_text.py",
    "test_pool_batches.py",
    "test_local_broker.py",
    "test_storage_s3.py",
    "test_precisions.py",
)
# A broker of tests lives for minutes at most: half of its time would be Java's second compiler.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@dataclass(frozen=True)
class Broker:
    """A running Kafka broker; `bootstrap` is what KAFKA_BOOTSTRAP_SERVERS should be."""

    bootstrap: str


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with test photos and models: IMAGEMILL_SHARED, or `shared` beside the checkout."""
    folder = Path(os.environ.get("IMAGEMILL_SHARED") or ROOT.parent / "shared")
    assert folder.is_dir(), f"{folder} is missing: set IMAGEMILL_SHARED to the shared test data"
    return folder


@pytest.fixture(scope="session")
def photos(shared: Path) -> Path:
    """The folder with astronaut.png, chelsea.png and coffee.png."""
    return shared / "photos"


@pytest.fixture(scope="session")
def kafka_install() -> KafkaInstall:
    """Java and Kafka's jars, shared with `make up` of this checkout and fetched if missing."""
    home = Path(os.environ.get("IMAGEMILL_HOME") or ROOT / ".imagemill")
    home.mkdir(parents=True, exist_ok=True)
    with (home / "tests.lock").open("a") as lock:
        # Of two processes of a run one fetches, and the other finds all there.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return KafkaInstall.find(Layout.of(home).jars)


@pytest.fixture(scope="session")
def broker(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
) -> Iterator[Broker]:
    """One broker for all tests of a process, which use topic prefixes of their own.

    KAFKA_BOOTSTRAP_SERVERS if set; else a container where a Docker daemon answers; else a local
    broker from jars. Never a skip.
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
    """Starts a broker with its data in that folder, which its users may kill and restart."""

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
    """A started broker of this test alone, which may kill and restart it."""
    with start_broker(tmp_path / "kafka") as local:
        yield local


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of topics and groups that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture(scope="session")
def free_port() -> Iterator[Callable[[], int]]:
    """Gives a free TCP port at each call, another one each time."""
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    places = {name: place for place, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_report_header() -> str:
    """Which broker the run is against."""
    kind = choose_broker(look(os.environ, jars_present=True))
    if kind is not BrokerKind.EXTERNAL and docker_answers(os.environ):
        kind = BrokerKind.DOCKER
    return f"broker: {kind}"
