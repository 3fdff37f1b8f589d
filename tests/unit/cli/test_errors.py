"""Each failure says what is wrong and what to do, and has its exit code."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from moorage.cli.cluster import as_cli_error
from moorage.cli.errors import Exit, missing_rule, nearby
from moorage.cli.main import main
from moorage.kube.errors import ApiError, ConfigError, Forbidden, KubeError, Unauthorized, Unavailable

DENIED = (
    'servergroups.moorage.dev "a" is forbidden: User "jane" cannot get resource "servergroups" in API group '
    '"moorage.dev" in the namespace "default"'
)


@pytest.mark.parametrize(
    ("wanted", "there", "said"),
    [
        ("quickstar", ["quickstart", "other"], "did you mean quickstart?"),
        ("x", ["b", "a"], "there is a, b"),
        ("x", list("abcdefg"), "there is a, b, c, d, e and 2 more"),
        ("x", [], ""),
    ],
)
def test_what_is_there_instead(wanted: str, there: list[str], said: str) -> None:
    assert nearby(wanted, there) == said


def test_a_refusal_names_the_missing_rule() -> None:
    rule = '{apiGroups: ["moorage.dev"], resources: [servergroups], verbs: [get]}'
    assert missing_rule(DENIED) == f"jane needs the rule {rule}"
    assert missing_rule("the namespace is being deleted") == ""


def test_a_refusal_about_hosting_services_says_who_can_lift_it() -> None:
    """They are of no namespace, so no role of a namespace shows them."""
    denied = DENIED.replace("servergroups", "hostingservices")
    assert "moorage-services-view" in missing_rule(denied)
    assert "moorage-services-view" not in missing_rule(denied.replace("cannot get", "cannot patch"))


@pytest.mark.parametrize(
    ("error", "code", "says", "hint"),
    [
        (ConfigError("no kubeconfig at /x"), Exit.NO_CLUSTER, "no kubeconfig at /x", "moorage demo"),
        (Unavailable(0, "Unavailable", "connection refused"), Exit.NO_CLUSTER, "does not answer", "cluster-info"),
        (Unavailable(503, "Unavailable", "overloaded"), Exit.FAILED, "overloaded", ""),
        (Forbidden(403, "Forbidden", DENIED), Exit.FORBIDDEN, "cannot get", "verbs: [get]"),
        (Unauthorized(401, "Unauthorized", "who are you"), Exit.FORBIDDEN, "credentials", ""),
        (ApiError(418, "Teapot", "short and stout"), Exit.FAILED, "short and stout", ""),
        (KubeError("else"), Exit.FAILED, "else", ""),
    ],
)
def test_failures_of_the_cluster(error: KubeError, code: Exit, says: str, hint: str) -> None:
    told = as_cli_error(error)
    assert told.code is code
    assert says in told.message
    assert hint in told.hint


@dataclass(frozen=True)
class Run:
    returncode: int
    stdout: str
    stderr: str


Moorage = Callable[..., Run]


@pytest.fixture
def moorage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Moorage:
    """Runs the command in this process, without the environment of whoever runs the tests."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Run:
        monkeypatch.setattr(sys, "argv", ["moorage", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Run(int(end.value.code or 0), captured.out, captured.err)

    return run


def test_without_a_cluster_it_says_how_to_get_one(moorage: Moorage, tmp_path: Path) -> None:
    run = moorage("tree", "x", "--kubeconfig", str(tmp_path / "absent"))
    assert run.returncode == Exit.NO_CLUSTER
    assert run.stderr.startswith("error: no cluster to talk to")
    assert "moorage demo" in run.stderr
    assert run.stdout == ""


def test_a_server_that_does_not_answer(moorage: Moorage, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: c}}], "
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: c, user: {}}]}"
    )
    run = moorage("explain", "x", "--kubeconfig", str(config))
    assert run.returncode == Exit.NO_CLUSTER
    assert "does not answer" in run.stderr


@pytest.mark.parametrize(
    "arguments", [["tree"], ["tree", "a", "-o", "nope"], ["tree", "a", "-w", "-o", "json"], ["nope"], ["run", "--x"]]
)
def test_wrong_usage_is_2(moorage: Moorage, arguments: list[str]) -> None:
    run = moorage(*arguments)
    assert run.returncode == Exit.USAGE


def test_help_is_for_every_command(moorage: Moorage) -> None:
    listed = moorage("--help").stdout
    for command in (
        "demo",
        "tree",
        "explain",
        "plan",
        "simulate",
        "graph",
        "render",
        "enroll",
        "backends",
        "run",
        "configd",
        "hostd",
    ):
        assert command in listed


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        # Not `backends`: what an extra that is not installed lacks, it tells on stderr.
        [sys.executable, "-m", "moorage.cli", "testbed", "list", "-o", "json"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert run.returncode == Exit.FAILED
    assert run.stderr == ""


def test_the_help_of_hostd_is_its_own(moorage: Moorage) -> None:
    run = moorage("hostd", "--help")
    assert run.returncode == 0
    assert "--capacity" in run.stdout


def test_backends_are_listed_for_people_and_machines(moorage: Moorage) -> None:
    assert "local" in moorage("backends").stdout
    assert '"type": "local"' in moorage("backends", "-o", "json").stdout
    assert "- type: local" in moorage("backends", "-o", "yaml").stdout


def test_the_table_of_backends_fits_on_a_screen_and_the_wide_one_has_their_settings(moorage: Moorage) -> None:
    lines = moorage("backends").stdout.splitlines()
    assert "Volumes" in "".join(lines)
    assert [line for line in lines if len(line) > 120] == []
    assert "caBundle?" in moorage("backends", "-o", "wide").stdout


def test_a_list_of_targets_that_is_none_is_refused_before_anything_is_served(
    moorage: Moorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it comes from the environment: a list that is half read would be a list that is half kept to."""
    run = moorage("run", "--allow-target", "prometheus.example.org")
    assert run.returncode == Exit.USAGE
    assert "https://h.example.org:9090" in run.stderr
    monkeypatch.setenv("MOORAGE_ALLOW_TARGETS", "https://prom.example.org https://*")
    run = moorage("run")
    assert run.returncode == Exit.USAGE
    assert "no host name" in run.stderr


@pytest.mark.parametrize(("command", "other"), [("run", "--health-port"), ("configd", "--metrics-port")])
def test_one_port_for_two_is_told_before_a_cluster_is_looked_for(command: str, other: str, moorage: Moorage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    run = moorage(command, "--config-port", port, other, port)
    assert run.returncode == Exit.USAGE
    assert f"--config-port and {other} are both {port}" in run.stderr


@pytest.mark.parametrize(
    ("command", "option"),
    [("run", "--config-port"), ("run", "--health-port"), ("configd", "--config-port"), ("configd", "--metrics-port")],
)
def test_a_port_that_is_taken_is_told_before_a_cluster_is_looked_for(
    command: str, option: str, moorage: Moorage
) -> None:
    free = {"run": ("--config-port", "--health-port"), "configd": ("--config-port",)}[command]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ports = [part for name in free for part in (name, "0")]
        run = moorage(command, "--config-host", "127.0.0.1", *ports, option, str(port))
    assert run.returncode == Exit.FAILED
    assert f"port {port} of 127.0.0.1 is taken" in run.stderr
    assert f"choose another with {option}" in run.stderr
