"""The console's pages of webhooks in a real browser: endpoints, and deliveries of a job."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.acceptance.support.browser import Browser
from tests.acceptance.support.hook import hook
from tests.acceptance.support.system import System
from tests.acceptance.support.web import Answer, WebServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest

ALL = "/v1/webhooks/endpoints"
TAB, ENTER, SPACE = "\ue004", "\ue007", " "
_OVERFLOWS = "return document.documentElement.scrollWidth > innerWidth"
_TITLE = "return document.querySelector('#webhooks-title')?.textContent"
_MARK = "return document.querySelector('#webhooks .panel-head .status')?.textContent"
_NOTE = "return document.querySelector('#webhooks [role=status]:not([hidden])')?.textContent"


def open_page(browser: Browser, system: System, fragment: str = "#/webhooks") -> None:
    # The empty page first: a change of the fragment alone loads nothing.
    browser.open("about:blank")
    browser.open(f"{system.url}/{fragment}")
    browser.one("#work :is(.back, #list li, #empty:not([hidden]))")


@pytest.fixture(autouse=True)
def no_endpoints(nimble: System) -> Iterator[None]:
    """Delete all endpoints afterwards: they would get the events of other tests' jobs."""
    yield
    for each in nimble.get(ALL).json()["endpoints"]:
        assert nimble.delete(f"{ALL}/{each['id']}").ok


