"""The console in a real browser, on the running system, as a person uses it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.support.browser import Browser
from tests.acceptance.support.system import System
from tests.acceptance.support.tokens import Tokens
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest

TAB, ENTER, SPACE, RIGHT = "\ue004", "\ue007", " ", "\ue014"
_RESULT = "img.after"
# Red, green, blue and alpha of one pixel of a picture in the page; its place as fractions of width
# and height.
_PIXEL = """
const [css, x, y] = arguments, picture = document.querySelector(css);
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
const context = canvas.getContext("2d");
context.drawImage(picture, 0, 0);
return [...context.getImageData(canvas.width * x, canvas.height * y, 1, 1).data];
"""
_OVERFLOWS = "return document.documentElement.scrollWidth > innerWidth"


def _open(browser: Browser, system: System) -> None:
    # The empty page first: a change of the fragment alone loads nothing.
    browser.open("about:blank")
    browser.open(system.url + "/")
    browser.until("return document.querySelector('#operation').options.length > 0")


def _start(browser: Browser, operation: str, *files: Path) -> str:
    """Fill in the form and start a job; return the id of the job that the page then shows."""
    # Choosing the same operation again would reset its params.
    if browser.run("return document.querySelector('#operation').value") != operation:
        browser.choose("#operation", operation)
    if files:
        browser.one("#files").type("\n".join(map(str, files)))
    before = browser.run("return location.hash")
    browser.one("#submit").click()
    place = browser.until("return location.hash !== arguments[0] && location.hash", before)
    return place.removeprefix("#/jobs/")


def _status(browser: Browser) -> str:
    # In one step: an element found may be replaced before its text is read.
    return browser.run("return document.querySelector('#job .panel-head .status')?.textContent")


def _ended(browser: Browser, status: str) -> None:
    wait_until(lambda: _status(browser), lambda word: word == status, timeout_s=60)


def _hold(browser: Browser, tokens: Tokens, *files: Path) -> str:
    browser.choose("#operation", "hold")
    browser.one("#param-folder").type(str(tokens.folder))
    return _start(browser, "hold", *files)


def test_a_photo_goes_in_and_its_cut_out_is_seen(browser, system, photos, screenshot):
    _open(browser, system)
    screenshot(browser, "form")
    job_id = _start(browser, "remove-background", photos / "chelsea.png")
    browser.until("return document.querySelector('img.before')?.complete")
    _ended(browser, "succeeded")

    assert browser.one(_RESULT).shown
    size = "const {naturalWidth, naturalHeight} = document.querySelector(arguments[0]);"
    size += "return [naturalWidth, naturalHeight]"
    assert browser.run(size, _RESULT) == browser.run(size, "img.before") == [451, 300]
    # The result has the cat and not the corner beside its ear; the original has both.
    assert browser.run(_PIXEL, _RESULT, 0.5, 0.5)[3] > 250
    assert browser.run(_PIXEL, _RESULT, 0.97, 0.1)[3] < 10
    assert browser.run(_PIXEL, "img.before", 0.97, 0.1)[3] == 255
    checker = "return getComputedStyle(document.querySelector('.frame')).backgroundImage"
    assert "conic-gradient" in browser.run(checker)

    sent = (photos / "chelsea.png").read_bytes()
    assert system.get(f"/v1/jobs/{job_id}/items/0/input").content == sent
    download = browser.one("a[download]")
    assert download.text == "Download"
    link = browser.run("return document.querySelector('a[download]').href")
    assert link == f"{system.url}/v1/jobs/{job_id}/items/0/result"
    assert browser.one(".timings").text.startswith("queued")
    assert "u2netp" in browser.one(".properties").text
    screenshot(browser, "job")


def test_the_divider_moves_by_keys(browser, system, photos):
    _open(browser, system)
    _start(browser, "remove-background", photos / "chelsea.png")
    browser.until("return document.querySelector('.frame input[type=range]')")
    clipped = "return getComputedStyle(document.querySelector('img.before')).clipPath"
    before = browser.run(clipped)
    browser.run("document.querySelector('.frame input').focus()")
    browser.press(RIGHT, RIGHT, RIGHT)

    assert browser.run("return document.querySelector('.frame input').value") == "53"
    assert browser.run(clipped) != before


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_it_fits_every_width_in_both_themes(browser, system, photos, screenshot, width, theme):
    browser.theme(theme)
    browser.resize(width, 844)
    _open(browser, system)
    assert not browser.run(_OVERFLOWS)
    job_id = _start(browser, "detect-objects", photos / "astronaut.png", photos / "coffee.png")
    browser.until("return document.querySelectorAll('.marks polygon').length >= 2")
    _ended(browser, "succeeded")
    assert not browser.run(_OVERFLOWS)
    screenshot(browser, f"detections-{width}-{theme}")

    browser.one(".back").click()
    browser.one(f"#list a[href$='{job_id}']")
    assert not browser.run(_OVERFLOWS)
    dark = (
        browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 18)"
    )
    assert dark == (theme == "dark")
    screenshot(browser, f"list-{width}-{theme}")


def test_detections_are_listed_and_drawn(browser, system, photos):
    _open(browser, system)
    _start(browser, "detect-objects", photos / "coffee.png")
    browser.until("return document.querySelector('.marks polygon')")

    rows = browser.one(".item table").text
    assert re.search(r"cup \d+ %", rows)
    browser.one(".raw summary").click()
    assert '"predictions"' in browser.one(".raw pre").text


def test_a_job_is_followed_and_cancelled_while_it_runs(browser, nimble, tokens, photos):
    _open(browser, nimble)
    _hold(browser, tokens, photos / "coffee.png", photos / "chelsea.png", photos / "astronaut.png")
    _ended(browser, "running")
    tokens.give()
    browser.until("return document.querySelectorAll('.item .status.succeeded').length === 1")
    assert browser.run("return document.querySelector('#job > progress').value") == 1

    browser.one("#job .panel-head button").click()
    tokens.give()
    _ended(browser, "cancelled")
    assert not browser.one("#job .panel-head button").shown


def test_the_list_changes_by_itself_and_can_be_filtered(browser, nimble, tokens, photos):
    _open(browser, nimble)
    job_id = _hold(browser, tokens, photos / "coffee.png")
    browser.one(".back").click()
    word = f"return document.querySelector(\"#list a[href$='{job_id}'] .status\")?.textContent"
    browser.until(f"{word} === 'running'")
    browser.choose("#status", "failed")
    browser.until(f"{word} === undefined")
    browser.choose("#status", "queued,running")
    browser.until(f"{word} === 'running'")

    tokens.give()
    browser.until(f"{word} === undefined")
    browser.choose("#status", "succeeded")
    browser.until(f"{word} === 'succeeded'")


def test_a_refused_image_is_an_error_at_the_image_field(window, nimble, tmp_path):
    _open(window, nimble)
    fake = tmp_path / "fake.png"
    fake.write_text("no image at all")
    window.choose("#operation", "transform")
    window.one("#files").type(str(fake))
    window.one("#submit").click()

    said = wait_until(lambda: window.one("#image-error").text)
    files = {"image": (fake.name, fake.read_bytes())}
    answer = nimble.post("/v1/jobs", data={"operation": "transform"}, files=files)
    assert said == answer.json()["detail"]
    assert window.run("return document.activeElement.id") == "files"


def test_without_an_image_the_form_says_what_is_missing(window, nimble):
    _open(window, nimble)
    window.choose("#operation", "transform")
    window.one("#submit").click()

    answer = nimble.post("/v1/jobs", json={"operation": "transform"})
    assert wait_until(lambda: window.one("#image-error").text) == answer.json()["detail"]


def test_a_refused_param_is_an_error_at_its_field(window, nimble, photos):
    _open(window, nimble)
    window.choose("#operation", "remove-background")
    window.one("#files").type(str(photos / "coffee.png"))
    window.run("document.querySelector('.options').open = true")
    window.one("#param-background_color").type("reddish")
    window.run("document.querySelector('.options').open = false")
    window.one("#submit").click()

    said = wait_until(lambda: window.one("#param-background_color-error").text)
    assert "colour" in said
    assert window.run("return document.activeElement.id") == "param-background_color"
    assert window.run("return location.hash") == ""
    window.one("#param-background_color").clear()
    window.one("#submit").click()
    window.until("return location.hash.startsWith('#/jobs/')")


def test_params_that_are_no_json_are_an_error_before_anything_is_sent(browser, nimble, photos):
    _open(browser, nimble)
    browser.choose("#operation", "transform")
    browser.one(".options summary").click()
    browser.one("#param-steps").type("[{")
    browser.one("#submit").click()
    assert "not valid JSON" in browser.one("#param-steps-error").text

    browser.one("#param-steps").clear()
    browser.one("#param-steps").type('[{"do": "rotate", "degrees": 90}]')
    _start(browser, "transform", photos / "chelsea.png")
    _ended(browser, "succeeded")
    browser.until("return document.querySelectorAll('.pair .frame').length === 2")
    assert "300 \u00d7 451" in browser.one(".item-head").text


def test_everything_can_be_done_by_keys(browser, nimble):
    _open(browser, nimble)

    def tab_to(condition: str) -> None:
        for _ in range(40):
            if browser.run(f"return document.activeElement.matches({condition!r})"):
                return
            browser.press(TAB)
        raise AssertionError(f"no way by Tab to {condition}")

    tab_to("#operation")
    browser.press(*"Noop")
    tab_to("[name=priority]")
    browser.press(RIGHT)
    tab_to("#submit")
    browser.press(ENTER)
    browser.until("return location.hash.startsWith('#/jobs/')")
    _ended(browser, "succeeded")
    assert "low" in browser.one(".properties").text
    browser.until("return document.activeElement.matches('.back')")
    browser.press(ENTER)
    browser.one("#list a")
    tab_to("#list a")
    browser.press(ENTER)
    browser.until("return location.hash.startsWith('#/jobs/')")


def test_every_control_has_a_name_for_screen_readers(browser, nimble):
    _open(browser, nimble)
    names = browser.run(
        "return [...document.querySelector('#operation').options].map(o => o.value)"
    )
    assert {"remove-background", "transform", "hold"} <= set(names)
    for name in names:
        browser.choose("#operation", name)
        browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        controls = browser.find("form :is(input, select, textarea, button), #status")
        assert [each for each in controls if each.shown and not each.label] == []


def test_the_state_of_the_service_is_shown(browser, nimble):
    _open(browser, nimble)
    wait_until(lambda: browser.one("#health").text, lambda words: words == "Ready")
    facts = browser.one("#service").text
    assert "processor-1" in facts
    assert re.search(r"\d of 1 slots busy", facts)
    assert re.search(r"high \d+ \d+ \d+", facts)


def test_an_unknown_job_is_an_error_in_the_page(window, nimble):
    _open(window, nimble)
    window.run("location.hash = '#/jobs/nosuchjob-1'")
    assert "no job nosuchjob-1" in window.one("#job .error").text


def test_no_script_but_its_own_runs(window, nimble):
    _open(window, nimble)
    window.run("""
      const script = document.createElement("script");
      script.textContent = "window.foreign = true";
      document.head.append(script);
    """)
    assert window.run("return window.foreign ?? null") is None
    assert any("Content Security Policy" in each for each in window.complaints())


@pytest.mark.parametrize("path", ["/", "/console/console.js", "/console/console.css"])
def test_its_files_have_their_types_and_policies(nimble, path: str):
    answer = nimble.get(path)
    assert answer.ok
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"
    if path == "/":
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<style|style=|<script(?![^>]*src=)|https?://(?!\")", answer.text)


@pytest.mark.parametrize("name", ["..%2fapp.py", "nothing.js", "%2e%2e/app.py"])
def test_nothing_else_is_served(nimble, name: str):
    answer: Any = requests.get(f"{nimble.url}/console/{name}", timeout=10)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
