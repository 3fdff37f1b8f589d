"""Whoever may call hostd can run programs as its user: it asks for a token unless it is told not to."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from moorage.hostd.__main__ import _arguments, _config
from moorage.hostd.app import Running, run
from moorage.hostd.config import Config, ConfigError, SimulateConfig


def config(data: Path, *options: str) -> Config:
    return _config(_arguments().parse_args(["--data", str(data), *options]))


def ask(running: Running, token: str = "") -> int:
    """The status of a call."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(f"{running.url}/v1/account", headers=headers), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def read(path: Path) -> tuple[str, int]:
    """What is in a file, and who may read it."""
    return path.read_text(), path.stat().st_mode & 0o777


async def asked(running: Running, token: str = "") -> int:
    """The same, beside the server that answers."""
    return await asyncio.to_thread(ask, running, token)


async def test_it_makes_a_token_for_its_user_alone_and_keeps_it(tmp_path: Path) -> None:
    async with await run(config(tmp_path / "d")) as running:
        assert running.announcement()["tokenFile"] == str(tmp_path / "d" / "token")
        token, mode = read(tmp_path / "d" / "token")
        assert mode == 0o600
        assert len(token) > 40
        assert [await asked(running), await asked(running, "x"), await asked(running, token)] == [401, 401, 200]
        assert token not in str(running.announcement())
    async with await run(config(tmp_path / "d")) as running:
        assert await asked(running, token) == 200


async def test_a_token_that_is_given_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given-to-it\n")
    async with await run(config(tmp_path / "d", "--token-file", str(tmp_path / "given"))) as running:
        assert [await asked(running), await asked(running, "given-to-it")] == [401, 200]
        assert "tokenFile" not in running.announcement()
        assert not (tmp_path / "d" / "token").exists()


async def test_without_a_token_it_says_who_can_do_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with await run(config(tmp_path / "d", "--no-token")) as running:
            assert await asked(running) == 200
    assert "every user of this machine can run programs" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        async with await run(Config(data=tmp_path / "s", simulate=SimulateConfig())):
            pass
    assert caplog.text == ""


async def test_an_empty_token_is_none(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "token").touch(mode=0o600)
    with pytest.raises(ConfigError, match="holds no token"):
        await run(config(tmp_path / "d"))
    with pytest.raises(SystemExit):
        config(tmp_path / "d", "--no-token", "--token-file", "x")


def test_without_a_token_it_serves_this_machine_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only on a loopback address"):
        config(tmp_path, "--no-token", "--host", "192.0.2.1")
    assert config(tmp_path, "--no-token", "--host", "127.0.0.9").host == "127.0.0.9"
    assert config(tmp_path, "--no-token", "--simulate", "--host", "192.0.2.1").simulate is not None


async def test_a_token_that_others_may_have_put_there_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    planted = tmp_path / "d" / "token"
    planted.write_text("known to somebody")
    planted.chmod(0o644)
    with pytest.raises(ConfigError, match="not yours alone"):
        async with await run(config(tmp_path / "d")):
            pass
