from __future__ import annotations

import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.core.template import (
    MAX_PROBLEMS,
    RenderedTooLargeError,
    TemplateError,
    nearest,
    parse_script,
    parse_text,
    unknown_references,
)

VALUES = {"port": "80", "host": "db", "pw": "s3cr3t"}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${host}:${port}", "db:80"),
        ("$host $port $ $$ 5$", "$host $port $ $$ 5$"),
        ("$${host}", "${host}"),
        ("$${HOME:-/root}", "${HOME:-/root}"),
        ("$$${host}", "$${host}"),
        ("a$${b}c${host}d", "a${b}cdbd"),
        ("{${host}}", "{db}"),
        ("${host}\n${host}", "db\ndb"),
    ],
)
def test_text_is_rendered(text: str, rendered: str) -> None:
    template = parse_text(text)
    assert template.problems == ()
    assert template.render(VALUES) == rendered


@pytest.mark.parametrize(
    ("text", "line", "column", "remedy"),
    [
        ("x ${port:-80}", 1, 3, "give the item port a default"),
        ("a\nb ${", 2, 3, "write ${item}"),
        ("${port", 1, 1, "never closed"),
        ("${}", 1, 1, "write $${ for a literal ${"),
        ("${ port }", 1, 1, "letters, digits and _ only"),
        ("${1x}", 1, 1, "letters, digits and _ only"),
        ("${a-b}", 1, 1, "default"),
        ("${a b}", 1, 1, "letters, digits"),
        ("${ä}", 1, 1, "letters, digits"),
    ],
)
def test_what_is_wrong_in_text_is_said_with_position_and_remedy(text: str, line: int, column: int, remedy: str) -> None:
    (problem,) = parse_text(text).problems
    assert (problem.line, problem.column) == (line, column)
    assert remedy in problem.message
    assert str(problem).startswith(f"line {line}, column {column}: ")


@pytest.mark.parametrize(
    ("script", "names", "literal"),
    [
        ('exec app "${port}"', ("port",), 'exec app "${port}"'),
        ("$HOME $1 $$ $?", (), "$HOME $1 $$ $?"),
        ("$${HOME}", (), "${HOME}"),
        ("$${HOME:-/}", (), "${HOME:-/}"),
        ("${port:-80} ${#host} ${pw%x*}", ("host", "port", "pw"), "${port:-80} ${#host} ${pw%x*}"),
        ("${port:-${host}}", ("host", "port"), "${port:-${host}}"),
        ("${port:-$${HOME}}", ("port",), "${port:-${HOME}}"),
        ("${!port}", ("port",), "${!port}"),
        (
            "${1} ${@} ${*} ${?} ${#} ${$} ${!} ${-} ${10:-x} ${#@}",
            (),
            "${1} ${@} ${*} ${?} ${#} ${$} ${!} ${-} ${10:-x} ${#@}",
        ),
        ("'${port}' # ${host}", ("host", "port"), "'${port}' # ${host}"),
        ("echo $(cat ${host})", ("host",), "echo $(cat ${host})"),
    ],
)
def test_a_script_keeps_its_items_for_the_shell(script: str, names: tuple[str, ...], literal: str) -> None:
    template = parse_script(script)
    assert template.problems == ()
    assert template.names == names
    assert template.literal == literal


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("${port", "never closed; write ${port}"),
        ("${port x}", "after ${port comes }"),
        ("${}", "write $${ for what is the shell's own"),
        ("${ x}", "write $${ for what is the shell's own"),
    ],
)
def test_what_is_wrong_in_a_script_is_said(script: str, message: str) -> None:
    (problem,) = parse_script(script).problems
    assert message in problem.message


def test_the_shell_sees_items_and_its_own_variables_as_documented() -> None:
    script = parse_script('own=1; printf "%s|%s|%s|%s" "${port}" "${#host}" "$${own}" "${host%b}"')
    environment = {name: VALUES[name] for name in script.names}
    done = subprocess.run(
        ["/bin/sh", "-c", script.literal], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "80|2|1|d"


def test_a_value_never_becomes_shell_syntax() -> None:
    script = parse_script('printf "%s" "${port}"')
    done = subprocess.run(
        ["/bin/sh", "-c", script.literal],
        env={"port": '"; echo $(id) `id` ${host}'},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == '"; echo $(id) `id` ${host}'


def test_an_unknown_item_is_named_once_with_the_nearest_names() -> None:
    problems = list(unknown_references(parse_text("a\n${prot} ${prot} ${port}"), {"port", "host"}, script=False))
    assert [(p.line, p.column) for p in problems] == [(2, 1)]
    assert problems[0].message == "there is no item prot (did you mean port?); for a literal ${prot} write $${prot}"
    (problem,) = unknown_references(parse_script("echo ${HOME}"), {"port"}, script=True)
    assert (
        problem.message == "there is no item HOME (there is port); for a variable of the shell write $HOME or $${HOME}"
    )


def test_nearest() -> None:
    assert nearest("x", ()) == " (none is declared)"
    assert nearest("DB_ADDRESS", {"db_address", "port"}) == " (did you mean db_address?)"
    assert nearest("zzz", {"a", "b"}) == " (there are a, b)"
    assert nearest("zzz", set("abcdefg")) == " (there are a, b, c, d, e, …)"


def test_an_item_without_a_value_and_too_large_a_text_are_errors_without_values() -> None:
    with pytest.raises(TemplateError, match="item nope has no value"):
        parse_text("${pw}${nope}").render(VALUES)
    with pytest.raises(RenderedTooLargeError, match="12 bytes, at most 10") as caught:
        parse_text("${pw}${pw}").render(VALUES, limit=10)
    assert "s3cr3t" not in str(caught.value)
    assert parse_text("${x}").render({"x": "é" * 5}, limit=10) == "é" * 5


@given(st.text(alphabet="${}ab:-#1 \n"))
def test_any_text_parses_to_a_template_or_a_problem(text: str) -> None:
    for parse in (parse_text, parse_script):
        template = parse(text)
        for problem in template.problems:
            assert 1 <= problem.line <= text.count("\n") + 1
            assert problem.column >= 1
    parsed = parse_text(text)
    if "${" not in text:
        assert parsed.render({}) == text


@given(st.text(alphabet="${}ab:-#1 \n"))
def test_escaping_every_opening_gives_the_text_back(text: str) -> None:
    escaped = text.replace("${", "$${")
    assert parse_text(escaped).render({}) == text
    assert parse_script(escaped).literal == text


def test_a_text_full_of_unknown_items_costs_no_more_than_its_first_problems() -> None:
    items = [f"item_{number:03}_abcdefghij" for number in range(128)]
    text = "\n".join(f"${{u{number:06}}}" for number in range(20_000))
    began = time.process_time()
    found = list(unknown_references(parse_text(text), items, script=False))
    assert time.process_time() - began < 5, "one tenant's configuration must not hold up the controller"
    assert len(found) == MAX_PROBLEMS
    assert (found[-1].line, found[-1].column) == (MAX_PROBLEMS, 1)


def test_a_text_full_of_mistakes_is_told_by_its_first_ones() -> None:
    began = time.process_time()
    assert len(parse_text("${ " * 50_000).problems) == MAX_PROBLEMS
    assert len(parse_script("${ä " * 50_000).problems) == MAX_PROBLEMS
    assert time.process_time() - began < 5
