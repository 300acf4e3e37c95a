"""What deploy/ and docker-compose.yml say, held against the roles, settings and files that exist."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from router_service.catalog.load import build_catalog, notes, parse_document
from router_service.cli.main import app
from router_service.embedded.roles import READINESS_ROLES, Plan, default_roles
from router_service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"
KNOWN_VARIABLES = {f"WAYBILL_{name.upper()}" for name in Settings.model_fields} | {
    "WAYBILL_FLOWER_PASSWORD",  # read by `waybill flower` alone
    "WAYBILL_API_URL",  # read by the client commands alone
    "WAYBILL_API_KEY",
}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")
SERVERS = {"postgres", "redis"}


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


def processes() -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: service for name, service in compose()["services"].items() if name not in SERVERS}


def run_words(words: list[str]) -> list[str]:
    """Parse a command line of `waybill` as the program would; the names of its command. Raises where it is wrong."""
    command: Any = get_command(app)
    names: list[str] = []
    rest = list(words)
    while hasattr(command, "commands"):
        names.append(rest.pop(0))
        command = command.commands[names[-1]]
    command.make_context(names[-1], rest)
    return names


def stack_roles(tmp_path: Path) -> dict[str, list[str]]:
    """The roles of `waybill up`: name -> names of its command."""
    plan = Plan(
        data_dir=tmp_path, database_url="", redis_url="", broker_url="", config=None, host="127.0.0.1", port=1,
        workers=1, flower_port=2, flower_password="",
    )  # fmt: skip
    return {
        child.name.removesuffix("-1"): run_words(list(child.argv[child.argv.index("router_service.cli.main") + 1 :]))
        for child in default_roles(plan)
    }


@pytest.mark.parametrize("name", sorted(processes()))
def test_each_service_runs_a_command_that_exists(name: str) -> None:
    assert run_words(processes()[name]["command"])


def test_a_wrong_command_would_be_noticed() -> None:
    with pytest.raises(Exception, match="--nowhere"):
        run_words(["api", "--nowhere"])


def test_each_role_of_the_stack_is_a_service(tmp_path: Path) -> None:
    commands = {name: run_words(service["command"]) for name, service in processes().items()}
    assert stack_roles(tmp_path).items() <= commands.items()


def test_each_variable_of_a_service_is_a_setting() -> None:
    given = {name for service in processes().values() for name in service["environment"] if name.startswith("WAYBILL_")}
    assert given <= KNOWN_VARIABLES


@pytest.mark.parametrize("path", [COMPOSE, *sorted(DEPLOY.glob("[!.]*"))], ids=lambda path: path.name)
def test_each_variable_that_is_written_of_exists(path: Path) -> None:
    assert set(re.findall(r"\bWAYBILL_[A-Z_]*[A-Z]\b", path.read_text())) <= KNOWN_VARIABLES


def test_each_service_knows_the_database_and_each_role_knows_redis(tmp_path: Path) -> None:
    roles = stack_roles(tmp_path)
    for name, service in processes().items():
        assert "WAYBILL_DATABASE_URL" in service["environment"], name
        assert name not in roles or "WAYBILL_REDIS_URL" in service["environment"], name


def test_the_api_waits_for_the_roles_that_the_stack_waits_for() -> None:
    assert processes()["api"]["environment"]["WAYBILL_READINESS_ROLES"] == READINESS_ROLES


def test_no_secret_has_a_default() -> None:
    used = re.findall(r"\$\{([A-Z_]+)([^}]*)\}", COMPOSE.read_text())
    secret = {(name, rest[:2]) for name, rest in used if SECRET.search(name)}
    assert secret == {(name, ":?") for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_PASSWORD")}
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name) or "AUTH" in name:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), name
            if "://" in value:
                assert re.search(r"://\w*:\$\{[A-Z_]+:\?[^}]+\}@", value), name


def test_the_example_environment_names_what_the_file_asks_for_and_fills_no_secret_in() -> None:
    asked = {name for name, _ in re.findall(r"\$\{([A-Z_]+)([^}]*)\}", COMPOSE.read_text())}
    lines = re.findall(r"^#?([A-Z_]+)=(.*)$", (DEPLOY / "env.example").read_text(), flags=re.MULTILINE)
    assert {name for name, _ in lines} == asked
    assert {value for name, value in lines if SECRET.search(name)} == {""}


def test_only_provider_workers_get_the_keys_of_providers() -> None:
    assert [name for name, service in processes().items() if "env_file" in service] == ["provider"]


def test_flower_and_the_api_are_published_on_the_loopback_interface_only() -> None:
    published = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert published == {
        "api": ["${API_ADDRESS:-127.0.0.1}:8080:8080"],
        "flower": ["127.0.0.1:5555:5555"],
    }


def test_redis_evicts_nothing_and_keeps_nothing_on_disk() -> None:
    words = " ".join(compose()["services"]["redis"]["command"])
    assert "--maxmemory-policy noeviction" in words
    assert "--appendonly no" in words


def test_the_database_logs_no_statement() -> None:
    words = compose()["services"]["postgres"]["command"]
    assert {"log_min_error_statement=panic", "log_error_verbosity=terse"} <= set(words)


def test_the_example_catalog_is_right_and_has_no_key_without_effect() -> None:
    document = parse_document((DEPLOY / "catalog.example.yaml").read_text(), source="example")
    catalog = build_catalog(document, source="example")
    assert {model.provider for model in catalog.models} == {"openai", "local"}
    assert any(model.api_base != "https://api.openai.com/v1" for model in catalog.models if model.api_base)
    assert all((model.api_key or "os.environ/").startswith("os.environ/") for model in catalog.models)
    assert catalog.fallbacks
    assert notes(document) == []


def test_the_image_copies_files_that_exist_and_that_the_builder_is_sent() -> None:
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
        for source in line.split()[:-1]
    ]
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sources
    assert sorted(sources) == sorted(sent)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_has_every_package_and_runs_the_project_s_command_as_an_ordinary_user() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = (DEPLOY / "Dockerfile").read_text()
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package for package in packages if f"COPY {package} {package}\n" not in text] == []
    assert 'ENTRYPOINT ["waybill"]' in text
    assert "waybill" in project["project"]["scripts"]
    assert re.search(r"^USER [1-9][0-9]*$", text, flags=re.MULTILINE)
    default = re.search(r"^CMD \[(.+)\]$", text, flags=re.MULTILINE)
    assert default is not None
    assert run_words([word.strip('" ') for word in default[1].split(",")]) == ["api"]


def test_the_unit_runs_a_command_that_exists() -> None:
    start = re.search(r"^ExecStart=\S+/waybill (.+)$", (DEPLOY / "waybill@.service").read_text(), flags=re.MULTILINE)
    assert start is not None
    words = start[1].split()
    assert words[1] == "--data-dir"
    assert run_words([words[0], *words[3:]]) == ["up"]


def test_what_a_deployment_fills_in_is_not_kept_under_version_control() -> None:
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()
    for secret in ("catalog.yaml", "providers.env"):
        assert any(fnmatch.fnmatch(secret, pattern) for pattern in ignored)
