"""What is made of Incus's answers: records, inventories, accounts, events; and how a backend is opened."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.unit.hosting.incus.fake import (
    OPERATION,
    REQUEST,
    SETTINGS,
    UUID,
    Fake,
    done,
    instance,
    ok,
    opened,
    refused,
    started,
)

from moorage.hosting.contract import RELEASED, TAG_SERVER, ServerState
from moorage.hosting.errors import AuthenticationError, Invalid, NotFound, Unavailable
from moorage.hosting.http import Answer
from moorage.hosting.incus import records
from moorage.hosting.incus.answers import failure
from moorage.hosting.incus.opening import open_backend
from moorage.testing.certificates import loopback_tls
from moorage.testing.service import Spec

ID = f"{REQUEST.key}/{UUID}"
ONE = f"GET instances/{REQUEST.key}"
WAIT = f"GET {OPERATION.removeprefix('/1.0/')}/wait"
SERVER = {"auth": "trusted", "environment": {"certificate_fingerprint": "ab" * 32}}
WHO = {"GET ": ok(SERVER), "GET projects/shop": ok({"name": "shop", "config": {}})}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Running", ServerState.RUNNING),
        ("Ready", ServerState.RUNNING),
        ("Starting", ServerState.PENDING),
        ("Stopped", ServerState.STOPPED),
        ("Frozen", ServerState.STOPPED),
        ("Error", ServerState.UNKNOWN),
        ("Something new", ServerState.UNKNOWN),
    ],
)
def test_states(status: str, state: ServerState) -> None:
    assert records.record(instance(status=status), SETTINGS).state is state


def test_a_record_has_the_identity_and_foreign_tags_and_none_of_the_backends_own() -> None:
    found = records.record(instance(config={"user.theirs": "x", TAG: RELEASED, "image.os": "debian"}), SETTINGS)
    assert found.provider_id == ID
    assert found.key == REQUEST.key
    assert found.tags == {**REQUEST.tags, TAG_SERVER: RELEASED, "theirs": "x"}
    assert (found.name, found.offering, found.zone) == ("web-0", "small", None)


TAG = f"user.{TAG_SERVER}"


def test_a_foreign_instance_has_no_key_even_with_a_name_like_ours() -> None:
    config = {"volatile.uuid": UUID, "user.moorage-key": REQUEST.key}
    found = records.record(
        {**instance(), "config": config, "status": "Stopped", "last_used_at": "1970-01-01T00:00:00Z"}, SETTINGS
    )
    assert (found.key, found.state, found.offering) == (None, ServerState.STOPPED, None)


def test_addresses_are_those_of_the_guests_cards_version_four_first() -> None:
    entries = [("inet6", "2a01:4f8::7", "global"), ("inet6", "fe80::1", "link"), ("inet", "10.0.0.7", "global")]
    cards = {
        "eth0": {"addresses": [{"family": f, "address": a, "scope": s} for f, a, s in entries]},
        "lo": {"addresses": [{"family": "inet", "address": "127.0.0.1", "scope": "global"}]},
    }
    found = records.record(instance(state={"network": cards}), SETTINGS)
    assert [(a.type.value, a.address) for a in found.addresses] == [
        ("Internal", "10.0.0.7"),
        ("External", "2a01:4f8::7"),
    ]
    assert records.record(instance(state={"network": None}), SETTINGS).addresses == ()


@pytest.mark.parametrize(
    ("limits", "offering"),
    [
        ({"limits.memory": "1073741824B"}, "small"),
        ({"limits.memory": "1073741824"}, "small"),
        ({"limits.cpu": "4", "limits.memory": "8192MiB"}, "large"),
        ({"limits.memory": "2GB"}, "cpu=1,memory=2GB"),
        ({"limits.memory": "50%"}, "cpu=1,memory=50%"),
        ({"limits.cpu": "0-3"}, "cpu=0-3,memory=1GiB"),
        ({"user.moorage-offering": "sold-no-more", "limits.cpu": "3"}, "sold-no-more"),
    ],
)
def test_the_offering_is_told_by_the_limits(limits: dict[str, str], offering: str) -> None:
    assert records.record(instance(config=limits), SETTINGS).offering == offering


@pytest.mark.parametrize("broken", [{"config": None}, {"status": None, "created_at": 7}, {"last_used_at": "yesterday"}])
def test_an_instance_that_makes_no_sense_is_no_answer(broken: dict[str, Any]) -> None:
    with pytest.raises(Unavailable):
        records.record({**instance(), **broken}, SETTINGS)


async def test_an_inventory_asks_again_for_what_incus_could_not_look_at() -> None:
    bare = {"name": REQUEST.key, "status": "Error", "config": None}
    fake = Fake({"GET instances": ok([bare]), ONE: ok(instance()), **WHO})
    assert [server.provider_id for server in (await opened(fake).inventory()).servers] == [ID]
    gone = Fake({"GET instances": ok([bare]), ONE: refused(404, "Instance not found"), **WHO})
    assert (await opened(gone).inventory()).servers == ()
    hidden = Fake({"GET instances": ok([bare]), ONE: ok({"name": REQUEST.key, "status": "Error"}), **WHO})
    with pytest.raises(Unavailable):
        await opened(hidden).inventory()
    away = Fake({"GET instances": ok([{**bare, "name": f"n{i}"} for i in range(21)]), **WHO})
    with pytest.raises(Unavailable, match="is a member of it away"):
        await opened(away).inventory()


async def test_the_empty_list_of_a_project_that_is_gone_is_no_inventory() -> None:
    fake = Fake({"GET instances": ok([]), "GET ": ok(SERVER), "GET projects/shop": refused(404, "Project not found")})
    with pytest.raises(Invalid) as caught:
        await opened(fake).inventory()
    assert caught.value.field == "project"


async def test_an_instance_that_is_listed_twice_is_no_inventory() -> None:
    with pytest.raises(Unavailable, match="twice"):
        await opened(Fake({"GET instances": ok([instance(), instance()]), **WHO})).inventory()


async def test_not_found_is_believed_only_where_the_project_is_there() -> None:
    gone = refused(404, "Instance not found")
    with pytest.raises(NotFound):
        await opened(Fake({ONE: gone, **WHO})).get(ID)
    with pytest.raises(Invalid):
        await opened(Fake({ONE: gone, "GET projects/shop": refused(404, "Project not found")})).get(ID)


async def test_another_instance_of_the_same_name_is_another_server() -> None:
    fake = Fake({ONE: ok(instance(config={"volatile.uuid": "another"}))})
    with pytest.raises(NotFound):
        await opened(fake).get(ID)
    await opened(fake).delete(ID)
    assert set(fake.named) == {ONE}


async def test_a_state_that_cannot_be_read_does_not_hide_the_server() -> None:
    fake = Fake({ONE: [refused(500, "Invalid PID '-1'"), ok(instance())]})
    assert (await opened(fake).get(ID)).provider_id == ID
    assert [call[1] for call in fake.calls] == [{"project": "shop", "recursion": "1"}, {"project": "shop"}]


async def test_the_account_is_certificate_and_project_or_what_the_project_says() -> None:
    assert await opened(Fake(WHO)).account() == f"{'ab' * 32}/shop"
    named = ok({"name": "shop", "config": {"user.moorage-account": "rack-1"}})
    assert await opened(Fake({**WHO, "GET projects/shop": named})).account() == "rack-1/shop"


async def test_an_untrusted_certificate_and_another_service_are_told_apart() -> None:
    untrusted = {"GET ": ok({"auth": "untrusted"}), "GET projects/shop": refused(403, "not authorized")}
    with pytest.raises(AuthenticationError, match="does not trust"):
        await opened(Fake(untrusted)).account()
    now = dt.datetime.now(dt.UTC)
    with pytest.raises(AuthenticationError, match="does not trust"):
        await opened(Fake(untrusted), expires=now + dt.timedelta(days=1)).account()
    day = now - dt.timedelta(days=2)
    with pytest.raises(AuthenticationError, match=f"has expired on {day:%Y-%m-%d}: make another one"):
        await opened(Fake(untrusted), expires=day).account()
    with pytest.raises(Unavailable):
        await opened(Fake({**WHO, "GET ": ok({"hello": "world"})})).account()


@pytest.mark.parametrize(
    ("limits", "limit"),
    [((-1, -1, -1), None), ((10, -1, -1), 10), ((10, 3, -1), 4), ((2, -1, -1), 3), ((-1, -1, 0), 3)],
)
async def test_capacity_is_the_narrowest_limit_of_the_project(limits: tuple[int, int, int], limit: int | None) -> None:
    used = dict(zip(("instances", "containers", "virtual-machines"), (3, 2, 0), strict=True))
    counts = {kind: {"Limit": n, "Usage": used[kind]} for kind, n in zip(used, limits, strict=True)}
    found = await opened(Fake({"GET projects/shop/state": ok({"resources": counts})})).capacity()
    assert (found.limit, found.used) == (limit, 3)


async def test_tags_are_changed_on_the_instance_that_was_looked_at_and_again_where_it_changed_meanwhile() -> None:
    patch = f"PATCH instances/{REQUEST.key}"
    after = ok(instance(config={TAG: RELEASED}), "two")
    seen = ok(instance(), "one")
    fake = Fake({ONE: [seen, seen, seen, seen, after], patch: [refused(412, "ETag doesn't match"), ok({})]})
    await opened(fake).retag(ID, {TAG_SERVER: RELEASED})
    sent = [call for call in fake.calls if call[0] == patch]
    assert [(call[2], call[3]) for call in sent] == [({"config": {TAG: RELEASED}}, "one")] * 2
    with pytest.raises(Unavailable, match="did not confirm"):
        await opened(Fake({ONE: seen, patch: ok({})})).retag(ID, {TAG_SERVER: RELEASED})


async def test_a_resize_changes_limits_and_leaves_a_server_that_has_them() -> None:
    patch = f"PATCH instances/{REQUEST.key}"
    fake = Fake({ONE: ok(instance(), "one"), patch: ok({})})
    await opened(fake).resize(ID, "small")
    assert patch not in fake.named
    await opened(fake).resize(ID, "large")
    wanted = {"limits.cpu": "4", "limits.memory": "8589934592B", "user.moorage-offering": "large"}
    assert fake.body(patch) == {"config": wanted}
    with pytest.raises(Invalid) as caught:
        await opened(fake).resize(ID, "huge")
    assert caught.value.field == "offering"


async def test_a_protected_instance_is_neither_stopped_nor_deleted() -> None:
    fake = Fake({ONE: ok(instance(expanded_config={"security.protection.delete": "true"}))})
    with pytest.raises(Invalid, match="protected"):
        await opened(fake).delete(ID)
    assert fake.named == [ONE]


async def test_a_frozen_server_is_thawed_and_a_failed_one_that_starts_has_failed_no_more() -> None:
    state, patch = f"PUT instances/{REQUEST.key}/state", f"PATCH instances/{REQUEST.key}"
    frozen = Fake({ONE: ok(instance(status="Frozen")), state: started(), WAIT: done()})
    await opened(frozen).start(ID)
    assert frozen.body(state) == {"action": "unfreeze"}
    failed = ok(instance(status="Stopped", config={"user.moorage-failed": "why"}), "one")
    again = Fake({ONE: failed, state: started(), WAIT: done(), patch: ok({})})
    await opened(again).start(ID)
    assert again.body(patch) == {"config": {"user.moorage-failed": ""}}


async def test_events_name_instances_whose_ids_are_looked_up_once() -> None:
    def event(action: str, name: str) -> str:
        return json.dumps({"type": "lifecycle", "metadata": {"action": action, "name": name}})

    told = [event("instance-created", REQUEST.key), event("image-created", "x"), event("instance-deleted", REQUEST.key)]
    fake = Fake({ONE: ok(instance())}, ["", *told])
    assert [found async for found in opened(fake).events()] == ["", ID, ID]
    assert fake.named == [ONE]
    unknown = Fake({ONE: refused(404, "not found"), **WHO}, ["", event("instance-deleted", REQUEST.key)])
    assert [found async for found in opened(unknown).events()] == ["", ""]
    with pytest.raises(Unavailable):
        _ = [found async for found in opened(Fake({}, ["", "[]"])).events()]


def pair(*, ca: bool = False) -> tuple[bytes, bytes]:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "incus")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(pem), private


def test_opening_checks_what_it_can_without_asking() -> None:
    certificate, key = pair()
    good = {"tls.crt": certificate, "tls.key": key, "server.crt": pair()[0]}
    spec = Spec("https://incus.example.org:8443", settings={})
    assert open_backend(spec, good).capabilities.idempotent_create
    for broken, error in [
        ({**good, "server.crt": b"no certificate"}, "server.crt"),
        ({**good, "server.crt": pair(ca=True)[0]}, "caBundle"),
        ({"tls.crt": certificate}, "tls.key"),
        ({**good, "tls.key": pair()[1]}, "pair"),
    ]:
        with pytest.raises(AuthenticationError, match=error):
            open_backend(spec, broken)
    for other, field in [
        (Spec("http://incus.example.org"), "endpoint"),
        (Spec("https://incus.example.org", region="north"), "region"),
        (Spec("https://incus.example.org", project="a/b"), "project"),
        (Spec("https://incus.example.org", settings={"caBundle": "x"}), "settings.caBundle"),
        (Spec("https://incus.example.org", settings={"sizes": [{"name": "s"}]}), "settings.sizes.0.cpu"),
    ]:
        with pytest.raises(Invalid) as caught:
            open_backend(other, good)
        assert caught.value.field == field


def test_an_authority_in_the_settings_stands_above_the_pinned_certificate() -> None:
    certificate, key = pair()
    spec = Spec("https://127.0.0.1:8443", settings={"caBundle": loopback_tls()[1]})
    backend = open_backend(spec, {"tls.crt": certificate, "tls.key": key, "server.crt": b"not looked at"})
    assert backend.capabilities.create_timeout == 120.0


async def test_an_answer_that_is_nested_without_end_makes_no_sense() -> None:
    deep = Answer(200, None, "", b'{"type":"sync","metadata":' + b"[" * 200_000)
    with pytest.raises(Unavailable, match="makes no sense"):
        await opened(Fake({"GET ": deep})).account()


def test_an_instance_that_is_busy_is_asked_again_later() -> None:
    text = 'Failed to create instance delete operation: Instance is busy running a "start" operation'
    assert isinstance(failure({"error": text, "error_code": 400}, "delete"), Unavailable)
