"""Backends with a bug each: the suite finds every one of them, and has nothing against the backend without it."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.services.local import TOKEN, LocalService

from moorage.hosting.contract import Backend, CreateRequest, Inventory, ServerRecord, ServerState
from moorage.hosting.errors import CapacityError, HostingError, Invalid, NotFound, Retryable, Throttled, Unavailable
from moorage.hosting.http import Http
from moorage.hosting.local import backend as local
from moorage.hosting.local import extras
from moorage.hosting.local.backend import LocalBackend
from moorage.testing import BackendContract
from moorage.testing.operations import Scene
from moorage.testing.proxy import Fault, FaultProxy

PEM = b"-----BEGIN PRIVATE KEY-----\n" + b"M" * 64 + b"\n-----END PRIVATE KEY-----\n"
Setup = Callable[[pytest.MonkeyPatch], None]
Try = Callable[[BackendContract, "Bench"], Awaitable[None]]


class Bench:
    """What the suite's fixtures would give."""

    def __init__(self, service: LocalService, proxy: FaultProxy, caplog: pytest.LogCaptureFixture) -> None:
        self.service = service
        self.proxy = proxy
        self.caplog = caplog

    @property
    def backend(self) -> Backend:
        """A backend on the service."""
        return self.service.open()

    async def stage(self) -> Scene:
        """See `LiesContract.stage`."""
        made = [(await self.service.open().create(self.service.request())).provider_id for _ in range(2)]
        request = self.service.request()
        return Scene(self.service, made[0], made[1], request, request.key)


