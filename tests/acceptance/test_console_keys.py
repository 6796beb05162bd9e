"""The console in a real browser on an API that asks for keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from confluent_kafka import Producer

from producer_api.access.keys.ring import KeyMessage
from schemas.access import Scope
from tests.acceptance.support.browser import Browser, chromium
from tests.acceptance.support.system import System
from tests.acceptance.support.tokens import Tokens
from tests.support.keys import key_message, made_key, revocation
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest

ENTER = "\ue007"
_STATUS = "return document.querySelector('#job .panel-head .status')?.textContent"
_ASKS = "return document.querySelector('#login').open"
_LOADED = """
const picture = document.querySelector(arguments[0]);
return picture?.complete && picture.naturalWidth;
"""


class Keys:
    """Writes keys to the topic of a system, as `imagemill keys` does."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._producer = Producer({"bootstrap.servers": system.environ["KAFKA_BOOTSTRAP_SERVERS"]})

    def write(self, message: KeyMessage) -> None:
        topic = self._system.environ["IMAGEMILL_TOPIC_PREFIX"] + message.topic
        self._producer.produce(topic, message.value, message.key)
        assert self._producer.flush(20) == 0

    def create(self, **fields: object) -> str:
        """Write a key and wait until the API takes it; return its secret."""
        key, secret = made_key(**fields)
        self.write(key_message(key))
        wait_until(lambda: self.status(secret), lambda status: status == 200)
        return secret

    def status(self, secret: str) -> int:
        headers = {"X-API-Key": secret}
        return requests.get(f"{self._system.url}/v1/jobs", headers=headers, timeout=30).status_code


@pytest.fixture(scope="module")
def locked(start_nimble) -> Iterator[System]:
    """A system whose API asks for keys, as it has one."""
    with start_nimble() as system:
        Keys(system).create(name="the first")
        yield system


@pytest.fixture(scope="module")
def keys(locked: System) -> Keys:
    return Keys(locked)


@pytest.fixture(scope="module")
def window(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser"), free_port()) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, locked: System) -> Browser:
    """The console, opened by a person who has given no key yet."""
    window.open("about:blank")
    window.open(locked.url + "/")
    window.run("sessionStorage.clear()")
    window.open("about:blank")
    window.open(locked.url + "/")
    window.until(_ASKS)
    return window


def _give(browser: Browser, secret: str) -> None:
    browser.one("#key").type(secret)
    browser.press(ENTER)


def _start_hold(browser: Browser, tokens: Tokens, photo: Path) -> str:
    browser.until("return document.querySelector('#operation').options.length > 0")
    browser.choose("#operation", "hold")
    browser.one("#param-folder").type(str(tokens.folder))
    browser.one("#files").type(str(photo))
    browser.one("#submit").click()
    place = browser.until("return location.hash.startsWith('#/jobs/') && location.hash")
    return place.removeprefix("#/jobs/")


def test_a_key_is_asked_for_and_kept_in_the_session_alone(browser, keys):
    assert browser.one("#key").label == "API key or token"
    assert browser.run("return document.activeElement.id") == "key"
    assert not browser.one("#key-error").shown
    secret = keys.create(name="a person")
    _give(browser, secret)
    browser.until("return document.querySelector('#operation').options.length > 0")
    assert not browser.run(_ASKS)
    assert browser.run("return {...sessionStorage}") == {"imagemill.key": secret}
    assert browser.run("return [{...localStorage}, document.cookie]") == [{}, ""]
    assert secret not in browser.run("return location.href + document.documentElement.outerHTML")


def test_a_wrong_key_is_refused_with_the_sentence_of_the_api(browser, keys):
    secret = keys.create(name="a person")
    _give(browser, secret[:-1] + ("A" if secret[-1] != "A" else "B"))
    said = wait_until(lambda: browser.one("#key-error").text)
    assert said == "The API key is mistyped: its checksum is wrong."
    assert browser.run(_ASKS)
    browser.press("\ue00c")
    assert browser.run(_ASKS), "Escape leaves a page that shows nothing"
    _give(browser, secret)
    browser.until("return document.querySelector('#operation').options.length > 0")


def test_a_job_is_made_followed_and_seen_with_a_key(browser, keys, tokens, photos):
    _give(browser, keys.create(name="a person"))
    job_id = _start_hold(browser, tokens, photos / "coffee.png")
    browser.until(f"{_STATUS} === 'running'")
    # The state comes by events: the page polls only the list.
    tokens.give()
    browser.until(f"{_STATUS} === 'succeeded'")
    for picture in ("img.after", "img.before"):
        browser.until(_LOADED, picture)
        assert browser.run("return document.querySelector(arguments[0]).src", picture).startswith(
            "blob:"
        )

    browser.run("""
      HTMLAnchorElement.prototype.click = function () {
        window.saved = [this.href, this.download];
      };
      const link = document.querySelector("a.button[download]");
      link.dispatchEvent(new Event("click", { cancelable: true }));
    """)
    address, name = browser.until("return window.saved")
    assert address.startswith("blob:") and name.startswith("coffee.")

    browser.one(".back").click()
    browser.until(_LOADED, f"#list a[href$='{job_id}'] img")


def test_a_revoked_key_asks_for_another_one_and_goes_on(browser, keys):
    key, secret = made_key(name="short-lived")
    keys.write(key_message(key))
    wait_until(lambda: keys.status(secret), lambda status: status == 200)
    _give(browser, secret)
    browser.until("return !document.querySelector('#empty').hidden")
    keys.write(revocation(key))
    browser.until(_ASKS)
    assert browser.one("#key-error").text == "The API key was revoked; use another one."
    _give(browser, keys.create(name="the next"))
    wait_until(lambda: browser.one("#health").text, lambda words: words == "Ready")


def test_logging_out_leaves_nothing_on_the_page(browser, keys, tokens, photos):
    tokens.open()
    _give(browser, keys.create(name="a person"))
    _start_hold(browser, tokens, photos / "coffee.png")
    browser.until(f"{_STATUS} === 'succeeded'")
    browser.one("#logout").click()
    browser.until(_ASKS)
    assert browser.run("return {...sessionStorage}") == {}
    assert not browser.find(".item") and not browser.find("#list li")
    assert not browser.one("#logout").shown


def test_a_key_without_the_scope_models_sees_the_queues(browser, keys):
    _give(browser, keys.create(name="usual"))
    facts = browser.until("return document.querySelector('#service-facts').textContent")
    assert "may not read the workers" in facts and "Queued" in facts


def test_another_person_s_jobs_are_not_listed(browser, keys, tokens, photos):
    tokens.open()
    _give(browser, keys.create(name="ada", scopes=tuple(Scope)[:3]))
    job_id = _start_hold(browser, tokens, photos / "coffee.png")
    browser.until(f"{_STATUS} === 'succeeded'")
    browser.one("#logout").click()
    browser.until(_ASKS)
    _give(browser, keys.create(name="eve"))
    browser.until("return document.querySelector('#job .error')?.textContent")
    assert f"no job {job_id}" in browser.one("#job .error").text
    browser.one(".back").click()
    browser.until("return !document.querySelector('#empty').hidden")
