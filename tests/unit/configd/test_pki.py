"""The root CA, its leaves and its rotation: pure, and seen by OpenSSL as a client would."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from moorage.configd.pki import (
    Authority,
    CADamaged,
    Leaf,
    issue_leaf,
    leaf_due,
    new_authority,
    rotated,
    rotation_due,
    utc_now,
)
from moorage.configd.tls import Certificates, load_leaf, server_context

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ("configd.example", "10.0.0.1", "fd00::1")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority(NOW)


def handshake(leaf: Leaf, bundle: bytes, name: str = "127.0.0.1") -> Any:
    """The certificate that a client which trusts `bundle` sees. Raises ssl.SSLCertVerificationError."""
    server = server_context()
    load_leaf(server, leaf)
    client = ssl.create_default_context(cadata=bundle.decode())
    ends = socket.socketpair()
    for end in ends:
        end.settimeout(10)

    def serve() -> None:
        try:
            with server.wrap_socket(ends[0], server_side=True) as spoken:
                spoken.recv(1)
        except OSError:
            ends[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ends[1], server_hostname=name) as spoken:
            seen = spoken.getpeercert()
            spoken.send(b".")
            return seen
    finally:
        ends[1].close()
        thread.join()
        ends[0].close()


def test_a_root_lives_ten_years_and_signs_only(authority: Authority) -> None:
    root = x509.load_pem_x509_certificate(authority.certificate)
    assert root.not_valid_after_utc - NOW >= timedelta(days=3650)
    assert root.not_valid_before_utc < NOW
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca


def test_a_leaf_has_all_names_and_a_short_life(authority: Authority) -> None:
    leaf = issue_leaf(authority, NAMES, NOW)
    certificate = x509.load_pem_x509_certificate(leaf.chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["configd.example"]
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} == {"10.0.0.1", "fd00::1"}
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("names", [[], ["not a name"], ["https://x"], ["-"]])
def test_a_leaf_without_a_usable_name_is_refused(authority: Authority, names: list[str]) -> None:
    with pytest.raises(ValueError, match="name"):
        issue_leaf(authority, names, NOW)


def test_a_leaf_is_due_after_two_thirds_or_with_other_names_or_another_root(authority: Authority) -> None:
    leaf = issue_leaf(authority, NAMES, NOW, timedelta(days=6))
    assert not leaf_due(leaf, authority, reversed(NAMES), NOW + timedelta(days=4) - timedelta(seconds=1))
    assert leaf_due(leaf, authority, NAMES, NOW + timedelta(days=4))
    assert leaf_due(leaf, authority, [*NAMES, "other"], NOW)
    assert leaf_due(leaf, new_authority(NOW), NAMES, NOW)


def test_a_leaf_does_not_outlive_its_root() -> None:
    authority = new_authority(NOW)
    late = NOW + timedelta(days=3650)
    assert issue_leaf(authority, NAMES, late).not_after <= NOW + timedelta(days=3652)


def test_the_secret_keeps_everything(authority: Authority) -> None:
    grown = rotated(rotated(authority, NOW), NOW)
    assert Authority.from_data(grown.to_data()) == grown
    assert len(grown.older) == 2
    assert grown.bundle.count(b"BEGIN CERTIFICATE") == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tls.crt": b""}, "tls.crt"),
        ({"tls.key": b""}, "tls.key"),
        ({"tls.key": b"rubbish"}, "tls.key"),
        ({"tls.crt": b"rubbish"}, "tls.crt"),
        ({"older.crt": b"rubbish"}, "older.crt"),
        ({"tls.key": new_authority(NOW).key}, "not the key"),
    ],
)
def test_a_damaged_secret_is_named_without_its_key(authority: Authority, change: dict[str, bytes], named: str) -> None:
    with pytest.raises(CADamaged, match=named) as caught:
        Authority.from_data({**authority.to_data(), **change})
    assert "PRIVATE" not in str(caught.value)


def test_keys_are_in_no_repr(authority: Authority) -> None:
    assert "PRIVATE" not in repr(authority)
    assert "PRIVATE" not in repr(issue_leaf(authority, NAMES, NOW))


def test_a_root_is_rotated_at_two_thirds_of_its_life(authority: Authority) -> None:
    assert not rotation_due(authority, NOW + timedelta(days=2400))
    assert rotation_due(authority, NOW + timedelta(days=2500))


def test_after_a_rotation_old_and_new_pins_both_verify() -> None:
    old = new_authority(utc_now())
    new = rotated(old, utc_now())
    newest = rotated(new, utc_now())
    assert len({old.pin, new.pin, newest.pin}) == 3
    leaf = issue_leaf(newest, ["127.0.0.1"], utc_now())
    for trusted in (newest.certificate, new.certificate, newest.bundle):
        assert handshake(leaf, trusted)
    assert handshake(issue_leaf(new, ["127.0.0.1"], utc_now()), old.certificate)


def test_a_guest_that_pins_a_root_two_rotations_ago_still_verifies() -> None:
    oldest = new_authority(utc_now())
    newest = rotated(rotated(oldest, utc_now()), utc_now())
    assert handshake(issue_leaf(newest, ["127.0.0.1"], utc_now()), oldest.certificate)


def test_another_root_does_not_verify() -> None:
    leaf = issue_leaf(new_authority(utc_now()), ["127.0.0.1"], utc_now())
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(leaf, new_authority(utc_now()).certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(issue_leaf(rotated(new_authority(utc_now()), utc_now()), ["127.0.0.1"], utc_now()), leaf.chain)


def test_expired_roots_are_announced_no_more() -> None:
    old = new_authority(NOW)
    later = NOW + timedelta(days=4000)
    new = rotated(old, later)
    assert new.older == ()
    assert new.crosses == ()


def test_a_leaf_is_exchanged_while_the_context_serves() -> None:
    certificates = Certificates(server_context(), new_authority(utc_now()), timedelta(hours=3))
    start = utc_now()
    assert certificates.refresh(["127.0.0.1"], start)
    first = certificates.leaf
    assert not certificates.refresh(["127.0.0.1"], start + timedelta(hours=1))
    assert certificates.leaf is first
    assert certificates.refresh(["127.0.0.1"], start + timedelta(hours=2))
    assert certificates.leaf is not first
    assert certificates.refresh(["127.0.0.1", "other"], start + timedelta(hours=2))
