"""docker-compose.yml and the Dockerfile: nothing they name is made up."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from imagemill.cli import _parser, main
from imagemill.cli.config import all_settings
from imagemill.local.broker.container import image
from imagemill.local.broker.process import broker_properties
from imagemill.process.health import serve_health
from imagemill.settings import SERVICES

ROOT = Path(__file__).parents[3]
DOCUMENT = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
COMPOSE = DOCUMENT["services"]
OURS = {name: service for name, service in COMPOSE.items() if service.get("image") == "imagemill"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DIGEST = re.compile(r"^\S+:[\w.-]+@sha256:[0-9a-f]{64}$")


def environment(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in COMPOSE[service]["environment"].items()}


def passed(service: str) -> dict[str, str]:
    """The environment of a service where nothing is set; its secrets as files of this machine."""
    found = {}
    for name, value in environment(service).items():
        value = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)
        found[name] = re.sub(r"^/run/secrets/(\w+)$", lambda at: str(secret(at[1])), value)
    return found


def secret(name: str) -> Path:
    return ROOT / re.sub(r"\$\{\w+:-(.*?)\}", r"\1", DOCUMENT["secrets"][name]["file"])


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
    known = all_settings()
    files = {f"{each.name}_FILE" for each in known if each.secret}
    assert set(environment(service)) <= {each.name for each in known} | files


@pytest.mark.parametrize("service", SERVICES)
def test_the_settings_that_are_passed_are_valid(service, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in passed(service).items():
        monkeypatch.setenv(name, value)
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
    assert COMPOSE["kafka"]["image"].startswith(f"{image()}@sha256:")


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
    assert api["AWS_SECRET_ACCESS_KEY_FILE"] == "/run/secrets/s3_secret_key"
    assert "/run/secrets/s3_secret_key" in COMPOSE["s3"]["entrypoint"][-1]
    for service in ("api", "processor", "prepare", "s3"):
        assert COMPOSE[service]["secrets"] == ["s3_secret_key"]
    assert secret("s3_secret_key").read_text().strip()
    store_health = " ".join(COMPOSE["s3"]["healthcheck"]["test"])
    assert f"127.0.0.1:{port}{s3['VGW_HEALTH']}" in store_health


def test_the_api_is_published_on_the_port_it_has():
    port = environment("api")["PORT"]
    assert COMPOSE["api"]["ports"] == [f"{port}:{port}"]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_asked_whether_it_is_ready(service):
    check = COMPOSE[service]["healthcheck"]["test"]
    assert check == ["CMD", "imagemill", "ready", service]
    assert _parser(chosen="ready").parse_args(check[2:]).service == service


@pytest.mark.parametrize("named", [True, False], ids=["named", "whichever runs"])
@pytest.mark.parametrize(
    ("service", "variable"),
    [
        ("api", "PORT"),
        ("processor", "IMAGEMILL_WORKER_PORT"),
        ("notifier", "IMAGEMILL_NOTIFIER_PORT"),
    ],
)
async def test_the_check_of_a_container_asks_its_service(
    service, variable, named, free_port, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "IMAGEMILL_WORKER_PORT", "IMAGEMILL_NOTIFIER_PORT"):
        monkeypatch.setenv(name, str(free_port()))
    assert variable in environment(service)
    words = ["ready", service] if named else ["ready"]
    assert await asyncio.to_thread(main, words) == 1
    ready = {"ready": False}
    runner = await serve_health("127.0.0.1", int(os.environ[variable]), lambda: ready)
    try:
        assert await asyncio.to_thread(main, words) == 1
        ready["ready"] = True
        assert await asyncio.to_thread(main, words) == 0
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("service", COMPOSE)
def test_no_container_writes_its_root_or_gains_rights(service):
    stated = COMPOSE[service]
    assert stated["read_only"] is True
    assert stated["cap_drop"] == ["ALL"] and "cap_add" not in stated
    assert stated["security_opt"] == ["no-new-privileges:true"]
    assert stated["pids_limit"] > 0
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & stated.keys()
    assert not any("docker.sock" in str(volume) for volume in stated.get("volumes", ()))


@pytest.mark.parametrize("service", OURS)
def test_what_a_service_writes_lies_in_its_volumes(service, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    volumes = {str(each).split(":")[-1] for each in COMPOSE[service]["volumes"]}
    [declared] = re.findall(r"^VOLUME (.+)$", DOCKERFILE, re.M)
    assert volumes == set(declared.split())
    set_by_image = dict(re.findall(r"\b([A-Z_]+)=(/var/\S+)", DOCKERFILE))
    written = {**set_by_image, "projection": environment("api")["IMAGEMILL_PROJECTION_PATH"]}
    assert {"IMAGEMILL_HOME", "TMPDIR", "NUMBA_CACHE_DIR"} <= written.keys()
    for name, path in written.items():
        assert any(Path(path).is_relative_to(volume) for volume in volumes), name


@pytest.mark.parametrize("service", [*SERVICES, "kafka", "s3"])
def test_every_container_that_runs_on_has_a_health_check(service):
    assert COMPOSE[service]["healthcheck"]["test"][0] == "CMD"


def test_other_peoples_images_are_named_by_digest():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    foreign = [each["image"] for each in COMPOSE.values() if each["image"] != "imagemill"]
    assert len(bases) == 2 and len(foreign) == 2
    for image_name in (*bases, *foreign):
        assert DIGEST.match(image_name), image_name
    assert len(set(bases)) == 1, "it is built on one Python and runs on another"


def test_no_secret_stands_in_the_environment():
    secrets = {each.name for each in all_settings() if each.secret} | {"ROOT_SECRET_KEY"}
    for service in COMPOSE:
        for name, value in environment(service).items():
            assert name not in secrets or re.fullmatch(r"\$\{\w+:-\}", value), name


def test_the_first_key_is_made_where_the_api_asks_for_one():
    """Both decide by the same settings, and prepare ends before the API starts."""
    for name in ("IMAGEMILL_HOST", "IMAGEMILL_OPEN"):
        assert environment("prepare").get(name) == environment("api").get(name)
    waited = COMPOSE["api"]["depends_on"]["prepare"]["condition"]
    assert waited == "service_completed_successfully"


def test_a_processor_gets_the_time_it_needs_to_stop():
    grace = SERVICES["processor"].model_fields["revoke_grace_s"].default
    assert int(COMPOSE["processor"]["stop_grace_period"].removesuffix("s")) >= grace + 10


def test_the_image_is_not_run_as_root_and_exposes_the_ports():
    [user] = re.findall(r"^USER (\w+)$", DOCKERFILE, re.M)
    # By number, which Kubernetes can check.
    assert f"useradd --uid {user} " in DOCKERFILE and int(user) >= 10_000
    ports = set(re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.M)[0].split())
    assert ports == {
        environment("api")["PORT"],
        environment("processor")["IMAGEMILL_WORKER_PORT"],
        environment("notifier")["IMAGEMILL_NOTIFIER_PORT"],
    }


def test_the_image_checks_the_health_of_whichever_service_it_runs():
    [check] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.M)
    assert json.loads(check) == ["imagemill", "ready"]


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
