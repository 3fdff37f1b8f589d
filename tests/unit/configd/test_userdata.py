"""User-data: always below 2,048 bytes, for a plain shell and for cloud-init, with nothing secret but the token."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moorage.configd.userdata import Format, render_user_data

PIN = "a" * 64
TOKEN = "t" * 43
FORMATS: list[Format] = ["shell", "cloud-config"]
labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("format", FORMATS)
def test_the_longest_names_fit(format: Format) -> None:
    url = "https://" + "u" * 239 + ":65535"
    assert len(url) == 253
    text = render_user_data(url, PIN, "n" * 63 + "/" + "0" * 36, TOKEN, format)
    assert len(text.encode()) < 2048


@pytest.mark.parametrize("format", FORMATS)
@given(namespace=labels, uid=st.uuids(), host=labels, token=st.from_regex(r"[A-Za-z0-9_-]{16,64}", fullmatch=True))
def test_it_holds_what_it_was_given(format: Format, namespace: str, uid: object, host: str, token: str) -> None:
    text = render_user_data(f"https://{host}:7443", PIN, f"{namespace}/{uid}", token, format)
    facts = json.loads(
        next(part for part in text.splitlines() if '{"urls"' in part).strip().removeprefix("content: ").strip("'")
    )
    assert facts == {"urls": [f"https://{host}:7443"], "pin": PIN, "server": f"{namespace}/{uid}", "token": token}


def test_the_shell_form_is_a_script_that_sh_can_parse(tmp_path: Path) -> None:
    script = tmp_path / "user-data"
    script.write_text(render_user_data("https://c:1", PIN, "ns/uid", TOKEN))
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_both_forms_hold_the_same_program() -> None:
    shell = render_user_data("https://c:1", PIN, "ns/uid", TOKEN)
    cloud = yaml.safe_load(render_user_data("https://c:1", PIN, "ns/uid", TOKEN, "cloud-config"))
    program = shell.split("boot.py\" <<'E'\n")[1].split("\nE\n")[0] + "\n"
    files = {file["path"]: file for file in cloud["write_files"]}
    assert files["/var/lib/moorage/boot.py"]["content"] == program
    assert json.loads(files["/var/lib/moorage/boot.json"]["content"])["token"] == TOKEN
    assert files["/var/lib/moorage/boot.json"]["permissions"] == "0600"
    assert TOKEN not in str(cloud["runcmd"])
    compile(program, "boot.py", "exec")


@pytest.mark.parametrize(
    ("urls", "pin", "server", "token", "named"),
    [
        ([], PIN, "ns/uid", TOKEN, "https"),
        ("http://c:1", PIN, "ns/uid", TOKEN, "https"),
        ("https://c:1/path", PIN, "ns/uid", TOKEN, "https"),
        ("https://c'; rm -rf /", PIN, "ns/uid", TOKEN, "https"),
        ("https://c:1", "short", "ns/uid", TOKEN, "pin"),
        ("https://c:1", PIN, "no-slash", TOKEN, "namespace"),
        ("https://c:1", PIN, "ns/u'id", TOKEN, "namespace"),
        ("https://c:1", PIN, "ns/uid", "with 'quotes' in it", "token"),
        ("https://c:1", PIN, "ns/uid", "short", "token"),
        (["https://" + "u" * 239 + ":65535"] * 3, PIN, "ns/uid", TOKEN, "fewer"),
    ],
)
def test_what_does_not_fit_is_refused_without_showing_the_token(
    urls: str | list[str], pin: str, server: str, token: str, named: str
) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        render_user_data(urls, pin, server, token)
    assert token not in str(caught.value)
