"""The endpoint of a HostingService of type `libvirt`: libvirt's own URI, but for what would run programs here."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from moorage.hosting.errors import AuthenticationError, Invalid

TRANSPORTS = frozenset({"qemu", "qemu+unix", "qemu+tls", "qemu+ssh"})
_TLS_FILES = {"ca.crt": "cacert.pem", "tls.crt": "clientcert.pem", "tls.key": "clientkey.pem"}
_SSH_FILES = {"ssh-privatekey": "id", "known_hosts": "known_hosts"}
_FORMS = "must be qemu:///system, qemu+unix:///system?socket=PATH, qemu+tls://HOST[:PORT]/system or qemu+ssh://USER@HOST/system"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where libvirtd is, and what is shown to it. `files` are those that libvirt reads credentials from."""

    url: SplitResult
    files: Mapping[str, bytes] = field(repr=False)
    user: str
    password: str = field(repr=False)

    @property
    def driver(self) -> str:
        """Which of the host's libvirts it is: `/system` or `/session`."""
        return self.url.path

    @contextmanager
    def uri(self) -> Iterator[tuple[str, str]]:
        """The URI to open, and the folder of the files that it names: they are there meanwhile, since libvirt reads
        them while it connects, and nobody else can read them."""
        with tempfile.TemporaryDirectory(prefix="moorage-libvirt-") as folder:
            for name, content in self.files.items():
                (Path(folder) / name).touch(mode=0o600)
                (Path(folder) / name).write_bytes(content)
            yield self._uri(folder), folder

    def _uri(self, folder: str) -> str:
        query = dict(parse_qsl(self.url.query))
        scheme = self.url.scheme
        if scheme == "qemu+tls":
            query["pkipath"] = folder
        if scheme == "qemu+ssh":
            # The library and not the program: it asks nobody, and trusts the hosts of the Secret alone.
            scheme = "qemu+libssh"
            query |= {"keyfile": f"{folder}/id", "known_hosts": f"{folder}/known_hosts"}
            query |= {"known_hosts_verify": "normal", "sshauth": "privkey"}
        return f"{scheme}://{self.url.netloc}{self.url.path}" + (
            f"?{urlencode(query, quote_via=quote)}" if query else ""
        )


def endpoint(text: str | None, credentials: Mapping[str, bytes]) -> Endpoint:
    """The endpoint with its credentials. Raises Invalid(field="endpoint") or AuthenticationError."""
    url = _url(text)
    user, password = _text(credentials, "username"), _text(credentials, "password")
    if url.scheme == "qemu+tls":
        files = _files(credentials, _TLS_FILES)
        _check_tls(files)
    elif url.scheme == "qemu+ssh":
        files = _files(credentials, _SSH_FILES)
    else:
        files = {}
    return Endpoint(url, files, user, password)


def _url(text: str | None) -> SplitResult:
    try:
        url = urlsplit(text or "")
        query = parse_qsl(url.query, strict_parsing=True) if url.query else []
        usable = url.scheme in TRANSPORTS and url.path in {"/system", "/session"} and not url.fragment
        remote = url.scheme in {"qemu+tls", "qemu+ssh"}
        usable = usable and bool(url.hostname) == remote and url.port != 0 and url.password is None
        usable = usable and (url.username is None or url.scheme == "qemu+ssh")
    except ValueError:
        raise Invalid(_FORMS, field="endpoint") from None
    # Others than the socket's path name programs and files of this machine, or turn checks off.
    if not usable or [name for name, _ in query] != (["socket"] if query else []):
        raise Invalid(_FORMS, field="endpoint")
    if query and (url.scheme != "qemu+unix" or not query[0][1].startswith("/")):
        raise Invalid(_FORMS, field="endpoint")
    return url


def _text(credentials: Mapping[str, bytes], name: str) -> str:
    try:
        return credentials.get(name, b"").decode().strip()
    except UnicodeDecodeError:
        raise AuthenticationError(f"the key `{name}` of the credentials is no text") from None


def _files(credentials: Mapping[str, bytes], names: Mapping[str, str]) -> dict[str, bytes]:
    missing = [name for name in names if not credentials.get(name)]
    if missing:
        raise AuthenticationError(f"the credentials hold no key `{missing[0]}`")
    return {file: credentials[name] for name, file in names.items()}


def _check_tls(files: Mapping[str, bytes]) -> None:
    """Nonsense is told here, where it can be told which key of the Secret it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=files["cacert.pem"].decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise AuthenticationError("the key `ca.crt` of the credentials is not a bundle of PEM certificates") from None
    with tempfile.NamedTemporaryFile(prefix="moorage-libvirt-") as pair:
        pair.write(files["clientcert.pem"] + b"\n" + files["clientkey.pem"])
        pair.flush()
        try:
            context.load_cert_chain(pair.name, password=lambda: b"")
        except (ssl.SSLError, ValueError, OSError):
            message = "the keys `tls.crt` and `tls.key` of the credentials are not a certificate and its key in PEM"
            raise AuthenticationError(message) from None
