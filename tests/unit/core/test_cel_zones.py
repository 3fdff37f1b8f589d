"""Time zones in expressions: only what is known to be one reaches the library, which opens anything else as a file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moorage.core.cel_zones import TAKES_ZONE
from moorage.core.expressions import INVALID, ExpressionError, compile_expression
from moorage.core.placement.expression import prepare
from moorage.core.resource_expressions import compile_resource

Compile = Callable[[str], object]
ENVIRONMENTS: dict[str, tuple[Compile, str]] = {
    "service": (compile_expression, "services[0].region"),
    "objects": (lambda text: compile_resource(text, "objects"), "objects[0].data.zone"),
    "object": (lambda text: compile_resource(text, "object"), "object.data.zone"),
    "requirement": (lambda text: prepare(text, "bool"), "service.region"),
    "preference": (lambda text: prepare(f"{text} ? 1 : 2", "number"), "service.region"),
}
NOON = "timestamp('2026-01-01T12:00:00Z')"


def refused(compile_: Compile, text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_(text)
    return caught.value


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "America/Argentina/Ushuaia", "02:00", "+05:30", "-02:00"])
def test_a_zone_that_is_one_is_taken(environment: str, zone: str) -> None:
    compile_, _ = ENVIRONMENTS[environment]
    compile_(f"{NOON}.getHours('{zone}') == 12 || {NOON}.getHours() == 12")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("function", sorted(TAKES_ZONE))
@pytest.mark.parametrize(
    "zone",
    [
        "/dev/ptmx",
        "../../../dev/ptmx",
        "Europe/../../../../dev/ptmx",
        "file:/dev/ptmx",
        "/dev/ptmx:00",
        "libc:localtime",
        "/usr/share/zoneinfo/UTC",
        "12:00/../x",
        "12:00\\n",
        "",
    ],
)
def test_a_path_never_reaches_the_library_as_a_zone(environment: str, function: str, zone: str) -> None:
    compile_, _ = ENVIRONMENTS[environment]
    error = refused(compile_, f"{NOON}.{function}('{zone}') == 1")
    assert error.reason == INVALID
    assert "there is no time zone" in error.message
    assert "line 1, column" in error.message
    assert "'Europe/Zurich'" in error.message


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(
    "zone", ["'/dev' + '/ptmx'", "dyn('UTC')", "true ? 'UTC' : 'UTC'", "['UTC'][0]", "string('UTC')"]
)
def test_a_zone_that_is_computed_is_refused(environment: str, zone: str) -> None:
    compile_, field = ENVIRONMENTS[environment]
    for computed in (zone, field, f"dyn({field})"):
        error = refused(compile_, f"{NOON}.getHours({computed}) == 1")
        assert error.reason == INVALID
        assert "must be a literal text" in error.message


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(
    "text",
    [
        "timestamp({field}).getHours('/dev/ptmx') == 1",
        "dyn({noon}).getHours('/dev/ptmx') == 1",
        "google.protobuf.Timestamp{{seconds: 1}}.getHours('/dev/ptmx') == 1",
        "[1, 2].exists(n, {noon}.getHours('/dev/ptmx') == n)",
        "[1, 2].map(n, {noon}.getHours('/dev/ptmx')).size() == 2",
        "{{'a': {noon}.getHours('/dev/ptmx')}}.a == 1",
        "false && {noon}.getHours('/dev/ptmx') == 1",
        "getHours({noon}, '/dev/ptmx') == 1",
        ".getHours({noon}, '/dev/ptmx') == 1",
    ],
)
def test_a_path_is_found_wherever_it_stands(environment: str, text: str) -> None:
    compile_, field = ENVIRONMENTS[environment]
    assert refused(compile_, text.format(field=field, noon=NOON)).reason == INVALID


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(
    "call", ["'%s'.format(['a'])", "strings.quote('a')", "file('/etc/hostname')", "getenv('HOME')"]
)
def test_no_function_is_there_that_takes_a_format_or_reads_the_world(environment: str, call: str) -> None:
    compile_, _ = ENVIRONMENTS[environment]
    assert "undeclared reference" in refused(compile_, f"{call} == 'a'").message
