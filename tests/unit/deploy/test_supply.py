"""Licences, vulnerabilities and the SBOM of the locked packages, and the lint of the Dockerfile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "deploy" / "supply"))

import advisories  # noqa: E402
import licences  # noqa: E402
import locks  # noqa: E402
import sbom  # noqa: E402

RULES = {
    "allowed": ["MIT", "Apache-2.0"],
    "stated": {},
    "exceptions": {"copyleft": {"licence": "GPL-3.0-only", "reason": "a program of the tests"}},
}
COPYLEFT = {"copyleft": "GPL-3.0-only"}


# Licences.


def test_every_locked_package_has_an_accepted_licence(capsys) -> None:
    assert licences.main() == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("MIT", None),
        ("MIT AND (Apache-2.0 OR MIT)", None),
        ("AGPL-3.0-only", "new: AGPL-3.0-only is not accepted"),
        ("MIT OR GPL-3.0-only", "new: GPL-3.0-only is not accepted"),
        (None, "new: nothing names its licence"),
    ],
)
def test_a_licence_that_nobody_accepted_is_named(expression, problem) -> None:
    problems = licences.judge({"new": expression} | COPYLEFT, RULES)
    assert len(problems) == (problem is not None)
    assert not problems or problems[0].startswith(problem)


def test_an_exception_is_for_one_package_and_one_licence() -> None:
    assert licences.judge(COPYLEFT, RULES) == []
    [problem] = licences.judge({"copyleft": "AGPL-3.0-only"}, RULES)
    assert problem.startswith("copyleft: AGPL-3.0-only is not accepted")


def test_exceptions_without_use_or_reason_are_problems() -> None:
    assert licences.judge({"copyleft": "MIT"}, RULES) == [
        "copyleft: its exception has no use, since it is MIT"
    ]
    assert licences.judge({}, RULES) == [
        "copyleft of [licences.exceptions] is not locked: remove it"
    ]
    silent = RULES | {"exceptions": {"copyleft": {"licence": "GPL-3.0-only", "reason": ""}}}
    assert licences.judge(COPYLEFT, silent) == ["copyleft of [licences.exceptions] has no reason"]


# Vulnerabilities, asked of a local server with OSV's protocol.


class Osv(BaseHTTPRequestHandler):
    """Knows one vulnerability, of pillow 9.0.0."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = asked["package"]["name"], asked["version"]
        found = [_VULNERABILITY] if (name, version) == ("pillow", "9.0.0") else []
        body = json.dumps({"vulns": found} if found else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


_VULNERABILITY = {
    "id": "PYSEC-2022-9",
    "aliases": ["CVE-2022-22817"],
    "details": "ImageMath.eval evaluates any expression.",
    "published": "2022-01-10T14:12:00Z",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "pillow"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.0.1"}]}],
            "versions": ["9.0.0"],
        }
    ],
}


@pytest.fixture
def osv(monkeypatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{server.server_port}/v1/query")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lock(tmp_path: Path):
    def write(*pins: str) -> str:
        file = tmp_path / "some.lock"
        file.write_text("".join(f"{pin} \\\n    --hash=sha256:0\n" for pin in pins))
        return str(file)

    return write


@pytest.mark.usefixtures("osv")
def test_a_vulnerable_package_is_named_with_the_version_that_is_not(lock, capsys) -> None:
    # A lock may have two versions of a package, for different versions of Python.
    pins = ("pillow==9.0.0", "pillow==9.0.1", "requests==2.32.0")
    assert advisories.main(["osv"], [lock(*pins)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("pillow 9.0.0: PYSEC-2022-9, fixed in 9.0.1.")
    assert len(said.splitlines()) == 1


@pytest.mark.usefixtures("osv")
def test_packages_without_a_vulnerability_pass(lock, capsys) -> None:
    assert advisories.main(["osv"], [lock("pillow==9.0.1", "pywin32==312")]) == 0
    assert "2 locked packages, none vulnerable (osv)" in capsys.readouterr().out


def test_without_a_service_nothing_is_called_clean(lock, capsys, free_port, monkeypatch) -> None:
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"http://127.0.0.1:{free_port()}/v1/query")
    assert advisories.main(["osv"], [lock("pillow==9.0.1")]) == 2
    said = capsys.readouterr()
    assert "nothing is known about the locked packages" in said.err and said.out == ""


def _report(**vulns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "version": "1", "vulns": found} for name, found in vulns.items()]


_FOUND = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": []}


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_an_explained_vulnerability_is_accepted_by_any_of_its_names(name: str) -> None:
    assert advisories.judge(_report(pillow=[_FOUND]), {}) != []
    explained = {name: {"package": "pillow", "reason": "ImageMath is not used"}}
    assert advisories.judge(_report(pillow=[_FOUND]), explained) == []


def test_an_explanation_holds_for_its_package_and_goes_when_it_has_no_use() -> None:
    explained = {"CVE-1": {"package": "numpy", "reason": "not reached"}}
    vulnerable, unused = advisories.judge(_report(pillow=[_FOUND]), explained)
    assert "fixed in no version yet" in vulnerable
    assert unused == "CVE-1 of [advisories] concerns nothing that is locked: remove it"


# The SBOM.


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("sbom") / "made" / "imagemill.cdx.json"
    assert sbom.main([str(file)]) == 0
    first = file.read_text()
    assert sbom.main([str(file)]) == 0
    assert file.read_text() == first, "two runs differ"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
    return json.loads(first)


def test_the_sbom_has_every_package_that_is_shipped_and_no_other(document) -> None:
    shipped = {f"pkg:pypi/{n}@{v}" for n, v in locks.pins("requirements.lock")}
    assert {component["purl"] for component in document["components"]} == shipped
    assert document["metadata"]["component"]["name"] == "imagemill"


def test_each_package_of_the_sbom_has_its_hashes_and_its_licence(document) -> None:
    for component in document["components"]:
        [place] = component["externalReferences"]
        assert place["hashes"], component["name"]
        assert component["licenses"][0]["expression"], component["name"]


# The Dockerfile.


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "run `make setup-dev`"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
