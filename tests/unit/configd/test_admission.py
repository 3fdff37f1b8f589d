"""What of a state is taken: declared outputs within their bounds, revisions that were served; the rest is named."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.channel import MAX_INLINE_BYTES, Document, StateReport
from moorage.api.virtualserver import AgentState
from moorage.configd.admission import MAX_INLINE_TOTAL, admit, compiled

JOINED = "2026-01-02T03:04:05Z"


def document(*outputs: dict[str, Any], steps: tuple[str, ...] = ()) -> Document:
    facts = {"name": "db-0", "namespace": "shop"}
    scripts = [{"name": name, "script": "true"} for name in steps]
    return Document.model_validate({"revision": 3, "server": facts, "outputs": outputs, "steps": scripts})


def report(**parts: Any) -> StateReport:
    return StateReport.model_validate({"sequence": 1, **parts})


def value(name: str, text: str, version: int = 1) -> dict[str, Any]:
    return {"name": name, "value": text, "version": version}


def test_a_plain_output_is_in_status() -> None:
    taken = admit(report(outputs=[value("a", "x")]), document({"name": "a", "file": "/a"}), 3, JOINED)
    assert taken.agent["outputs"] == [{"name": "a", "value": "x", "version": 1, "inSecret": False}]
    assert (dict(taken.values), taken.problems) == ({}, ())
    assert taken.agent["joinedAt"] == JOINED


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"name": "a", "file": "/a", "sensitive": True}, "canary"),
        ({"name": "a", "file": "/a", "maxBytes": 9000}, "x" * (MAX_INLINE_BYTES + 1)),
    ],
)
def test_a_sensitive_or_large_output_is_in_the_secret(declared: dict[str, Any], text: str) -> None:
    taken = admit(report(outputs=[value("a", text, 7)]), document(declared), 3, JOINED)
    assert taken.agent["outputs"] == [{"name": "a", "version": 7, "inSecret": True}]
    assert (dict(taken.values), dict(taken.versions)) == ({"a": text}, {"a": 7})
    assert text not in repr(taken)


def test_many_inline_values_do_not_make_a_large_status() -> None:
    names = [f"o{n}" for n in range(20)]
    declared = document(*({"name": name, "file": "/a"} for name in names))
    taken = admit(report(outputs=[value(name, "x" * 4000) for name in names]), declared, 3, JOINED)
    inline = [row for row in taken.agent["outputs"] if "value" in row]
    assert sum(len(row["value"]) for row in inline) <= MAX_INLINE_TOTAL
    assert len(inline) + len(taken.values) == 20


@pytest.mark.parametrize(
    ("declared", "text", "error"),
    [
        ({"name": "b", "file": "/a"}, "x", "Undeclared"),
        ({"name": "a", "file": "/a", "maxBytes": 3}, "four", "TooLarge"),
        ({"name": "a", "file": "/a", "maxBytes": 3}, "éé", "TooLarge"),
        ({"name": "a", "file": "/a"}, "nul\0", "NotText"),
        ({"name": "a", "file": "/a", "pattern": "[0-9]+"}, "12x", "PatternMismatch"),
        ({"name": "a", "file": "/a", "pattern": "[0-9]+"}, "12\nx", "PatternMismatch"),
        ({"name": "a", "file": "/a", "pattern": "^[0-9]+$"}, "x12", "PatternMismatch"),
        ({"name": "a", "file": "/a", "pattern": "("}, "x", "InvalidPattern"),
    ],
)
def test_a_bad_output_is_named_without_its_value_and_the_rest_goes_on(
    declared: dict[str, Any], text: str, error: str
) -> None:
    fine = {"name": "fine", "file": "/f"}
    told = report(outputs=[value("a", text), value("fine", "ok")], ready=True)
    taken = admit(told, document(declared, fine), 3, JOINED)
    rows = {row["name"]: row for row in taken.agent["outputs"]}
    assert rows["a"]["error"] == error
    assert "value" not in rows["a"]
    assert rows["a"]["message"]
    assert rows["fine"]["value"] == "ok"
    assert taken.agent["ready"] is True
    assert [(p.output, p.reason) for p in taken.problems] == [("a", error)]


@pytest.mark.parametrize("text", ["80", "8080"])
def test_a_value_that_matches_the_whole_pattern_is_taken(text: str) -> None:
    declared = document({"name": "a", "file": "/a", "pattern": "[0-9]+"})
    assert admit(report(outputs=[value("a", text)]), declared, 3, JOINED).problems == ()


def test_a_pattern_that_hangs_other_engines_is_quick() -> None:
    pattern = compiled("(a+)+$")
    assert pattern is not None
    assert not pattern.fullmatch("a" * 5000 + "b")


def test_the_agents_own_errors_stand_beside_its_last_value() -> None:
    told = {"name": "a", "value": "x", "version": 2, "error": "CommandFailed", "message": "exit code 1"}
    taken = admit(report(outputs=[told]), document({"name": "a", "file": "/a"}), 3, JOINED)
    (row,) = taken.agent["outputs"]
    assert (row["value"], row["error"], row["message"]) == ("x", "CommandFailed", "exit code 1")


def test_an_output_that_is_named_twice_counts_once() -> None:
    told = report(outputs=[value("a", "1"), value("a", "2")])
    taken = admit(told, document({"name": "a", "file": "/a"}), 3, JOINED)
    assert [row["value"] for row in taken.agent["outputs"]] == ["1"]
    assert [p.reason for p in taken.problems] == ["Duplicate"]


def test_undeclared_outputs_do_not_crowd_out_declared_ones() -> None:
    told = report(outputs=[*(value(f"x{n}", "1") for n in range(60)), value("a", "1")])
    taken = admit(told, document({"name": "a", "file": "/a"}), 3, JOINED)
    assert len(taken.agent["outputs"]) == 32
    assert taken.agent["outputs"][0]["name"] == "a"


def test_before_a_configuration_nothing_is_declared() -> None:
    told = report(outputs=[value("a", "x")], steps=[{"name": "s", "state": "Succeeded"}])
    taken = admit(told, None, 0, JOINED)
    assert [p.reason for p in taken.problems] == ["Undeclared", "Undeclared"]
    assert "steps" not in taken.agent


@pytest.mark.parametrize(
    ("delivered", "acknowledged", "expected"),
    [(3, 3, (3, 3)), (3, 2, (3, 2)), (4, 2, (0, 2)), (4, 4, (0, 0)), (2, 3, (2, 0)), (0, 0, (0, 0))],
)
def test_only_revisions_that_were_served_count(delivered: int, acknowledged: int, expected: tuple[int, int]) -> None:
    told = report(deliveredRevision=delivered, acknowledgedRevision=acknowledged)
    taken = admit(told, document(), 3, JOINED)
    assert (taken.agent["deliveredRevision"], taken.agent["acknowledgedRevision"]) == expected
    assert ("never served" in taken.agent.get("message", "")) == (max(delivered, acknowledged) > 3)


names = st.sampled_from(["a", "b", "c", "stranger"])
texts = st.text(max_size=50) | st.text(alphabet=string.digits, min_size=1, max_size=9)
reports = st.builds(
    lambda sequence, outputs, steps, revisions, message: StateReport.model_validate(
        {
            "sequence": sequence,
            "deliveredRevision": revisions[0],
            "acknowledgedRevision": revisions[1],
            "outputs": outputs,
            "steps": steps,
            "message": message,
        }
    ),
    st.integers(1, 2**53 - 1),
    st.lists(st.fixed_dictionaries({"name": names, "value": st.none() | texts, "version": st.integers(0, 9)})),
    st.lists(st.fixed_dictionaries({"name": names, "state": st.sampled_from(["Waiting", "Running", "Failed"])})),
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    st.none() | st.text(max_size=100),
)


@given(told=reports)
def test_whatever_is_told_the_status_has_its_shape_and_no_secret(told: StateReport) -> None:
    declared = document(
        {"name": "a", "file": "/a"},
        {"name": "b", "file": "/b", "sensitive": True},
        {"name": "c", "file": "/c", "pattern": "[0-9]+", "maxBytes": 5},
        steps=("a",),
    )
    taken = admit(told, declared, 3, JOINED)
    shape = AgentState.from_dict(taken.agent)
    assert shape.sequence == told.sequence
    assert shape.acknowledged_revision <= 3
    assert len({row.name for row in shape.outputs}) == len(shape.outputs)
    for row in shape.outputs:
        assert row.name != "b" or row.value is None
        assert row.name != "c" or row.value is None or row.value.isdecimal()
        assert row.name != "stranger" or row.error == "Undeclared"
        assert row.in_secret == (row.name in taken.values)
    assert admit(told, declared, 3, JOINED) == taken


def test_what_a_guest_says_is_kept_without_what_steers_a_terminal() -> None:
    said = "exit\x1b]0;title\x07 1\r\nnext \u202eevil ünïcode"
    step = {"name": "start", "state": "Failed", "exitCode": 1, "message": said}
    report = StateReport.model_validate({"sequence": 1, "steps": [step]})
    assert report.steps[0].message == "exit ]0;title  1  next  evil ünïcode"
