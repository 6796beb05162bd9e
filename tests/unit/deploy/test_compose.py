"""docker-compose.yml and the Dockerfile: nothing they name is made up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from imagemill.cli import _parser
from imagemill.cli.config import all_settings
from imagemill.local.broker.container import image
from imagemill.local.broker.process import broker_properties
from imagemill.process.health import serve_health
from imagemill.settings import SERVICES
from producer_api.app import ROUTES

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: service for name, service in COMPOSE.items() if service.get("image") == "imagemill"}


def environment(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in COMPOSE[service]["environment"].items()}


def health_url(service: str) -> re.Match[str]:
    test = " ".join(COMPOSE[service]["healthcheck"]["test"])
    match = re.search(r"http://127\.0\.0\.1:(?P<port>\d+)(?P<path>/\w+)", test)
    assert match is not None, test
    return match


def test_podman_compose_reads_it(tmp_path):
    """`config` parses, merges and checks the references; it only asks podman for its version."""
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\necho podman version 5.0.0\n")
    podman.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "podman_compose", "-f", str(ROOT / "docker-compose.yml"), "config"],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(COMPOSE)


def test_it_has_every_service():
    assert set(SERVICES) < set(OURS)
    assert {"kafka", "s3"} < set(COMPOSE)


@pytest.mark.parametrize("service", OURS)
def test_every_setting_that_is_passed_exists(service):
    assert set(environment(service)) <= {each.name for each in all_settings()}


@pytest.mark.parametrize("service", SERVICES)
def test_the_settings_that_are_passed_are_valid(service, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in environment(service).items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    settings = SERVICES[service]()
    assert settings.kafka_bootstrap_servers == "kafka:19092"


@pytest.mark.parametrize("service", OURS)
def test_every_command_exists(service):
    words = COMPOSE[service].get("command")
    if words is None:
        shell = COMPOSE[service]["entrypoint"][-1]
        words = shell.split("exec imagemill ")[1].split()
    assert _parser(chosen=words[0]).parse_args(words).command == words[0]
    if words[0] == "serve":
        assert words[1] == service


def test_the_broker_is_reached_where_it_says_it_is():
    kafka = environment("kafka")
    advertised = kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert f"PLAINTEXT://{environment('api')['KAFKA_BOOTSTRAP_SERVERS']}" in advertised
    published = COMPOSE["kafka"]["ports"][0].split(":")
    assert f"HOST://localhost:{published[1]}" in advertised
    assert COMPOSE["kafka"]["image"] == image()


def test_the_broker_behaves_like_the_local_one():
    kafka = environment("kafka")
    addresses = ("node.id", "controller.quorum.voters", "log.dirs")
    for line in broker_properties(9092, 9093, "/data").splitlines():
        key, _, value = line.partition("=")
        if not line or line.startswith("#") or "listener" in key or key in addresses:
            continue
        assert kafka[f"KAFKA_{key.upper().replace('.', '_')}"] == value, key


def test_the_store_is_reached_where_it_listens_with_the_keys_it_has():
    api, s3 = environment("api"), environment("s3")
    port = COMPOSE["s3"]["ports"][0].split(":")[-1]
    assert api["S3_ENDPOINT_URL"] == f"http://s3:{port}"
    assert api["AWS_ACCESS_KEY_ID"] == s3["ROOT_ACCESS_KEY"]
    assert api["AWS_SECRET_ACCESS_KEY"] == s3["ROOT_SECRET_KEY"]
    store_health = " ".join(COMPOSE["s3"]["healthcheck"]["test"])
    assert f"127.0.0.1:{port}{s3['VGW_HEALTH']}" in store_health


def test_the_api_is_asked_for_a_path_it_has_on_the_port_it_has():
    asked = health_url("api")
    assert asked["path"] in {route.path for route in ROUTES}
    assert asked["port"] == environment("api")["PORT"]
    assert COMPOSE["api"]["ports"] == [f"{asked['port']}:{asked['port']}"]


@pytest.mark.parametrize(
    ("service", "variable"),
    [("processor", "IMAGEMILL_WORKER_PORT"), ("notifier", "IMAGEMILL_NOTIFIER_PORT")],
)
async def test_health_is_asked_where_it_is_answered(service, variable, free_port):
    asked = health_url(service)
    assert asked["port"] == environment(service)[variable]
    port = free_port()
    runner = await serve_health("127.0.0.1", port, lambda: {"ready": True})
    try:
        served = {resource.canonical for resource in runner.app.router.resources()}
    finally:
        await runner.cleanup()
    assert asked["path"] in served


def test_a_processor_gets_the_time_it_needs_to_stop():
    grace = SERVICES["processor"].model_fields["revoke_grace_s"].default
    assert int(COMPOSE["processor"]["stop_grace_period"].removesuffix("s")) >= grace + 10


def test_the_image_is_not_run_as_root_and_exposes_the_ports():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (\w+)$", dockerfile, re.M) == ["imagemill"]
    ports = set(re.findall(r"^EXPOSE (.+)$", dockerfile, re.M)[0].split())
    assert ports == {health_url(service)["port"] for service in SERVICES}


def test_only_a_container_listens_on_more_than_its_own_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAGEMILL_HOST", raising=False)
    assert {kind().host for kind in SERVICES.values()} == {"127.0.0.1"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"\bIMAGEMILL_HOST=(\S+)", dockerfile) == ["0.0.0.0"]


def test_everything_the_image_copies_exists_and_is_not_ignored():
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.M):
        for source in line.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignore, source
