"""The parts of hostd that need no server: its ledger, its directory, its options, its faults."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from moorage.api.hostd import FaultKind, Faults, LedgerEntry, LedgerEvent, NextErrors, Operation
from moorage.hostd.__main__ import _arguments, _config
from moorage.hostd.app import run
from moorage.hostd.config import Config, ConfigError, SimulateConfig, load_offerings
from moorage.hostd.faults import FaultState, Mischief
from moorage.hostd.ledger import Ledger, LedgerError
from moorage.hostd.refusals import Refusal
from moorage.hostd.store import DirectoryStore, Home, write_atomic


def entry(number: int, event: LedgerEvent = LedgerEvent.CREATED) -> LedgerEntry:
    return LedgerEntry(time=datetime.now(UTC), event=event, id=f"i-{number}", key=f"k-{number}")


async def test_the_ledger_is_read_again_and_a_torn_line_dropped(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, durable=True)
    await ledger.append(entry(1))
    await ledger.append(entry(1, LedgerEvent.DELETED))
    await ledger.close()
    with path.open("a") as file:
        file.write('{"time": "2026')
    again = Ledger(path, durable=True)
    assert (again.created, again.ended, len(again.entries)) == ({"i-1"}, {"i-1"}, 2)
    await again.append(entry(2))
    await again.close()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["i-1", "i-1", "i-2"]


async def test_entries_that_come_together_are_all_on_the_disk(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l", durable=True)
    await asyncio.gather(*(ledger.append(entry(n)) for n in range(100)))
    assert len((tmp_path / "l").read_text().splitlines()) == 100
    await ledger.close()


def test_a_damaged_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("what?\n")
    with pytest.raises(LedgerError, match="line 1"):
        Ledger(tmp_path / "l", durable=True)


def test_a_directory_is_held_by_one(tmp_path: Path) -> None:
    first = Home(tmp_path / "d")
    with pytest.raises(ConfigError, match="in use"):
        Home(tmp_path / "d")
    account, block = first.account, first.block
    first.close()
    second = Home(tmp_path / "d")
    assert (second.account, second.block) == (account, block)
    second.close()


def test_no_two_hostds_have_a_block_of_addresses_in_common(tmp_path: Path) -> None:
    homes = [Home(tmp_path / str(n)) for n in range(20)]
    addresses = [home.address(n) for home in homes for n in range(600)]
    assert len(set(addresses)) == len(addresses)
    for home in homes:
        home.close()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"id": 1}'])
def test_a_damaged_account_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "account.json").write_text(content)
    with pytest.raises(ConfigError, match="damaged"):
        Home(tmp_path)


def test_a_claim_is_given_once_and_one_without_a_record_is_taken_away(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert store.claim("i-1")
    assert not store.claim("i-1")
    assert store.load() == []
    assert store.claim("i-1")
    write_atomic(store.directory("i-1") / "server.json", b"{")
    with pytest.raises(ConfigError, match="damaged"):
        store.load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--price-factor", "0"], "--price-factor"),
        (["--price-factor", "x"], "--price-factor"),
        (["--boot-time", "-1"], "--boot-time"),
        (["--images", ","], "--images"),
        (["--certificate", "x"], "belong together"),
        (["--token-file", "/no/such/file"], "cannot read the token"),
        (["--offerings", "/no/such/file"], "cannot read"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _config(_arguments().parse_args(["--data", "x", *options]))


async def test_a_port_that_is_taken_is_told_with_the_option_for_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = Config(data=tmp_path / "d", port=port, simulate=SimulateConfig())
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken: choose another with --port"):
            await run(config)


def test_offerings_come_from_a_file_with_quantities(tmp_path: Path) -> None:
    path = tmp_path / "offerings.yaml"
    path.write_text('- {name: tiny, cpu: 500m, memory: 512Mi, pricePerHour: "0.01"}\n')
    config = Config(data=tmp_path, offerings=load_offerings(path), price_factor=Decimal("1.5"))
    (offering,) = config.priced_offerings()
    assert (offering.cpu, offering.memory) == (Decimal("0.5"), 512 * 1024**2)
    assert offering.price_per_hour == Decimal("0.015")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not YAML"),
        ("[]", "must be a list"),
        ("- {name: a}", r"\[0\]"),
        ("- {name: a, cpu: x, memory: 1, pricePerHour: '1'}", r"\[0\].cpu"),
        ("- &a {name: a, cpu: 1, memory: 1, pricePerHour: '1'}\n- *a", "one name"),
    ],
)
def test_offerings_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "o").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_offerings(tmp_path / "o")


async def test_counted_errors_skip_and_end(tmp_path: Path) -> None:
    state = FaultState()
    state.set(
        Faults.model_validate({"nextErrors": [{"kind": "Garbage", "count": 2, "skip": 1, "operations": ["list"]}]})
    )
    assert await state.before(Operation.GET) is None
    answers = [await state.before(Operation.LIST) for _ in range(4)]
    assert answers == [None, Mischief.GARBAGE, Mischief.GARBAGE, None]
    assert state.now.next_errors == ()


async def test_a_share_of_calls_fails() -> None:
    state = FaultState(seed=1)
    state.set(Faults(error_rate=0.5))
    failed = 0
    for _ in range(200):
        try:
            await state.before(Operation.GET)
        except Refusal:
            failed += 1
    assert 60 < failed < 140


async def test_errors_after_the_work_are_left_alone_before_it() -> None:
    state = FaultState()
    state.now = Faults(next_errors=(NextErrors(kind=FaultKind.CUT, after=True), NextErrors(kind=FaultKind.HANG)))
    assert await state.before(Operation.CREATE) is Mischief.HANG
    assert await state.before(Operation.CREATE) is None
    assert [state.after(Operation.CREATE) for _ in range(2)] == [Mischief.CUT, None]


def test_answers_are_lost_only_of_calls_that_change_something() -> None:
    state = FaultState()
    state.now = Faults(lose_answers=2)
    assert not state.loses_answer(Operation.GET)
    lost = [state.loses_answer(Operation.CREATE) for _ in range(3)]
    assert lost == [True, True, False]