def replaced(name: str, method: Callable[..., Any]) -> Setup:
    """The backend with another method."""

    def setup(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(LocalBackend, name, method)

    setup.__name__ = method.__name__
    return setup


account, inventory, create, delete, get, retag, get_many, resize, attach_volume = (
    getattr(LocalBackend, name)
    for name in ("account", "inventory", "create", "delete", "get", "retag", "get_many", "resize", "attach_volume")
)


async def believes_a_partial_list(self: LocalBackend) -> Inventory:
    try:
        return await inventory(self)  # type: ignore[no-any-return]
    except Retryable:
        return Inventory(account="", servers=())


async def leaves_out_what_failed(self: LocalBackend) -> Inventory:
    found = await inventory(self)
    return Inventory(found.account, tuple(s for s in found.servers if s.state is not ServerState.FAILED))


async def leaves_out_what_is_foreign(self: LocalBackend) -> Inventory:
    found = await inventory(self)
    return Inventory(found.account, tuple(s for s in found.servers if s.tags))


async def sends_again_by_itself(self: LocalBackend, request: CreateRequest) -> ServerRecord:
    try:
        return await create(self, request)  # type: ignore[no-any-return]
    except Unavailable:
        return await create(self, request)  # type: ignore[no-any-return]


async def tags_in_a_second_call(self: LocalBackend, request: CreateRequest) -> ServerRecord:
    bare = CreateRequest(**{**{f: getattr(request, f) for f in request.__slots__}, "tags": {}})
    made = await create(self, bare)
    await retag(self, made.provider_id, request.tags)
    return await get(self, made.provider_id)  # type: ignore[no-any-return]


async def forgets_the_key(self: LocalBackend, provider_id: str) -> ServerRecord:
    found = await get(self, provider_id)
    return ServerRecord(provider_id, None, found.tags, found.state)


async def takes_a_bare_404_for_gone(self: LocalBackend, provider_id: str) -> ServerRecord:
    try:
        return await get(self, provider_id)  # type: ignore[no-any-return]
    except Unavailable as error:
        if "404" in error.message:
            raise NotFound("gone") from None
        raise


async def minds_what_is_gone(self: LocalBackend, provider_id: str) -> None:
    await get(self, provider_id)
    await delete(self, provider_id)


async def calls_a_full_service_unavailable(self: LocalBackend, request: CreateRequest) -> ServerRecord:
    try:
        return await create(self, request)  # type: ignore[no-any-return]
    except CapacityError as error:
        raise Unavailable(error.message) from None


async def forgets_the_time_to_wait(self: LocalBackend, request: CreateRequest) -> ServerRecord:
    try:
        return await create(self, request)  # type: ignore[no-any-return]
    except Throttled as error:
        raise Throttled(error.message) from None


async def does_not_let_itself_be_cancelled(self: LocalBackend) -> Inventory:
    while True:
        with suppress(asyncio.CancelledError, HostingError):
            return await inventory(self)  # type: ignore[no-any-return]


async def lets_another_exception_out(self: LocalBackend) -> Inventory:
    try:
        return await inventory(self)  # type: ignore[no-any-return]
    except HostingError as error:
        raise ConnectionError(error.message) from None


async def shows_no_console(self: LocalBackend, provider_id: str) -> str | None:
    await get(self, provider_id)
    return None


async def resizes_again_by_itself(self: LocalBackend, provider_id: str, offering: str) -> None:
    try:
        await resize(self, provider_id, offering)
    except Unavailable:
        await resize(self, provider_id, offering)


async def minds_that_it_hangs_there(self: LocalBackend, volume_id: str, provider_id: str) -> None:
    if any(volume.volume_id == volume_id and volume.attached_to for volume in await self.volumes()):
        raise Invalid("it is attached", field="volume")
    await attach_volume(self, volume_id, provider_id)


async def listens_and_hears_nothing(self: LocalBackend) -> AsyncIterator[str]:
    yield ""
    await asyncio.Event().wait()


async def replaces_all_tags(self: LocalBackend, provider_id: str, tags: Mapping[str, str]) -> None:
    old = (await get(self, provider_id)).tags
    await retag(self, provider_id, {**dict.fromkeys(old, ""), **tags})


async def stumbles_over_one_that_is_gone(
    self: LocalBackend, provider_ids: Sequence[str]
) -> Mapping[str, ServerRecord | None]:
    found = await get_many(self, provider_ids)
    if None in found.values():
        raise NotFound("one of them is gone")
    return found  # type: ignore[no-any-return]


async def logs_what_it_sends(self: LocalBackend, request: CreateRequest) -> ServerRecord:
    logging.getLogger("moorage.hosting.local").debug("creating: %s", request.to_json())
    return await create(self, request)  # type: ignore[no-any-return]


async def says_what_was_refused(self: LocalBackend, request: CreateRequest) -> ServerRecord:
    try:
        return await create(self, request)  # type: ignore[no-any-return]
    except Invalid as error:
        raise Invalid(f"{error.message}: {b64encode(request.user_data.encode()).decode()}", field=error.field) from None


async def logs_its_credentials(self: LocalBackend) -> str:
    logging.getLogger("moorage.hosting.local").debug("asking as %s", TOKEN)
    return await account(self)  # type: ignore[no-any-return]


async def keeps_keys_in_memory(self: LocalBackend, request: CreateRequest) -> ServerRecord:
    known: dict[str, ServerRecord] = self.__dict__.setdefault("_known", {})
    if request.key not in known:
        # A key that only this process knows stands for the one it was asked for.
        other = CreateRequest(**{**{f: getattr(request, f) for f in request.__slots__}, "key": f"x-{id(self)}"})
        known[request.key] = await create(self, other)
    return known[request.key]


def never_gives_up(patch: pytest.MonkeyPatch) -> None:
    """Time-outs are for others."""
    call = Http.call

    async def patient(self: Http, *arguments: Any, **options: Any) -> Any:
        return await call(self, *arguments, **{**options, "seconds_allowed": 3600.0})

    patch.setattr(Http, "call", patient)


def gives_up_far_too_late(patch: pytest.MonkeyPatch) -> None:
    """Time-outs are for the service to be generous with."""
    call = Http.call

    async def slack(self: Http, *arguments: Any, **options: Any) -> Any:
        return await call(self, *arguments, **{**options, "seconds_allowed": 100 * options["seconds_allowed"]})

    patch.setattr(Http, "call", slack)


def takes_silence_for_peace(patch: pytest.MonkeyPatch) -> None:
    """No news is good news."""
    lines = Http.lines

    def patient(self: Http, *arguments: Any, **options: Any) -> AsyncIterator[bytes]:
        return lines(self, *arguments, **{**options, "silence": 3600.0})

    patch.setattr(Http, "lines", patient)


def would_listen_for_ever(patch: pytest.MonkeyPatch) -> None:
    """As the backend is shipped."""
    patch.setattr(extras, "SILENCE", 10.0**6)


def logs_its_key(patch: pytest.MonkeyPatch) -> None:
    """Bytes, as Python shows them."""
    headers = local._headers

    def talkative(credentials: Mapping[str, bytes]) -> dict[str, str]:
        logging.getLogger("moorage.hosting.local").debug("opened with %r", credentials.get("tls.key"))
        return headers(credentials)

    patch.setattr(local, "_headers", talkative)


def reads_to_the_end(patch: pytest.MonkeyPatch) -> None:
    """More than anybody has memory for."""
    call = Http.call

    async def greedy(self: Http, *arguments: Any, **options: Any) -> Any:
        return await call(self, *arguments, **{**options, "limit": 128 * 1024 * 1024})

    patch.setattr(Http, "call", greedy)


def broken(operation: str, fault: Fault) -> Try:
    """The test that breaks single calls."""

    async def one_call(suite: BackendContract, bench: Bench) -> None:
        await suite.test_a_broken_call_is_mended_by_repeating(bench.service, bench.proxy, operation, fault)

    return one_call


async def the_endless_answer(suite: BackendContract, bench: Bench) -> None:
    await suite.test_an_endless_answer_is_not_read_to_its_end(bench.service, bench.proxy, await bench.stage())


async def no_answer(suite: BackendContract, bench: Bench) -> None:
    await suite.test_a_service_that_never_answers_is_given_up(
        bench.service, bench.proxy, await bench.stage(), Fault.HANG
    )


async def no_answer_for_long(suite: BackendContract, bench: Bench) -> None:
    bench.service.patience, bench.service.hasty = 60.0, 0.1
    await no_answer(suite, bench)


async def the_silence(suite: BackendContract, bench: Bench) -> None:
    bench.service.hasty = 0.1
    await suite.test_events_that_fall_silent_are_given_up(bench.service, bench.proxy)


async def the_bare_429(suite: BackendContract, bench: Bench) -> None:
    await suite.test_a_bare_429_is_throttling(bench.service, bench.proxy, await bench.stage())


async def a_wrong_answer(suite: BackendContract, bench: Bench) -> None:
    await suite.test_a_wrong_answer_is_no_answer(bench.service, bench.proxy, await bench.stage(), Fault.ERROR)


async def the_bare_404(suite: BackendContract, bench: Bench) -> None:
    await suite.test_only_the_services_own_word_is_not_found(bench.service, bench.proxy, await bench.stage())


async def the_console(suite: BackendContract, bench: Bench) -> None:
    bench.service.console_says = "agent"
    await suite.test_the_console_is_shown_until_the_server_is_gone(bench.service, bench.backend)


async def secrets(suite: BackendContract, bench: Bench) -> None:
    bench.service.credentials = {**bench.service.credentials, "tls.key": PEM}
    await suite.test_nothing_secret_is_logged_or_raised(bench.service, bench.proxy, await bench.stage(), bench.caplog)


async def some_time(suite: BackendContract, bench: Bench) -> None:
    await suite.test_a_call_cancelled_after_some_time_leaves_everything_usable(bench.service, "inventory")


async def secrets_of_a_life(suite: BackendContract, bench: Bench) -> None:
    await suite.test_no_secret_is_told_from_creation_to_deletion(bench.service, bench.backend, bench.caplog)


async def secrets_of_refusals(suite: BackendContract, bench: Bench) -> None:
    await suite.test_no_secret_is_told_by_a_refusal(bench.service, bench.backend, bench.caplog)


BUGS: tuple[tuple[Setup, Try], ...] = (
    (replaced("inventory", believes_a_partial_list), broken("inventory", Fault.ERROR)),
    (replaced("inventory", believes_a_partial_list), a_wrong_answer),
    (
        replaced("inventory", leaves_out_what_failed),
        lambda suite, bench: suite.test_a_server_that_fails_to_boot_says_so_and_is_listed(bench.service),
    ),
    (
        replaced("inventory", leaves_out_what_is_foreign),
        lambda suite, bench: suite.test_servers_of_others_are_listed_and_left_alone(bench.service, bench.backend),
    ),
    (replaced("create", sends_again_by_itself), broken("create", Fault.DROP)),
    (replaced("create", tags_in_a_second_call), broken("create", Fault.CUT)),
    (
        replaced("create", keeps_keys_in_memory),
        lambda suite, bench: suite.test_a_repeated_creation_gives_the_same_server(bench.service, bench.backend),
    ),
    (
        replaced("get", forgets_the_key),
        lambda suite, bench: suite.test_the_identity_is_on_the_server_at_once(bench.service, bench.backend),
    ),
    (replaced("get", takes_a_bare_404_for_gone), the_bare_404),
    (
        replaced("delete", minds_what_is_gone),
        lambda suite, bench: suite.test_deleting_what_is_gone_is_harmless(bench.service, bench.backend),
    ),
    (
        replaced("create", calls_a_full_service_unavailable),
        lambda suite, bench: suite.test_a_full_service_says_so_and_creates_nothing(bench.service),
    ),
    (
        replaced("create", forgets_the_time_to_wait),
        lambda suite, bench: suite.test_throttling_is_told_with_the_time_to_wait(bench.service, 7.0),
    ),
    (
        replaced("inventory", does_not_let_itself_be_cancelled),
        lambda suite, bench: suite.test_a_cancelled_call_leaves_everything_usable(
            bench.service, bench.proxy, "inventory", False
        ),
    ),
    (replaced("inventory", lets_another_exception_out), broken("inventory", Fault.GATEWAY)),
    (
        replaced("retag", replaces_all_tags),
        lambda suite, bench: suite.test_retag_sets_some_tags_and_leaves_the_others(bench.service, bench.backend),
    ),
    (
        replaced("get_many", stumbles_over_one_that_is_gone),
        lambda suite, bench: suite.test_many_are_read_at_once_also_where_one_is_gone(bench.service, bench.backend),
    ),
    (replaced("resize", resizes_again_by_itself), broken("resize", Fault.DROP)),
    (replaced("attach_volume", minds_that_it_hangs_there), broken("attach_volume", Fault.DROP)),
    (replaced("console", shows_no_console), the_console),
    (
        replaced("events", listens_and_hears_nothing),
        lambda suite, bench: suite.test_events_tell_of_what_others_did(bench.service, bench.backend),
    ),
    (replaced("inventory", does_not_let_itself_be_cancelled), some_time),
    (replaced("create", forgets_the_time_to_wait), the_bare_429),
    (replaced("create", logs_what_it_sends), secrets),
    (logs_its_key, secrets),
    (replaced("create", logs_what_it_sends), secrets_of_a_life),
    (replaced("create", says_what_was_refused), secrets_of_refusals),
    (replaced("account", logs_its_credentials), secrets_of_a_life),
    (never_gives_up, no_answer),
    (gives_up_far_too_late, no_answer_for_long),
    (takes_silence_for_peace, the_silence),
    (would_listen_for_ever, the_silence),
    (reads_to_the_end, the_endless_answer),
)


@pytest.fixture
async def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Bench]:
    """A hostd that simulates, and a proxy before it. Nothing takes long in there."""
    async with LocalService(tmp_path, simulate=True) as service:
        service.patience, service.hasty = 5.0, 0.3
        async with FaultProxy(service.addresses()) as proxy:
            yield Bench(service, proxy, caplog)


@pytest.mark.parametrize(("bug", "test"), BUGS, ids=lambda part: getattr(part, "__name__", None))
async def test_a_bug_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch, bug: Setup, test: Try) -> None:
    bug(monkeypatch)
    with pytest.raises((AssertionError, HostingError, ConnectionError, TimeoutError, pytest.fail.Exception)):
        await test(BackendContract(), bench)
    monkeypatch.undo()


@pytest.mark.parametrize("test", dict.fromkeys(test for _, test in BUGS))
async def test_nothing_is_found_where_nothing_is_wrong(bench: Bench, test: Try) -> None:
    await test(BackendContract(), bench)
