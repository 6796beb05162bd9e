"""Signed URLs: what we signed passes until its time, nothing else does."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemill.process.secrets import read_or_create
from imagemill.settings import ApiSettings
from imagemill.storage import SignatureRefused, UrlSigner, open_signer

SIGNER = UrlSigner("sixteen letters!")
NOW = 1_800_000_000


def parsed(path: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(path)
    return unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))


def test_a_signed_url_passes_until_it_expires() -> None:
    key, query = parsed(SIGNER.path("GET", "results/j/0.png", NOW + 60))

    assert SIGNER.verify("GET", key, query, NOW + 60).key == "results/j/0.png"
    with pytest.raises(SignatureRefused, match="expired"):
        SIGNER.verify("GET", key, query, NOW + 61)


def test_a_url_for_get_serves_head_but_not_put() -> None:
    key, query = parsed(SIGNER.path("GET", "results/j/0.png", NOW))

    assert SIGNER.verify("HEAD", key, query, NOW).method == "GET"
    with pytest.raises(SignatureRefused):
        SIGNER.verify("PUT", key, query, NOW)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expires", str(NOW + 1000)),
        ("expires", "soon"),
        ("filename", "virus.html"),
        ("content_type", "text/html"),
        ("signature", ""),
        ("signature", "0" * 64),
        ("signature", "\u00e9\ud800"),
    ],
)
def test_a_changed_parameter_is_refused(name: str, value: str) -> None:
    key, query = parsed(
        SIGNER.path("GET", "results/j/0.png", NOW, filename="a.png", content_type="image/png")
    )
    with pytest.raises(SignatureRefused, match="does not belong"):
        SIGNER.verify("GET", key, query | {name: value}, NOW)


@pytest.mark.parametrize("name", ["expires", "filename", "content_type", "signature"])
def test_a_missing_parameter_is_refused(name: str) -> None:
    key, query = parsed(
        SIGNER.path("GET", "results/j/0.png", NOW, filename="a.png", content_type="image/png")
    )
    del query[name]
    with pytest.raises(SignatureRefused):
        SIGNER.verify("GET", key, query, NOW)


def test_another_key_or_secret_is_refused() -> None:
    key, query = parsed(SIGNER.path("GET", "results/j/0.png", NOW))
    with pytest.raises(SignatureRefused):
        SIGNER.verify("GET", "results/j/1.png", query, NOW)
    with pytest.raises(SignatureRefused):
        UrlSigner("another secret, 2").verify("GET", key, query, NOW)


def test_parameters_added_on_the_way_do_no_harm() -> None:
    key, query = parsed(SIGNER.path("GET", "results/j/0.png", NOW))
    assert SIGNER.verify("GET", key, query | {"utm_source": "mail"}, NOW)


@given(
    key=st.text(st.characters(codec="utf-8"), min_size=1),
    filename=st.none() | st.text(),
    content_type=st.none() | st.text(st.characters(codec="utf-8")),
)
def test_every_text_survives_the_way_through_the_url(
    key: str, filename: str | None, content_type: str | None
) -> None:
    # A URL without a host: what stands behind {public_url}/files/.
    path = SIGNER.path("PUT", key, NOW, filename, content_type)
    back, query = parsed("http://localhost/files/" + path)
    request = SIGNER.verify("PUT", back.removeprefix("/files/"), query, NOW)
    assert (request.key, request.content_type) == (key, content_type)


@given(
    st.tuples(st.text(), st.none() | st.text(), st.none() | st.text()),
    st.tuples(st.text(), st.none() | st.text(), st.none() | st.text()),
)
def test_two_requests_never_share_a_signature(one: tuple, other: tuple) -> None:
    def seen(request: tuple) -> tuple:
        # Lone surrogates cannot travel in a URL: all of them arrive as a question mark.
        return tuple(part and part.encode(errors="replace") for part in request)

    signatures = []
    for key, filename, content_type in (one, other):
        query = parsed("/?" + SIGNER.path("GET", key, NOW, filename, content_type).split("?")[1])[1]
        signatures.append(query["signature"])
    assert (signatures[0] == signatures[1]) == (seen(one) == seen(other))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        UrlSigner("short")


def _create(path: str, name: str, start, results) -> None:
    start.wait()
    results.put(read_or_create(Path(path), lambda: name * 40))


def test_processes_that_start_at_once_agree_on_the_secret(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    path = tmp_path / "home" / "signing.secret"
    processes = [
        context.Process(target=_create, args=(str(path), name, start, results)) for name in "abcd"
    ]
    for process in processes:
        process.start()
    secrets = {results.get(timeout=20) for _ in processes}
    for process in processes:
        process.join()

    assert secrets == {path.read_text()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["signing.secret"]


def test_apis_on_a_cluster_that_sign_with_a_secret_each_are_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    on_cluster = {"home": tmp_path, "kafka_bootstrap_servers": "kafka.example.org:9092"}
    open_signer(ApiSettings(_env_file=None, **on_cluster, signing_secret="given" * 4))
    open_signer(ApiSettings(_env_file=None, home=tmp_path))
    assert caplog.text == ""
    open_signer(ApiSettings(_env_file=None, **on_cluster))
    assert "set IMAGEMILL_SIGNING_SECRET to one value" in caplog.text


def test_an_empty_secret_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "signing.secret"
    path.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read_or_create(path, lambda: "never used")
