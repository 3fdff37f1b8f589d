"""The root CA of the configuration channel, and the leaves that its replicas show. No I/O; the time is an input."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_LIFETIME = timedelta(days=3652)
LEAF_LIFETIME = timedelta(days=7)
BACKDATE = timedelta(hours=1)
"""Certificates are valid from a while ago, for guests whose clock is a little behind."""

_HOST = re.compile(r"^(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9_])?$")


class CAError(Exception):
    """The CA cannot be used; the message says why, without key material."""


class CAMissing(CAError):
    """The Secret of the root CA is absent while servers exist that trust it. A new CA would cut them all off."""


class CADamaged(CAError):
    """The Secret of the root CA does not hold what it should."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The present root CA with its key, the older roots that guests still pin, and the present root's certificate
    signed by each of them (`crosses`), which completes the chain of a guest that knows an older root only."""

    certificate: bytes
    key: bytes = field(repr=False)
    older: tuple[bytes, ...] = ()
    crosses: tuple[bytes, ...] = ()

    @property
    def bundle(self) -> bytes:
        """All roots as PEM, the present one first: the body of `/v1/ca.pem`."""
        return self.certificate + b"".join(self.older)

    @property
    def pin(self) -> str:
        """Hex SHA-256 of the present root's DER form; user-data holds it."""
        return hashlib.sha256(_der(self.certificate)).hexdigest()

    def to_data(self) -> dict[str, bytes]:
        """The data of the Secret."""
        return {
            "tls.crt": self.certificate,
            "tls.key": self.key,
            "older.crt": b"".join(self.older),
            "cross.crt": b"".join(self.crosses),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, bytes]) -> Authority:
        """Read the data of the Secret. Raises CADamaged, naming the key that is wrong."""
        for name in ("tls.crt", "tls.key"):
            if not data.get(name):
                raise CADamaged(f"the CA's Secret has no {name}")
        found = cls(
            certificate=data["tls.crt"],
            key=data["tls.key"],
            older=_split(data.get("older.crt", b"")),
            crosses=_split(data.get("cross.crt", b"")),
        )
        try:
            same = _public(_private(found.key)) == _public(_load(found.certificate).public_key())
        except (ValueError, TypeError):
            raise CADamaged("the CA's Secret: tls.crt or tls.key is not PEM of a certificate and its key") from None
        if not same:
            raise CADamaged("the CA's Secret: tls.key is not the key of tls.crt")
        return found


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a replica shows to agents: its certificate and the crosses, and its key."""

    chain: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    pin: str
    """The pin of the root that signed it."""
    not_before: datetime
    not_after: datetime


def new_authority(now: datetime) -> Authority:
    """A root CA of its own, valid for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _root_name(key)
    certificate = _root_certificate(subject, key.public_key(), subject, key, key.public_key(), now, now + ROOT_LIFETIME)
    return Authority(certificate, _key_pem(key))


def rotation_due(authority: Authority, now: datetime) -> bool:
    """Whether the present root has lived two thirds of its life."""
    certificate = _load(authority.certificate)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= start + (end - start) * 2 / 3


def rotated(authority: Authority, now: datetime) -> Authority:
    """A new root, cross-signed by the present one. Older roots stay announced until they expire."""
    old_key = _private(authority.key)
    new = new_authority(now)
    key = _private(new.key)
    living = [pem for pem in (authority.certificate, *authority.older) if _load(pem).not_valid_after_utc > now]
    old = _load(authority.certificate)
    crosses = [pem for pem in authority.crosses if _load(pem).not_valid_after_utc > now]
    if authority.certificate in living:
        end = min(old.not_valid_after_utc, now + ROOT_LIFETIME)
        subject = _load(new.certificate).subject
        cross = _root_certificate(subject, key.public_key(), old.subject, old_key, old_key.public_key(), now, end)
        crosses.insert(0, cross)
    return Authority(new.certificate, new.key, tuple(living), tuple(crosses))


def issue_leaf(authority: Authority, names: Iterable[str], now: datetime, lifetime: timedelta = LEAF_LIFETIME) -> Leaf:
    """A certificate for the given host names and IP addresses. Raises ValueError where one is neither."""
    wanted = tuple(sorted(set(names)))
    if not wanted:
        raise ValueError("a certificate needs at least one name: set a configEndpoint")
    root_key = _private(authority.key)
    root = _load(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + lifetime, root.not_valid_after_utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moorage configd")]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in wanted]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM) + b"".join(authority.crosses)
    return Leaf(chain, _key_pem(key), wanted, authority.pin, now, end)


def leaf_due(leaf: Leaf, authority: Authority, names: Iterable[str], now: datetime) -> bool:
    """Whether a new leaf is needed: two thirds of its life are over, the names or the root changed."""
    if leaf.pin != authority.pin or leaf.names != tuple(sorted(set(names))):
        return True
    return now >= leaf.not_before + (leaf.not_after - leaf.not_before) * 2 / 3


def is_name(name: str) -> bool:
    """Whether a certificate can be issued for it: a host name or an IP address."""
    return _address(name) is not None or bool(_HOST.match(name))


def _general_name(name: str) -> x509.GeneralName:
    address = _address(name)
    if address is not None:
        return x509.IPAddress(address)
    if not _HOST.match(name):
        raise ValueError(f"{name!r} is neither a host name nor an IP address")
    return x509.DNSName(name)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _root_name(key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """Names of roots differ, so that nobody takes one for the other while a chain is built."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:12]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"moorage root CA {digest}")])


def _root_certificate(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    signer_public: ec.EllipticCurvePublicKey,
    now: datetime,
    end: datetime,
) -> bytes:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_public), critical=False)
        .sign(signer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of an elliptic curve")
    return key


def _public(key: object) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        key = key.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key of an elliptic curve")
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def _der(pem: bytes) -> bytes:
    return _load(pem).public_bytes(serialization.Encoding.DER)


def _split(bundle: bytes) -> tuple[bytes, ...]:
    try:
        loaded = x509.load_pem_x509_certificates(bundle) if bundle.strip() else []
    except ValueError:
        raise CADamaged("the CA's Secret: older.crt or cross.crt is not PEM") from None
    return tuple(certificate.public_bytes(serialization.Encoding.PEM) for certificate in loaded)


def utc_now() -> datetime:
    """The present time, for callers that have no clock of their own."""
    return datetime.now(UTC)
