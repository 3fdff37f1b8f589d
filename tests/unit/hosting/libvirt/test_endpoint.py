"""Which endpoints and credentials are taken, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from moorage.hosting.errors import AuthenticationError, Invalid
from moorage.hosting.libvirt.endpoint import endpoint
from moorage.testbed.libvirt.files import Authority

SSH = {"ssh-privatekey": b"a key", "known_hosts": b"h ssh-ed25519 AAAA"}


def tls() -> dict[str, bytes]:
    """Credentials of qemu+tls."""
    authority = Authority()
    made = authority.issue("moorage", server=False)
    return {
        "ca.crt": authority.pem.encode(),
        "tls.crt": made.certificate.encode(),
        "tls.key": made.key.encode(),
    }


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "https://h/system", "qemu://h/system", "qemu:///", "qemu:///system/", "qemu:///system#x"),
        *("qemu+ext:///system?command=/bin/true", "qemu+tcp://h/system", "test:///default", "xen:///system"),
        *("qemu+tls:///system", "qemu+tls://h:0/system", "qemu+tls://h:x/system", "qemu+tls://h/system?no_verify=1"),
        *("qemu+tls://user@h/system", "qemu+tls://h/system?pkipath=/root", "qemu+unix:///system?socket=relative"),
        *("qemu+ssh://h/system?command=/bin/true", "qemu+ssh://h/system?netcat=x", "qemu+ssh://u:p@h/system"),
        *("qemu+unix://h/system", "qemu+unix:///system?socket=/a&socket=/b", "qemu:///system?socket=/a"),
        "qemu+unix:///system?mode=direct",
    ],
)
def test_what_would_run_programs_or_skip_checks_is_refused(text: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        endpoint(text, {**tls(), **SSH})
    assert caught.value.field == "endpoint"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("qemu:///system", "qemu:///system"),
        ("qemu+unix:///session?socket=/run/a%20b", "qemu+unix:///session?socket=%2Frun%2Fa%20b"),
    ],
)
def test_local_ones_are_opened_as_they_are(text: str, uri: str) -> None:
    found = endpoint(text, {})
    with found.uri() as (opened, folder):
        assert opened == uri
        assert list(Path(folder).iterdir()) == []
    assert found.driver in {"/system", "/session"}


def test_certificates_are_in_a_folder_that_nobody_else_reads_while_they_are_needed() -> None:
    with endpoint("qemu+tls://h:1234/system", tls()).uri() as (uri, name):
        folder = Path(name)
        assert parse_qs(urlsplit(uri).query)["pkipath"] == [name]
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sorted(path.name for path in folder.iterdir()) == ["cacert.pem", "clientcert.pem", "clientkey.pem"]
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert not folder.exists()


def test_ssh_goes_by_the_library_with_the_hosts_of_the_secret() -> None:
    with endpoint("qemu+ssh://root@h/system", SSH).uri() as (uri, folder):
        url = urlsplit(uri)
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc, url.path) == ("qemu+libssh", "root@h", "/system")
    assert (query["known_hosts_verify"], query["sshauth"]) == (["normal"], ["privkey"])
    assert (query["keyfile"], query["known_hosts"]) == ([f"{folder}/id"], [f"{folder}/known_hosts"])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ca.crt": b""}, "ca.crt"),
        ({"ca.crt": b"no PEM"}, "ca.crt"),
        ({"tls.key": b"no PEM"}, "tls.key"),
        ({"tls.crt": b"\xff"}, "tls.crt"),
        ({"tls.key": tls()["tls.key"]}, "tls.key"),
        ({"password": b"\xff"}, "password"),
    ],
)
def test_credentials_that_make_no_sense_are_told_by_their_key(changes: dict[str, bytes], key: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        endpoint("qemu+tls://h/system", {**tls(), **changes})
    assert f"`{key}`" in caught.value.message


@pytest.mark.parametrize("url", ["qemu+tls://h/system", "qemu+ssh://h/system"])
def test_remote_ones_need_credentials(url: str) -> None:
    with pytest.raises(AuthenticationError):
        endpoint(url, {})


def test_secrets_are_in_no_repr() -> None:
    found = endpoint("qemu+unix:///system?socket=/a", {"username": b"me", "password": b"hush"})
    assert (found.user, found.password) == ("me", "hush")
    assert "hush" not in repr(found)
    assert "BEGIN" not in repr(endpoint("qemu+tls://h/system", tls()))
