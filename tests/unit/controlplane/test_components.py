"""The programs' flags, and ports that nothing else is likely to take."""

from __future__ import annotations

import random
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from moorage.controlplane.components import (
    apiserver_argv,
    controller_manager_argv,
    etcd_argv,
    free_port,
    port_was_taken,
)
from moorage.controlplane.pki import write_pki


def test_a_free_port_is_never_one_that_the_system_hands_out() -> None:
    ports = {free_port(random.Random(seed), (25000, 60999)) for seed in range(50)}
    assert all(20000 <= port < 25000 for port in ports)
    assert len(ports) > 40


def test_where_the_system_hands_out_all_high_ports_lower_ones_are_taken() -> None:
    assert 10000 <= free_port(random.Random(1), (15000, 65535)) < 15000


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port(random.Random(7), (32768, 60999))))
        assert free_port(random.Random(7), (32768, 60999)) != taken.getsockname()[1]


@pytest.mark.parametrize(
    ("log", "taken"),
    [
        (
            "failed to create listener: failed to listen on 127.0.0.1:21999: listen tcp: bind: address already in use",
            True,
        ),
        ("connection refused", False),
    ],
)
def test_a_port_lost_to_somebody_else_is_told_from_other_failures(log: str, taken: bool) -> None:
    assert port_was_taken(log) is taken


def test_authorization_is_on_and_nothing_secret_is_an_argument() -> None:
    argv = apiserver_argv(Path("/b/kube-apiserver"), 20001)
    assert "--authorization-mode=RBAC" in argv
    assert "--bind-address=127.0.0.1" in argv
    assert not any("unix" not in word for word in etcd_argv(Path("/b/etcd")) if "urls" in word)
    assert "--secure-port=0" in controller_manager_argv(Path("/b/kcm"))


def test_autoscalers_run_and_may_be_fed_by_an_aggregated_api(tmp_path: Path) -> None:
    write_pki(tmp_path, datetime.now(UTC))
    flags = dict(word.removeprefix("--").split("=", 1) for word in apiserver_argv(Path("/b/a"), 1)[1:] if "=" in word)
    authority = x509.load_pem_x509_certificate((tmp_path / flags["requestheader-client-ca-file"]).read_bytes())
    client = x509.load_pem_x509_certificate((tmp_path / flags["proxy-client-cert-file"]).read_bytes())
    client.verify_directly_issued_by(authority)
    assert client.subject.rfc4514_string() == f"CN={flags['requestheader-allowed-names']}"
    assert (tmp_path / flags["proxy-client-key-file"]).stat().st_mode & 0o077 == 0
    server = x509.load_pem_x509_certificate((tmp_path / flags["tls-cert-file"].replace("certs/", "")).read_bytes())
    with pytest.raises(ValueError, match="Issuer"):
        server.verify_directly_issued_by(authority)
    (controllers,) = (w for w in controller_manager_argv(Path("/b/kcm")) if w.startswith("--controllers="))
    assert "horizontal-pod-autoscaler-controller" in controllers
