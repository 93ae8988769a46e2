"""Command lines, their environment, and the Supervisor configuration that is made of them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from workers.local import programs, redis_server, supervision
from workers.local.folder import StateFolder
from workers.local.plan import Plan
from workers.local.programs import MARK, Program
from workers.settings import Settings

PASSWORD = "s3cret%(here)s"
AUTH = "fleet:pass'\"word"


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """A state folder whose name has everything that a configuration file could trip over."""
    made = StateFolder(tmp_path / "my state; #1 100%(x)s \"'é")
    made.prepare()
    return made


@pytest.fixture
def plan() -> Plan:
    settings = Settings(
        redis_url=f"redis://:{PASSWORD}@127.0.0.1:4001/0",
        milvus_uri="http://127.0.0.1:4002",
        models=("colour", "gradient"),
        flower_auth=AUTH,
        flower_port=4003,
    )
    return Plan(settings, 3, {"redis": 4001, "milvus": 4002, "flower": 4003}, flower_port_was_asked_for=False)


@pytest.fixture
def made(plan: Plan, folder: StateFolder) -> dict[str, Program]:
    return {program.name: program for program in programs.all_of(plan, folder)}


def test_no_command_line_carries_a_secret(made: dict[str, Program]) -> None:
    words = " ".join(word for program in made.values() for word in program.command)
    assert PASSWORD not in words
    assert "pass'" not in words


def test_flower_finds_its_password_in_a_file_of_its_owner(made: dict[str, Program], folder: StateFolder) -> None:
    file = folder.run / "flower.py"
    assert f"--conf={file}" in made["flower"].command
    assert file.stat().st_mode & 0o077 == 0
    found: dict[str, object] = {}
    exec(file.read_text(), found)  # noqa: S102 -- as Flower does
    assert found["basic_auth"] == [AUTH]


def test_flower_does_not_import_the_tasks(made: dict[str, Program]) -> None:
    assert "-A" not in made["flower"].command


def test_workers_serve_every_model_and_searches_wait_for_no_batch(made: dict[str, Program]) -> None:
    index, search = (shlex.join(made[name].command) for name in ("index", "search"))
    assert "-Q index.colour,index.gradient -c 3 -n index@%h" in index
    assert "-Q search.colour,search.gradient -c 1 -n search@%h" in search


def test_flower_ends_first_then_workers_then_milvus_then_redis(made: dict[str, Program]) -> None:
    order = sorted(made.values(), key=lambda program: -program.priority)
    assert [program.name for program in order] == ["flower", "index", "search", "milvus", "redis"]
    assert made["index"].priority == made["search"].priority


def test_workers_may_finish_the_batch_that_they_are_at(made: dict[str, Program], plan: Plan) -> None:
    assert made["index"].stop_seconds > plan.settings.hard_limit


def test_variables_of_other_celery_projects_do_not_reach_the_programs(
    plan: Plan, folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a shell in which somebody works on another project
    for name in ("CELERY_RESULT_BACKEND", "FLOWER_UNAUTHENTICATED_API", "APP", "BROKER_URL"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("IMAGEFLEET_BATCH_SIZE", "7")
    # When the programs' environment is made
    environment = programs.environment(plan, folder)
    # Then it leads to this stack and keeps our own settings
    assert "elsewhere" not in environment.values()
    assert environment["CELERY_BROKER_URL"] == plan.settings.redis_url.get_secret_value()
    assert environment["IMAGEFLEET_BATCH_SIZE"] == "7"
    assert environment[MARK] == str(folder.root)


def test_redis_is_on_loopback_keeps_everything_and_asks_for_a_password(
    made: dict[str, Program], folder: StateFolder
) -> None:
    lines = Path(made["redis"].command[1]).read_text().splitlines()
    assert {
        "bind 127.0.0.1",
        "port 4001",
        f"requirepass {redis_server.password(folder)}",
        "appendonly yes",
        "appendfsync everysec",
        "maxmemory-policy noeviction",
    } <= set(lines)


def test_the_password_is_made_once(folder: StateFolder) -> None:
    assert len(redis_server.password(folder)) > 30
    assert redis_server.password(folder) == redis_server.password(folder)


def test_a_redis_on_the_path_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "valkey-server"
    server.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server.find_program() == server


def test_supervisor_reads_back_what_was_meant(
    made: dict[str, Program], folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the configuration and the environment in which Supervisor starts
    monkeypatch.chdir(folder.root)
    for program in made.values():
        monkeypatch.setenv(f"IMAGEFLEET_COMMAND_{program.name.upper()}", shlex.join(program.command))
    file = folder.write("run/supervisord.conf", supervision.configuration(list(made.values()), folder))
    # When Supervisor reads them
    options = ServerOptions()
    options.realize(["-c", os.fspath(file)])
    # Then every command line is the one that was meant, in groups that end one after the other
    read = {config.name: config for group in options.process_group_configs for config in group.process_configs}
    assert {name: tuple(shlex.split(config.command)) for name, config in read.items()} == {
        name: program.command for name, program in made.items()
    }
    assert [group.name for group in options.process_group_configs] == ["redis", "milvus", "workers", "flower"]
    assert options.serverurl == f"unix://{folder.socket}"
