"""The ports of an API: TLS on its own, health and metrics on another."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.support.certificates import Authority

PROBES = ("/healthz", "/readyz", "/metrics")


def test_health_and_metrics_have_a_port_of_their_own(serve, free_port):
    api, _ = serve(ops_port=free_port())
    ops = f"http://127.0.0.1:{api.settings.ops_port}"
    for path in PROBES:
        assert requests.get(ops + path, timeout=10).status_code == 200
        answer = api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert requests.get(f"{ops}/v1/jobs", timeout=10).status_code == 404
    assert api.get("/v1/jobs").status_code == 200
    assert 'route="/v1/jobs"' in requests.get(f"{ops}/metrics", timeout=10).text


def test_without_the_setting_they_are_on_the_port_of_the_api(serve):
    api, _ = serve()
    assert [api.get(path).status_code for path in PROBES] == [200, 200, 200]


def test_the_api_speaks_tls(serve, free_port, tmp_path: Path):
    authority = Authority("a CA")
    certificate, key = authority.issue(tmp_path, "server", "localhost")
    api, _ = serve(tls_certificate=certificate, tls_key=key)
    assert api.url.startswith("https://127.0.0.1:")
    # Otherwise a CA bundle of the environment wins.
    api.session.trust_env = False
    api.session.verify = str(authority.write(tmp_path / "ca.pem"))
    url = api.url.replace("127.0.0.1", "localhost")
    assert api.session.get(f"{url}/v1/jobs", timeout=10).json()["jobs"] == []
    gauge = "imagemill_tls_certificate_expires_seconds"
    assert gauge in api.session.get(f"{url}/metrics", timeout=10).text
    with pytest.raises(requests.ConnectionError):
        requests.get(api.url.replace("https", "http"), timeout=10)
