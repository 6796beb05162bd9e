"""The running system, and the files and servers that its clients use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.support.browser import Browser, chromium
from tests.acceptance.support.system import ROOT, System
from tests.acceptance.support.tokens import Tokens
from tests.acceptance.support.web import WebServer, web_server
from tests.support.models import real_store

StartSystem = Callable[..., AbstractContextManager[System]]
# Services with this folder in their PYTHONPATH have the operations `hold` and `stumble`.
PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="session")
def system(
    broker: Any, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[System]:
    """API, processor and notifier with the default models."""
    store = real_store("u2netp", "ssdlite_mobilenet_v2")
    home = tmp_path_factory.mktemp("system")
    running = System(broker.bootstrap, home, store.home, free_port, IMAGEMILL_URL_ALLOW="127.0.0.1")
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def start_nimble(
    broker: Any, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> StartSystem:
    """Start a system without models, with the operations of `plugin` and short retry delays."""

    @contextmanager
    def start(**env: str) -> Iterator[System]:
        home = tmp_path_factory.mktemp("nimble")
        settings = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGIN)]),
            "IMAGEMILL_URL_ALLOW": "127.0.0.1",
            "IMAGEMILL_RETRY_BASE_S": "0.2",
            "IMAGEMILL_MAX_ATTEMPTS": "3",
            "IMAGEMILL_WEBHOOK_SCHEDULE": "0.1s,0.1s",
        }
        running = System(broker.bootstrap, home, home / "models", free_port, **(settings | env))
        try:
            yield running.start()
        finally:
            running.stop()

    return start


@pytest.fixture(scope="session")
def nimble(start_nimble: StartSystem) -> Iterator[System]:
    """A system of `start_nimble` shared by all modules; expired jobs are deleted every 0.3 s."""
    with start_nimble(IMAGEMILL_RETENTION_INTERVAL_S="0.3") as running:
        yield running


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    """Tokens for this test's jobs of `hold`; at its end all of them may pass."""
    given = Tokens(tmp_path / "tokens")
    yield given
    given.open()


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A web server for images, on every address of this machine."""
    with web_server() as server:
        yield server


@pytest.fixture
def workplace(tmp_path: Path, photos: Path) -> Path:
    """A folder with image1.jpg, the cup, and image2.jpg, the cat."""
    for name, photo in (("image1.jpg", "coffee.png"), ("image2.jpg", "chelsea.png")):
        with Image.open(photos / photo) as picture:
            picture.convert("RGB").save(tmp_path / name, quality=90)
    return tmp_path


@pytest.fixture(scope="module")
def window(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser"), free_port()) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The window in the size of a desktop's; fails the test if its pages cause errors."""
    window.resize(1280, 900)
    window.theme("light")
    window.complaints()
    yield window
    assert window.complaints() == []


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[[Browser, str], None]:
    """Save a screenshot, in the folder IMAGEMILL_SCREENSHOTS if that is set."""
    folder = Path(os.environ.get("IMAGEMILL_SCREENSHOTS") or tmp_path)
    folder.mkdir(exist_ok=True)
    return lambda browser, name: browser.screenshot(folder / f"{name}.png")
