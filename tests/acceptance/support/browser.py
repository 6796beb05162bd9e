"""A real Chromium, driven by its own driver over the WebDriver protocol (W3C)."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.waiting import wait_until

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# The browser opens no connections of its own, and waits for no graphics card or first-run page.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium(
    profile: Path, port: int, *, width: int = 1280, height: int = 900
) -> Iterator[Browser]:
    """Run a browser with an empty profile and a window of that size, in CSS pixels."""
    driver, binary = shutil.which("chromedriver"), _browser()
    assert driver and binary, (
        "Chromium is missing: run make test, or apt-get install chromium-driver"
    )
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        browser = Browser(f"http://127.0.0.1:{port}", binary, profile)
        browser.resize(width, height)
        yield browser
        browser.quit()
    finally:
        process.terminate()
        process.wait(20)


def _browser() -> str | None:
    return next((found for name in _CHROMIUM if (found := shutil.which(name))), None)


class Browser:
    """A session with one window."""

    def __init__(self, driver: str, binary: str, profile: Path) -> None:
        wait_until(lambda: _answers(f"{driver}/status"))
        options = {"binary": binary, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self._session = ""
        self._driver = driver
        answer = self._ask("POST", "/session", capabilities={"alwaysMatch": wanted})
        self._session = f"/session/{answer['sessionId']}"

    def open(self, url: str) -> None:
        """Load a page."""
        self._ask("POST", "/url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a JavaScript function in the page; return its value."""
        return self._ask("POST", "/execute/sync", script=script, args=list(arguments))

    def find(self, css: str) -> list[Element]:
        """Return the elements that match now."""
        found = self._ask("POST", "/elements", using="css selector", value=css)
        return [Element(self._ask, each[_ELEMENT]) for each in found]

    def one(self, css: str) -> Element:
        """Wait until an element matches; return the first."""
        return wait_until(lambda: self.find(css))[0]

    def until(self, script: str, *arguments: Any, timeout_s: float = 60.0) -> Any:
        """Run a script until its value is truthy; return the value."""
        return wait_until(lambda: self.run(script, *arguments), timeout_s=timeout_s)

    def choose(self, select: str, value: str) -> None:
        """Click an option of a select element."""
        self.one(f"{select} option[value='{value}']").click()

    def press(self, *keys: str) -> None:
        """Press keys one after the other on the focused element."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def resize(self, width: int, height: int) -> None:
        """Set the size of the viewport, in CSS pixels."""
        self.developer("Emulation.setDeviceMetricsOverride", width=width, height=height,
                       deviceScaleFactor=1, mobile=width < 600)  # fmt: skip

    def theme(self, name: str) -> None:
        """Emulate a system that prefers `light` or `dark`."""
        self.developer(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": name}],
        )

    def developer(self, command: str, **params: Any) -> Any:
        """Send a command of the Chrome DevTools Protocol."""
        return self._ask("POST", "/goog/cdp/execute", cmd=command, params=params)

    def screenshot(self, path: Path) -> None:
        """Save the whole page as a PNG."""
        shot = self.developer("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Return errors logged since the last call: of scripts, content policy and loading."""
        entries = self._ask("POST", "/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def quit(self) -> None:
        """End the session, which ends the browser."""
        self._ask("DELETE", "")

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = requests.request(
            method,
            self._driver + self._session + path,
            json=body if method == "POST" else None,
            timeout=60,
        )
        value = answer.json()["value"]
        assert answer.ok, f"{path}: {value.get('error')}: {value.get('message')}"
        return value


class Element:
    """One element of the page."""

    def __init__(self, ask: Callable[..., Any], reference: str) -> None:
        self._ask = ask
        self._path = f"/element/{reference}"

    @property
    def text(self) -> str:
        """Its rendered text."""
        return self._ask("GET", f"{self._path}/text")

    @property
    def label(self) -> str:
        """Its accessible name."""
        return self._ask("GET", f"{self._path}/computedlabel")

    @property
    def shown(self) -> bool:
        """True if it is displayed."""
        return self._ask("GET", f"{self._path}/displayed")

    def click(self) -> None:
        """Click its middle. Raises AssertionError when another element covers it."""
        self._ask("POST", f"{self._path}/click")

    def type(self, text: str) -> None:
        """Type into it; in a file input, choose the file of that path."""
        self._ask("POST", f"{self._path}/value", text=text)

    def clear(self) -> None:
        """Delete its text."""
        self._ask("POST", f"{self._path}/clear")


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False
