"""hostd behind TLS, as a HostingService with a bundle of roots reaches it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.hostd import Hostd

from moorage.hostd.config import ConfigError
from moorage.hosting.errors import Unavailable


def write_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hostd")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


@pytest.fixture
async def hostd(tmp_path: Path) -> AsyncIterator[Hostd]:
    certificate, key = write_certificate(tmp_path)
    made = Hostd(tmp_path / "hostd", simulate=True, certificate=certificate, key=key)
    await made.start()
    yield made
    await made.stop()


async def test_the_bundle_of_the_settings_is_trusted(hostd: Hostd, tmp_path: Path) -> None:
    assert hostd.url.startswith("https://")
    bundle = (tmp_path / "cert.pem").read_text()
    assert (await hostd.open(caBundle=bundle).account()).startswith("hostd-")


async def test_a_certificate_of_somebody_else_is_not(hostd: Hostd) -> None:
    with pytest.raises(Unavailable, match="not trusted"):
        await hostd.open().account()


async def test_a_certificate_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("nothing")
    broken = Hostd(tmp_path / "hostd", simulate=True, certificate=tmp_path / "cert.pem", key=tmp_path / "cert.pem")
    with pytest.raises(ConfigError, match="certificate"):
        await broken.start()
    # The directory was let go of again.
    (tmp_path / "cert.pem").unlink()
    working = Hostd(tmp_path / "hostd", simulate=True)
    await working.start()
    await working.stop()
