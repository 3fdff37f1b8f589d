"""The contract's values: identity keys, canonical requests, errors, the registry."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.hosting.contract import Capacity, CreateRequest, Inventory, ServerRecord, ServerState, identity_key
from moorage.hosting.errors import Invalid, NotFound, TimedOut, clean
from moorage.hosting.factory import capabilities, parse_settings
from moorage.hosting.local import FACTORY
from moorage.hosting.local.settings import LocalSettings
from moorage.hosting.registry import backend, load

REQUEST = CreateRequest(
    key="m-abc",
    name="web-0",
    image="process/python",
    offering="small",
    user_data="#!/bin/sh\n# ü\n",
    tags={"b": "2", "a": "1"},
    settings={"z": [1, {"y": None}], "a": True},
)


def test_an_identity_key_is_fixed_for_ever() -> None:
    assert identity_key("inst", "6ba7b810-9dad-11d1-80b4-00c04fd430c8") == "m-yi2bzxir7er5dabtwzkwr23rdt"


@given(st.text(), st.text())
def test_an_identity_key_fits_every_service(installation: str, uid: str) -> None:
    key = identity_key(installation, uid)
    assert len(key) == 28
    assert key.startswith("m-")
    assert set(key[2:]) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_a_request_has_one_spelling() -> None:
    other = CreateRequest(**{**_fields(REQUEST), "tags": {"a": "1", "b": "2"}})
    assert REQUEST.to_bytes() == other.to_bytes()
    assert CreateRequest.from_bytes(REQUEST.to_bytes()) == REQUEST
    assert CreateRequest.from_bytes(REQUEST.to_bytes()).to_bytes() == REQUEST.to_bytes()
    assert b" " not in REQUEST.to_bytes().replace(b"#!/bin/sh\\n# ", b"")


def _fields(request: CreateRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in CreateRequest.__slots__}


def test_a_request_shows_nothing_that_may_be_secret() -> None:
    secret = CreateRequest(**{**_fields(REQUEST), "user_data": "tok-1", "settings": {"environment": {"A": "tok-2"}}})
    assert "tok-" not in repr(secret)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"key": None}, "key"),
        ({"userData": 7}, "userData"),
        ({"tags": {"a": 1}}, "tags"),
        ({"tags": []}, "tags"),
        ({"settings": "x"}, "settings"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_request_is_refused_by_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        CreateRequest.from_json({**REQUEST.to_json(), **change})
    assert caught.value.field == field


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"null"])
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        CreateRequest.from_bytes(data)


def test_what_json_cannot_say_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        CreateRequest(**{**_fields(REQUEST), "settings": {"x": float("nan")}}).to_bytes()


def test_an_error_is_one_bounded_printable_line() -> None:
    error = NotFound("a\x1b[31m\nb\r\n" + "x" * 10_000)
    assert str(error).startswith("a [31m b xxx")
    assert len(str(error)) == 512
    assert str(TimedOut("")) == "TimedOut"


@given(st.text(max_size=3000))
def test_a_cleaned_text_is_printable(text: str) -> None:
    assert all(c.isprintable() for c in clean(text))
    assert len(clean(text)) <= 512


def test_capacity_is_never_negative() -> None:
    assert Capacity(limit=3, used=5).available == 0
    assert Capacity(limit=None, used=5).available is None


def test_an_inventory_finds_doubles() -> None:
    servers = tuple(ServerRecord(f"i-{n}", "k" if n else None, {}, ServerState.RUNNING) for n in range(3))
    assert [s.provider_id for s in Inventory("a", servers).with_key("k")] == ["i-1", "i-2"]


def test_a_built_in_type_is_loaded_when_it_is_asked_for() -> None:
    assert backend("local") is FACTORY
    with pytest.raises(Invalid, match=r"install the package that brings it .* there are: .*local") as caught:
        backend("nocloud")
    assert caught.value.field == "type"


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moorage.hosting.local", None)
    found = load({"local": "moorage"}, [])
    with pytest.raises(Invalid, match=r"pip install 'moorage\[local\]'"):
        found.get("local")
    assert found.source("local").problem


def test_a_broken_package_costs_its_own_type_only() -> None:
    group = "moorage.backends"
    found = load(
        {"local": "aiohttp"},
        [
            EntryPoint("broken", "no.such.module:X", group),
            EntryPoint("odd", "json:dumps", group),
            EntryPoint("local", "json:dumps", group),
            EntryPoint("mislabelled", "moorage.hosting.local:FACTORY", group),
        ],
    )
    assert found.names == ("broken", "local", "mislabelled", "odd")
    assert found.get("local") is FACTORY
    for name in ("broken", "odd", "mislabelled"):
        with pytest.raises(Invalid, match="failed to load"):
            found.get(name)
        assert "failed to load" in found.source(name).problem
    assert not found.source("local").problem


def test_an_extra_that_nobody_installed_is_no_warning_and_what_is_broken_is_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # No module of the type `nowhere` is there: for the first that is the extra, for the second something else.
    for package, told in (("moorage", []), ("aiohttp", ["WARNING"])):
        caplog.clear()
        assert load({"nowhere": package}, []).source("nowhere").problem
        assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == told


@pytest.mark.parametrize(("values", "longest"), [({}, 70.0), ({"requestTimeout": "300s"}, 360.0)])
def test_no_call_may_take_longer_than_the_longest_of_its_settings_and_a_request(
    values: dict[str, Any], longest: float
) -> None:
    found = capabilities(parse_settings(LocalSettings, values), idempotent_create=True, listing_lag=0.0)
    assert (found.create_timeout, found.inventory_timeout, found.call_timeout) == (30.0, 60.0, longest)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"requestTimeout": "0s"}, "settings.requestTimeout"),
        ({"requestTimeout": "soon"}, "settings.requestTimeout"),
        ({"pageSize": 0}, "settings.pageSize"),
        ({"token": "canary"}, "settings.token"),
    ],
)
def test_settings_are_checked_without_showing_them(values: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        FACTORY.validate_settings(values)
    assert caught.value.field == field
    assert "canary" not in str(caught.value)


def test_server_settings_are_checked_without_showing_them() -> None:
    FACTORY.validate_server_settings({"environment": {"A": "b"}, "bootDelay": "1s"})
    with pytest.raises(Invalid) as caught:
        FACTORY.validate_server_settings({"environment": {"A": {"secret": "canary"}}})
    assert caught.value.field == "settings.environment.A"
    assert "canary" not in str(caught.value)
