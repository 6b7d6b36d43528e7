"""The container's files agree with the command, with each other, and with what they promise of safety."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from catdog_pl.commands.serve import GRACE, TOKEN, parser
from catdog_pl.models.basic import Basic
from catdog_pl.prediction.predictor import open_predictor
from catdog_pl.serve.app import create_app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "docker" / "Dockerfile").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
(SERVICE,) = COMPOSE["services"].values()


def last(instruction: str) -> str:
    """The words after the last instruction of this name, which is the one that counts."""
    found: list[str] = re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)
    return found[-1]


@pytest.fixture(scope="module")
def port() -> int:
    """That of the command which the image runs, parsed by the command itself."""
    (program,), (command, *words) = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert (program in PROJECT["scripts"], command) == (True, "serve")
    options = parser().parse_args(words)
    assert (options.host, options.ckpt_path) == ("0.0.0.0", "best")
    return int(options.port)


def test_the_port_is_the_same_everywhere(port: int) -> None:
    assert last("EXPOSE") == str(port)
    assert SERVICE["ports"] == [f"127.0.0.1:{port}:{port}"]
    (address,) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", last("HEALTHCHECK"))
    paths = create_app(open_predictor(Basic(image_size=32)), "best.ckpt").openapi()["paths"]
    assert address[0] == str(port)
    assert "security" not in paths[address[1]]["get"]


def test_the_health_check_is_python() -> None:
    command = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "health", "exec")


def test_nobody_runs_it_and_nothing_is_written() -> None:
    user, _, group = last("USER").partition(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nENTRYPOINT ")
    assert (SERVICE["read_only"], SERVICE["tmpfs"]) == (True, ["/tmp"])
    assert (SERVICE["cap_drop"], SERVICE["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert {"privileged", "cap_add", "network_mode", "pid", "user"}.isdisjoint(SERVICE)
    assert all(volume.endswith(":ro") for volume in SERVICE["volumes"])
    assert {"mem_limit", "cpus", "pids_limit"} <= SERVICE.keys()


def test_best_is_found_among_the_mounted_runs() -> None:
    (volume,) = SERVICE["volumes"]
    source, target, _ = volume.split(":")
    assert (ROOT / "docker" / source).resolve() == ROOT / "checkpoints"
    assert target == f"{last('WORKDIR')}/checkpoints"


def test_requests_may_end_before_it_is_killed() -> None:
    assert int(SERVICE["stop_grace_period"].removesuffix("s")) > GRACE


def test_the_token_comes_from_outside() -> None:
    assert SERVICE["environment"] == {TOKEN: f"${{{TOKEN}:-}}", "OMP_NUM_THREADS": str(SERVICE["cpus"])}
    assert not re.search("token|secret|password", DOCKERFILE, re.IGNORECASE)


def test_only_what_is_copied_is_sent_to_the_builder() -> None:
    assert SERVICE["build"] == {"context": "..", "dockerfile": "docker/Dockerfile"}
    ignore = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    copied = " ".join(re.findall("^COPY ([^-].*) .*$", DOCKERFILE, re.MULTILINE)).split()
    assert sorted(line for line in ignore if line[0] != "#") == sorted(
        ["*", "**/__pycache__", *(f"!{name}" for name in copied)]
    )
    assert all((ROOT / name).exists() for name in copied)


def test_what_is_installed_is_what_the_package_asks_for() -> None:
    (extras,) = re.findall(r'install "\.\[(.*)\]"', DOCKERFILE)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    assert set(re.findall('"((?:torch|torchvision)>=[^"]*)"', DOCKERFILE)) <= set(PROJECT["dependencies"])
    versions = re.findall("FROM python:3[.]([0-9]+)-slim", DOCKERFILE)
    assert len(set(versions)) == 1
    assert int(versions[0]) >= int(PROJECT["requires-python"].rpartition(".")[2])
