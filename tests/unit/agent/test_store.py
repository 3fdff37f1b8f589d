"""What is kept over a reboot: the key first, the rest without harm when it is lost."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from moorage.agent.settings import Settings, SettingsError, read_settings
from moorage.agent.store import Store, write_atomically


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = Store(str(tmp_path / "s")).key()
    assert len(key) >= 40
    assert Store(str(tmp_path / "s")).key() == key
    assert stat.S_IMODE((tmp_path / "s" / "key").stat().st_mode) == 0o600
    assert Store(str(tmp_path / "other")).key() != key


def test_the_state_comes_back(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.sequence, store.delivered, store.acknowledged, store.joined = 7, 3, 2, True
    store.steps["a"] = {"state": "Succeeded"}
    store.outputs["o"] = {"value": "canary", "version": 4}
    store.save()
    again = Store(str(tmp_path))
    assert (again.sequence, again.delivered, again.acknowledged, again.joined) == (7, 3, 2, True)
    assert (again.steps, again.outputs) == (store.steps, store.outputs)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"sequence": "x", "steps": [1], "outputs": {"o": 3}}', b"\xff"])
def test_a_damaged_state_is_as_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "state.json").write_bytes(damage)
    store = Store(str(tmp_path))
    assert (store.sequence, store.steps, store.outputs) == (0, {}, {})


def test_programs_of_other_users_read_the_status_and_nothing_else(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "s"))
    store.save_status({"revision": 1})
    store.save_document(b'{"items": {"password": "canary"}}')
    modes = {name: stat.S_IMODE((tmp_path / "s" / name).stat().st_mode) for name in os.listdir(tmp_path / "s")}
    assert modes == {"status.json": 0o644, "document.json": 0o600}
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o711


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(TypeError):
        write_atomically(str(target), "not bytes")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "old"


def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    facts = {"urls": ["https://c:1/"], "pin": "AB", "server": "ns/uid", "token": "canary-token", **changes}
    (tmp_path / "boot.json").write_text(json.dumps(facts))
    monkeypatch.setenv("MOORAGE_STATE", str(tmp_path))
    monkeypatch.delenv("MOORAGE_ROOT", raising=False)


def test_settings_come_from_the_file_that_user_data_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot(tmp_path, monkeypatch)
    settings = read_settings()
    assert settings == Settings(["https://c:1"], "ab", "ns/uid", "canary-token", str(tmp_path), "")
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    "changes",
    [{"urls": []}, {"urls": "https://c"}, {"urls": ["http://c"]}, {"pin": ""}, {"server": 1}, {"token": None}],
)
def test_settings_that_are_wrong_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    boot(tmp_path, monkeypatch, **changes)
    with pytest.raises(SettingsError, match=next(iter(changes))) as caught:
        read_settings()
    assert "canary" not in str(caught.value)
    (tmp_path / "boot.json").write_text("rubbish")
    with pytest.raises(SettingsError, match=r"boot\.json"):
        read_settings()
