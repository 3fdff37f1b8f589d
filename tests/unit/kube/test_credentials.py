"""Where and who: kubeconfigs, token files, exec plugins, in-cluster."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.memory_api import MemoryApi

from moorage.kube import credentials
from moorage.kube.client import Client
from moorage.kube.credentials import Credentials, loader
from moorage.kube.errors import ConfigError, InvalidObject
from moorage.kube.installation import ensure_installation
from moorage.kube.kinds import SECRET


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def kubeconfig(folder: Path, user: dict[str, Any], server: str = "http://127.0.0.1:1", **cluster: Any) -> str:
    path = folder / "config"
    context = {"cluster": "c", "user": "u", "namespace": "home"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "one", "context": context}, {"name": "two", "context": {**context, "namespace": "x"}}],
        "current-context": "one",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


async def header(path: str) -> str | None:
    loaded = Credentials(loader(path))
    await loaded.refresh()
    return loaded.headers().get("Authorization")


async def test_a_token(tmp_path: Path) -> None:
    assert await header(kubeconfig(tmp_path, {"token": "abc"})) == "Bearer abc"


async def test_no_credentials_is_no_header(tmp_path: Path) -> None:
    assert await header(kubeconfig(tmp_path, {})) is None


async def test_user_and_password(tmp_path: Path) -> None:
    expected = "Basic " + base64.b64encode(b"me:pw").decode()
    assert await header(kubeconfig(tmp_path, {"username": "me", "password": "pw"})) == expected


async def test_a_token_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    creds = Credentials(loader(kubeconfig(tmp_path, {"tokenFile": str(token)})))
    await creds.refresh()
    token.write_text("second\n")
    await creds.refresh()
    assert creds.headers() == {"Authorization": "Bearer first"}, "not yet old"
    monkeypatch.setattr(credentials, "REFRESH", 0.0)
    await creds.refresh()
    assert creds.headers() == {"Authorization": "Bearer second"}
    token.unlink()
    with pytest.raises(ConfigError, match="cannot read the token"):
        await creds.refresh()


def plugin(folder: Path, status: dict[str, Any] | None) -> dict[str, Any]:
    script = folder / "plugin.py"
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    body = "raise SystemExit(1)" if status is None else f"print({json.dumps(answer)!r})"
    script.write_text(body)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(script)],
            "interactiveMode": "Never",
        }
    }


async def test_an_exec_plugin_is_run_again_when_forced(tmp_path: Path) -> None:
    creds = Credentials(loader(kubeconfig(tmp_path, plugin(tmp_path, {"token": "one"}))))
    await creds.refresh()
    assert creds.headers() == {"Authorization": "Bearer one"}
    plugin(tmp_path, {"token": "two"})
    await creds.refresh(force=True)
    assert creds.headers() == {"Authorization": "Bearer two"}


async def test_a_failing_exec_plugin_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"exec plugin .* gave no credentials"):
        await header(kubeconfig(tmp_path, plugin(tmp_path, None)))


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-file"):
        await Client.connect(str(tmp_path / "no-such-file"))
    path = kubeconfig(tmp_path, {})
    with pytest.raises(ConfigError, match="three"):
        await Client.connect(path, "three")
    for text in ("{", "just text", "clusters: 5", "token: hunter2: x"):
        (tmp_path / "broken").write_text(text)
        with pytest.raises(ConfigError, match="broken") as caught:
            await Client.connect(str(tmp_path / "broken"))
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="TLS material"):
        await Client.connect(
            kubeconfig(
                tmp_path, {}, "https://127.0.0.1:1", **{"certificate-authority-data": base64.b64encode(b"x").decode()}
            )
        )


async def test_the_context_chooses(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {})
    async with await Client.connect(path) as one, await Client.connect(path, "two") as two:
        assert (one.namespace, two.namespace) == ("home", "x")
        assert one.host == "http://127.0.0.1:1"


async def test_proxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def proxy(**cluster: Any) -> str | None:
        return loader(kubeconfig(tmp_path, {}, "https://api.example", **cluster))().proxy

    assert proxy() is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert proxy() == "http://proxy.example:3128"
    assert proxy(**{"proxy-url": "http://mine.example:1"}) == "http://mine.example:1"
    monkeypatch.setenv("no_proxy", "api.example")
    assert proxy() is None


async def test_in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("pod-token\n")
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----")
    (tmp_path / "namespace").write_text("moorage-system")
    monkeypatch.setattr(credentials, "_SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    loaded = loader()()
    assert (loaded.host, loaded.namespace) == ("https://10.0.0.1:443", "moorage-system")
    assert loaded.authorization() == "bearer pod-token\n"
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT")
    with pytest.raises(ConfigError, match="in-cluster"):
        loader()()
    assert loader(kubeconfig(tmp_path, {"token": "t"}))().host == "http://127.0.0.1:1", "named explicitly"


async def test_a_damaged_installation_is_never_replaced() -> None:
    api = MemoryApi()
    good = await ensure_installation(api.client, "ns")
    assert await ensure_installation(api.client, "ns") == good
    damaged = {"id": base64.b64encode(b"x").decode(), "hmacKey": "c2hvcnQ="}
    api.change(SECRET, "ns", "moorage-installation", data=damaged)
    with pytest.raises(InvalidObject, match="restore it from a backup"):
        await ensure_installation(api.client, "ns")
    assert api.stored(SECRET, "ns", "moorage-installation")["data"] == damaged


async def test_a_user_that_acts_as_another_is_refused_and_not_taken_for_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"acts as another \(as\)"):
        await header(kubeconfig(tmp_path, {"token": "abc", "as": "bob"}))
