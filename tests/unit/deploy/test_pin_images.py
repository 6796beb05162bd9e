"""`make pin-images` on a registry that asks for a token, as Docker Hub does."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "deploy" / "supply"))

import pin_images  # noqa: E402

OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


class Registry(BaseHTTPRequestHandler):
    """Serves one tag, `1.2` of `team/tool`, to whoever has the token."""

    digest = NEW

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer anonymous":
            realm = f"http://{self.headers['Host']}/token"
            self.send_response(401)
            self.send_header(
                "WWW-Authenticate",
                f'Bearer realm="{realm}",service="here",scope="repository:team/tool:pull"',
            )
        elif self.path != "/v2/team/tool/manifests/1.2":
            self.send_response(404)
        else:
            assert "image.index" in self.headers["Accept"]
            self.send_response(200)
            self.send_header("Docker-Content-Digest", self.digest)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        assert self.path == "/token?service=here&scope=repository%3Ateam%2Ftool%3Apull"
        body = json.dumps({"token": "anonymous"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_place_of_an_image_gets_the_digest_that_its_tag_has_now(registry: str) -> None:
    text = f"FROM {registry}/team/tool:1.2@{OLD} AS build\nFROM {registry}/team/tool:1.2@{OLD}\n"
    assert pin_images.pinned(text) == text.replace(OLD, NEW)


@pytest.mark.parametrize(
    ("name", "tag", "digest", "reason"),
    [
        ("team/tool", "9", NEW, "HTTP Error 404"),
        ("team/tool", "1.2", "", "answered without a digest"),
    ],
)
def test_a_tag_without_an_answer_is_a_sentence(
    registry: str, name: str, tag: str, digest: str, reason: str, monkeypatch
) -> None:
    monkeypatch.setattr(Registry, "digest", digest)
    with pytest.raises(pin_images.Unresolved, match=reason):
        pin_images.digest_of(f"{registry}/{name}", tag)


def test_no_file_changes_when_a_registry_is_away(
    tmp_path: Path, monkeypatch, capsys, free_port
) -> None:
    text = f"FROM 127.0.0.1:{free_port()}/team/tool:1.2@{OLD}\n"
    for name in pin_images.FILES:
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(pin_images, "ROOT", tmp_path)
    assert pin_images.main() == 1
    assert "Nothing was changed." in capsys.readouterr().err
    assert {(tmp_path / name).read_text() for name in pin_images.FILES} == {text}


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("python", ("https://registry-1.docker.io", "library/python")),
        ("apache/kafka", ("https://registry-1.docker.io", "apache/kafka")),
        ("ghcr.io/versity/versitygw", ("https://ghcr.io", "versity/versitygw")),
    ],
)
def test_the_registry_is_that_which_docker_would_ask(name: str, address: tuple[str, str]) -> None:
    assert pin_images.address_of(name) == address


def test_it_finds_every_image_of_others_in_both_files() -> None:
    found = {
        match["name"]
        for file in pin_images.FILES
        for match in pin_images.PINNED.finditer((ROOT / file).read_text())
    }
    assert found == {"python", "apache/kafka", "versity/versitygw"}
