"""Structured logs: fields, context, both formats, quiet libraries."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from moorage.runtime.logs import Format, bound, configure, fields, new_reconcile_id


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    quiet = {name: logging.getLogger(name).level for name in ("kopf", "aiohttp.access", "asyncio", "urllib3")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in quiet.items():
        logging.getLogger(name).setLevel(old)


def written(format_: Format, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(format_, level, stream=stream)
    return stream


def test_json_has_fields_of_record_and_context_in_one_line() -> None:
    stream = written("json")
    with bound(object="ns/a", reconcileID="1"), bound(reconcileID="2"):
        logging.getLogger("x").info("created %s", "it", extra=fields(server="s", message="no"))
    logging.getLogger("x").info("later")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info",
        "logger": "x",
        "message": "created it",
        "object": "ns/a",
        "reconcileID": "2",
        "server": "s",
    }
    assert "object" not in second


def test_text_is_for_people() -> None:
    stream = written("text")
    logging.getLogger("x").warning("odd", extra=fields(a="b c", n=1, empty=""))
    assert stream.getvalue().endswith(' WARNING odd a="b c" n=1 empty=""\n')


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_traceback_shows_no_variables(format_: Format) -> None:
    stream = written(format_)

    def login(password: str) -> None:
        raise RuntimeError("login failed")

    try:
        login("".join(["hunt", "er2"]))
    except RuntimeError:
        logging.getLogger("x").exception("bad")
    assert "RuntimeError: login failed" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_libraries_speak_from_warning_on_unless_debugging() -> None:
    stream = written("text")
    logging.getLogger("kopf.objects").info("Handler succeeded")
    logging.getLogger("kopf.objects").warning("odd")
    logging.getLogger("moorage").info("ours")
    assert "Handler" not in stream.getvalue()
    assert "odd" in stream.getvalue()
    assert "ours" in stream.getvalue()
    stream = written("text", "debug")
    logging.getLogger("kopf.objects").info("Handler succeeded")
    assert "Handler" in stream.getvalue()


def test_configuring_again_does_not_write_twice() -> None:
    written("text")
    stream = written("text")
    logging.getLogger("x").info("once")
    assert stream.getvalue().count("once") == 1


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="use debug, info"):
        configure("text", "loud")


def test_ids_differ() -> None:
    assert new_reconcile_id() != new_reconcile_id()


def test_what_others_wrote_stays_on_its_line() -> None:
    stream = written("text")
    logging.getLogger("x").info("says %s", "a\nERROR forged\x1b[31m", extra=fields(name="b\nERROR forged"))
    assert stream.getvalue().count("\n") == 1
    assert "\\nERROR forged\\x1b[31m" in stream.getvalue()
