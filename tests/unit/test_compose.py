"""docker-compose.yml: right for Compose, right for the programs that it starts, and shut to everybody else."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from models.spec import find
from tests.command_lines import check
from workers.settings import Settings

ROOT = Path(__file__).parents[2]
SECRET = "s3cret-s3cret-s3cret-s3cret"
SECRETS = ("REDIS_PASSWORD", "MILVUS_PASSWORD", "MINIO_PASSWORD", "FLOWER_PASSWORD")
OURS = ("worker-cpu", "worker-gpu", "search", "flower", "producer")
#: Their images need root: one changes owners, the other keeps its program for root.
AS_ROOT = ("prepare", "milvus")
#: End by themselves.
SHORT = ("prepare", "producer")

_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")


class Refused(Exception):
    """A required variable is missing."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """As Compose does it, as far as the file uses it: `$$`, `${A}`, `${A:-default}`, `${A:?sentence}`."""

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        found = variables.get(match["name"], "")
        if not found and match["kind"] == "?":
            raise Refused(match["text"])
        return found or (match["text"] if match["kind"] == "-" else "")

    return _VARIABLE.sub(value, text)


def deep(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: deep(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [deep(value, variables) for value in node]
    return interpolate(node, variables) if isinstance(node, str) else node


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def source() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def filled() -> dict[str, str]:
    return example() | dict.fromkeys(SECRETS, SECRET)


def services() -> dict[str, dict[str, Any]]:
    return deep(source()["services"], filled())


def dockerfile() -> Iterator[tuple[str, list[str]]]:
    """Each target and its lines."""
    text = (ROOT / "Dockerfile").read_text()
    for part in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines()
        yield head.split(" AS ")[1], lines


def test_the_file_follows_the_compose_specification() -> None:
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(source())


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_understood_by_its_program(name: str) -> None:
    service = services()[name]
    command = ["imagefleet", *service["command"]] if name == "producer" else service["command"]
    check(command)


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu", "search"])
def test_a_node_serves_queues_of_known_models_in_its_own_pool_of_processes(name: str) -> None:
    parsed = check(services()[name]["command"])
    kind = "search" if name == "search" else "index"
    assert parsed["app"] == "workers.app"
    for queue in parsed["queues"]:
        assert queue.startswith(f"{kind}.")
        find(queue.removeprefix(f"{kind}."))
    assert parsed["concurrency"] >= 1
    assert "prefork" in parsed["pool"].__module__


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu", "search"])
def test_the_health_check_asks_the_node_itself(name: str) -> None:
    service = services()[name]
    shell, line = service["healthcheck"]["test"]
    asked = check(shlex.split(line))
    assert shell == "CMD-SHELL"
    assert asked["node"] == check(service["command"])["hostname"].split("@")[0] + "@$HOSTNAME"


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu", "search", "flower"])
def test_remote_control_is_off_unless_the_environment_file_asks_for_it(name: str) -> None:
    assert services()[name]["environment"]["IMAGEFLEET_REMOTE_CONTROL"] == "false"


def test_flower_reads_what_it_may_show_in_compose_and_alone() -> None:
    copied = "COPY workers/local/flower_conf.py /etc/imagefleet/flower.py"
    lines = dict(dockerfile())["flower"]
    assert copied in lines
    assert (ROOT / copied.split()[1]).is_file()
    started = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    for command in (started, services()["flower"]["command"]):
        assert check(command)["conf"] == copied.split()[2]


@pytest.mark.parametrize("missing", ["IMAGE_FOLDER", *SECRETS])
def test_without_a_required_variable_nothing_starts(missing: str) -> None:
    with pytest.raises(Refused, match=missing):
        deep(source(), filled() | {missing: ""})


def test_the_example_names_every_variable_and_no_other() -> None:
    used = {match["name"] for match in _VARIABLE.finditer((ROOT / "docker-compose.yml").read_text()) if match["name"]}
    assert set(example()) == used


def test_the_example_holds_the_defaults_of_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    defaults = {match["name"]: match["text"] for match in _VARIABLE.finditer(text) if match["kind"] == "-"}
    assert defaults.items() <= example().items()


def prepare(secrets: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "deploy" / "prepare.sh")], env=dict(secrets), capture_output=True, text=True, timeout=30
    )


def test_the_secrets_of_the_example_are_refused() -> None:
    answer = prepare({name: example()[name] for name in SECRETS})
    assert answer.returncode == 2
    assert "REDIS_PASSWORD in .env is still the example's" in answer.stderr


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("bad", ["", "change-me", "short", "with space and more", "at@sign/slash:colon", "x" * 65])
def test_a_bad_secret_is_refused_by_name(name: str, bad: str) -> None:
    answer = prepare(dict.fromkeys(SECRETS, SECRET) | {name: bad})
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"imagefleet: {name} in .env ")
    assert len(answer.stderr.splitlines()) == 1


def test_good_secrets_are_accepted_in_silence() -> None:
    answer = prepare(dict.fromkeys(SECRETS, SECRET))
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_everything_waits_for_the_check_of_the_secrets() -> None:
    waits = {name: set(service.get("depends_on", ())) for name, service in services().items()}
    reached = {"prepare"}
    while more := {name for name, needs in waits.items() if needs & reached} - reached:
        reached |= more
    assert reached == set(services())


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_a_service_exists_and_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {key: value for key, value in services()[name]["environment"].items() if key.startswith("IMAGEFLEET_")}
    for key, value in ours.items():
        assert key.removeprefix("IMAGEFLEET_").lower() in Settings.model_fields
        monkeypatch.setenv(key, str(value))
    Settings()


def test_only_flower_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"flower": ["127.0.0.1:5555:5555"]}
    assert services()["flower"]["environment"]["FLOWER_BASIC_AUTH"] == f"imagefleet:{SECRET}"
    assert not any("network_mode" in service for name, service in services().items() if name != "prepare")


def test_only_flower_has_a_way_out() -> None:
    inside = {name for name, network in source()["networks"].items() if network.get("internal")}
    assert {name for name, service in services().items() if set(service.get("networks", ())) - inside} == {"flower"}


@pytest.mark.parametrize("name", list(source()["services"]))
def test_a_service_can_do_no_more_than_it_needs(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == "prepare" else [])
    assert not service.get("privileged", False)
    assert service.get("read_only", False) == (name != "milvus")
    user = service.get("user", "root")
    assert (user.split(":")[0] in {"root", "0"}) == (name in AS_ROOT)


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu", "search", "producer"])
def test_pictures_and_models_can_only_be_read(name: str) -> None:
    mounts = {mount["target"]: mount for mount in services()[name]["volumes"]}
    assert set(mounts) == {"/pictures", "/models"}
    assert all(mount["read_only"] for mount in mounts.values())
    assert services()[name]["environment"]["IMAGEFLEET_IMAGE_ROOT"] == "/pictures"


@pytest.mark.parametrize("name", list(source()["services"]))
def test_no_command_line_holds_a_secret(name: str) -> None:
    service = services()[name]
    lines = [service.get("command"), service.get("entrypoint"), service.get("healthcheck", {}).get("test")]
    assert SECRET not in json.dumps(lines)


@pytest.mark.parametrize("name", [name for name in source()["services"] if name not in SHORT])
def test_what_runs_for_long_is_watched_and_comes_back(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", list(source()["services"]))
def test_every_image_has_a_fixed_version(name: str) -> None:
    image, tag = services()[name]["image"].rsplit(":", 1)
    assert re.fullmatch(r"v?\d+\.\d+\.\d+|RELEASE\.[\dTZ-]+", tag)
    if image.startswith("imagefleet/"):
        assert tag == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_gpu_worker_asks_for_a_device_and_runs_only_if_wanted() -> None:
    service = services()["worker-gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert service["profiles"] == ["gpu"]
    assert device == {"driver": "nvidia", "count": "1", "capabilities": ["gpu"]}
    assert service["environment"]["IMAGEFLEET_PROVIDERS"] == "CUDAExecutionProvider"


def test_redis_keeps_what_it_was_given() -> None:
    lines = (ROOT / "deploy" / "redis.conf").read_text().splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= set(lines)
    assert services()["redis"]["environment"] == {"REDISCLI_AUTH": SECRET}


def test_what_is_mounted_from_the_repository_is_there() -> None:
    mounts = [
        mount for service in services().values() for mount in service.get("volumes", []) if isinstance(mount, str)
    ]
    files = [ROOT / mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) == 4
    assert all(file.is_file() for file in files)


def test_every_image_is_built_from_a_target_that_ends_without_root() -> None:
    targets = dict(dockerfile())
    wanted = {service["build"]["target"] for service in services().values() if "build" in service}
    assert wanted == {"producer", "worker-cpu", "worker-gpu", "flower"}
    for target in wanted:
        assert [line for line in targets[target] if line.startswith("USER")] == ["USER 10001:10001"]


def test_every_target_starts_what_its_program_understands_and_installs_only_what_is_hashed() -> None:
    for target, lines in dockerfile():
        for line in lines:
            if line.startswith("CMD "):
                command = json.loads(line.removeprefix("CMD "))
                check(["imagefleet", *command] if target == "producer" else command)
            if "pip" in line and "install" in line:
                assert "--require-hashes" in line or "--no-index" in line