def endpoint_of(system: System, **fields: object) -> str:
    """Create an endpoint over HTTP; return its id."""
    address = f"http://127.0.0.1:9/{uuid.uuid4().hex}"
    answer = system.post(ALL, json={"url": address} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def press_button(browser: Browser, text: str) -> None:
    """Click the button with that text on the page of an endpoint."""
    script = "return [...document.querySelectorAll('#webhooks button')]"
    browser.until(f"{script}.find((each) => each.textContent === arguments[0])", text)
    browser.run(f"{script}.find((each) => each.textContent === arguments[0]).click()", text)


def test_an_endpoint_is_created_and_its_secret_is_shown_once(browser, nimble, screenshot):
    open_page(browser, nimble)
    browser.one("#webhooks summary").click()
    address = f"http://127.0.0.1:9/{uuid.uuid4().hex}"
    browser.one("#endpoint-url").type(address)
    browser.one("input[value='job.failed']").click()
    browser.one("#endpoint-headers").type("X-Shop: eins")
    screenshot(browser, "webhooks-form")
    browser.one("#webhooks form .primary").click()
    browser.until(f"{_TITLE} === arguments[0]", address)

    (made,) = (each for each in nimble.get(ALL).json()["endpoints"] if each["url"] == address)
    assert made["events"] == ["job.finished", "job.failed"]
    assert made["headers"] == ["X-Shop"]
    secret = browser.run("return document.querySelector('#endpoint-secret').value")
    path = f"{ALL}/{made['id']}"
    assert nimble.get(f"{path}/secret").json()["secret"] == secret
    assert "job.finished, job.failed" in browser.one("#webhooks .properties").text
    screenshot(browser, "webhooks-endpoint")

    browser.one(".back").click()
    browser.one(f"#webhooks a[href$='{made['id']}']").click()
    browser.until(f"{_TITLE} === arguments[0]", address)
    assert browser.find("#endpoint-secret") == []
    press_button(browser, "Show secret")
    browser.until(
        "return document.querySelector('#endpoint-secret')?.value === arguments[0]", secret
    )


def test_an_endpoint_is_disabled_rotated_and_deleted(browser, nimble):
    endpoint = endpoint_of(nimble)
    path = f"{ALL}/{endpoint}"
    secret = nimble.get(f"{path}/secret").json()["secret"]
    open_page(browser, nimble, f"#/webhooks/{endpoint}")
    press_button(browser, "Disable")
    browser.until(f"{_MARK} === 'disabled'")
    assert nimble.get(path).json()["disabled"] is True
    press_button(browser, "Enable")
    browser.until(f"{_MARK} === 'enabled'")

    press_button(browser, "Rotate secret")
    shown = browser.until("return document.querySelector('#endpoint-secret')?.value")
    assert shown != secret and nimble.get(f"{path}/secret").json()["secret"] == shown
    assert "signs too until" in wait_until(lambda: browser.run(_NOTE))

    press_button(browser, "Delete")
    assert nimble.get(path).ok
    press_button(browser, "Delete for good")
    browser.until("return location.hash === '#/webhooks'")
    assert nimble.get(path).status_code == 404


def test_refused_fields_are_errors_at_their_places(window, nimble):
    open_page(window, nimble)
    window.one("#webhooks summary").click()
    window.one("#endpoint-url").type("http://10.1.2.3/hook")
    window.one("#endpoint-headers").type("Host: elsewhere")
    window.one("#webhooks form .primary").click()
    assert "Host is set by imagemill" in wait_until(
        lambda: window.one("#endpoint-headers-error").text
    )
    assert window.run("return document.activeElement.id") == "endpoint-headers"

    window.one("#endpoint-headers").clear()
    window.one("#webhooks form .primary").click()
    assert "private network" in wait_until(lambda: window.one("#endpoint-url-error").text)
    assert not window.one("#endpoint-headers-error").shown
    window.one("input[value='job.finished']").click()
    window.one("#webhooks form .primary").click()
    wait_until(lambda: window.one("#endpoint-events-error").text)


def test_an_unknown_endpoint_is_an_error_in_the_page(window, nimble):
    open_page(window, nimble, "#/webhooks/ep_00000000")
    assert "no webhook endpoint ep_00000000" in window.one("#webhooks .error").text


def test_the_pages_of_webhooks_work_by_keys(browser, nimble):
    endpoint = endpoint_of(nimble, disabled=True)
    open_page(browser, nimble, "#/")

    def tab_to(condition: str) -> None:
        for _ in range(60):
            if browser.run(f"return document.activeElement.matches({condition!r})"):
                return
            browser.press(TAB)
        raise AssertionError(f"no way by Tab to {condition}")

    browser.run("document.querySelector('.skip').focus()")
    tab_to("a[href='#/webhooks']")
    browser.press(ENTER)
    browser.one(f"#webhooks a[href$='{endpoint}']")
    tab_to(f"#webhooks a[href$='{endpoint}']")
    browser.press(ENTER)
    browser.until(f"{_MARK} === 'disabled'")
    browser.until("return document.activeElement.matches('.back')")
    tab_to("#webhooks .actions button:nth-child(2)")
    browser.press(SPACE)
    browser.until(f"{_MARK} === 'enabled'")


def test_every_control_of_webhooks_has_a_name_for_screen_readers(browser, nimble):
    open_page(browser, nimble)
    browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    controls = browser.find("#webhooks :is(input, select, textarea, button, a)")
    assert len(controls) > 9
    assert [each for each in controls if each.shown and not each.label] == []
    open_page(browser, nimble, f"#/webhooks/{endpoint_of(nimble)}")
    browser.until(_MARK)
    press_button(browser, "Show secret")
    browser.one("#endpoint-secret")
    controls = browser.find("#webhooks :is(input, button, a)")
    assert [each for each in controls if each.shown and not each.label] == []


def test_the_deliveries_of_a_job_are_shown_with_their_attempts(
    browser, nimble, web: WebServer, screenshot
):
    address = web.serve("/hook", Answer(500, b"<b>out of order</b>", "text/html"))
    job = nimble.submitted(operation="noop", webhook={"url": address})
    open_page(browser, nimble, f"#/jobs/{job}")
    status = "return document.querySelector('#job .deliveries .status')?.textContent"
    browser.until(f"{status} === 'failed'")
    row = browser.one("#job .deliveries summary")
    assert address in row.text
    row.click()
    rows = "return document.querySelectorAll('#job .deliveries tbody tr').length"
    attempts = browser.until(rows)
    assert attempts >= 3
    assert "status 500" in browser.one("#job .deliveries tbody").text
    assert browser.one("#job .deliveries pre").text == "<b>out of order</b>"
    screenshot(browser, "webhooks-job")


def test_a_test_event_and_a_replay_are_seen_at_once(browser, nimble, screenshot):
    with hook() as receiver:
        path = f"/{uuid.uuid4().hex}"
        receiver.status[path] = 500
        endpoint = endpoint_of(nimble, url=receiver.url(path))
        open_page(browser, nimble, f"#/webhooks/{endpoint}")
        press_button(browser, "Send test event")
        wait_until(lambda: browser.run(_NOTE), lambda text: "status 500" in (text or ""))
        status = "return document.querySelector('#webhooks .deliveries .status')?.textContent"
        browser.until(f"{status} === 'failed'")

        nimble.submitted(operation="noop")
        failed = "return document.querySelectorAll('#webhooks .deliveries .failed').length"
        browser.until(f"{failed} === 2")
        receiver.status[path] = 200
        browser.one("#webhooks .deliveries li:first-child summary").click()
        browser.one("#webhooks .deliveries li:first-child tbody")
        press_button(browser, "Post it once more")
        browser.until(f"{status} === 'delivered'")
        browser.until(
            "return [...document.querySelectorAll('#webhooks .deliveries tbody tr')].at(-1)"
            "?.textContent.includes('replay')"
        )
        screenshot(browser, "webhooks-replayed")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_pages_of_webhooks_fit_every_width(
    browser, nimble, web: WebServer, screenshot, width, theme
):
    browser.theme(theme)
    browser.resize(width, 844)
    address = web.serve("/hook", Answer(410, b"x" * 400))
    job = nimble.submitted(operation="noop", webhook={"url": address})
    endpoint = endpoint_of(nimble, description="A shop with a long name " * 5)
    open_page(browser, nimble)
    browser.one(f"#webhooks a[href$='{endpoint}']")
    browser.run(
        "document.querySelectorAll('#webhooks details').forEach((each) => (each.open = true))"
    )
    assert not browser.run(_OVERFLOWS)
    screenshot(browser, f"webhooks-{width}-{theme}")
    open_page(browser, nimble, f"#/webhooks/{endpoint}")
    browser.until(_MARK)
    press_button(browser, "Rotate secret")
    browser.one("#endpoint-secret")
    assert not browser.run(_OVERFLOWS)
    screenshot(browser, f"webhooks-endpoint-{width}-{theme}")
    open_page(browser, nimble, f"#/jobs/{job}")
    browser.one("#job .deliveries summary").click()
    browser.one("#job .deliveries tbody")
    assert not browser.run(_OVERFLOWS)
    screenshot(browser, f"webhooks-job-{width}-{theme}")
