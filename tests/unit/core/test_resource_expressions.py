"""Expressions over Kubernetes objects: what they see, what of the objects is kept, what they cost, what they show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.core.cel_cost import Estimator
from moorage.core.expressions import FAILED, INVALID, MAX_LENGTH, MAX_LOOPS, MAX_STEPS, TOO_EXPENSIVE, ExpressionError
from moorage.core.resource_expressions import (
    Objects,
    Variable,
    compile_resource,
    evaluate_resource,
    shape_of,
)
from moorage.kube.projection import Projection

QUEUE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "queue", "labels": {"tier": "a"}, "resourceVersion": "7"},
    "data": {"length": "12", "token": "hunter2", "key": "hunter2"},
}
NODES = [
    {
        "metadata": {"name": f"node-{n}", "labels": {"zone": "ab"[n % 2]}, "managedFields": [{"x": 1}]},
        "spec": {"unschedulable": True} if n == 0 else {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if n else "False"}],
            "capacity": {"cpu": "4"},
        },
    }
    for n in range(4)
]


def holds(text: str, found: list[dict[str, Any]], variable: Variable = "objects") -> bool:
    """As the controller does it: what an expression does not read is not there."""
    compiled = compile_resource(text, variable)
    project = Projection(compiled.paths)
    return evaluate_resource(compiled, Objects(variable, [project(o)[0] for o in found]))


def failure(text: str, found: list[dict[str, Any]], variable: Variable = "objects") -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        holds(text, found, variable)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        'object.data.length == "12" && int(object.data["length"]) > 10',
        'object.kind == "ConfigMap" && object.apiVersion == "v1" && object.metadata.name == "queue"',
        'object != null && has(object.data.length) && !has(object.spec) && !("nothing" in object.data)',
        "object.data.size() == 3 && object.metadata.labels.exists(k, object.metadata.labels[k] == 'a')",
        'object.data.length.matches("^[0-9]+$")',
    ],
)
def test_an_expression_sees_one_object(text: str) -> None:
    assert holds(text, [QUEUE], "object")


@pytest.mark.parametrize(
    "text",
    [
        "objects.size() == 4 && size(objects) == 4",
        'objects.filter(n, n.status.conditions.exists(c, c.type == "Ready" && c.status == "True")).size() == 3',
        'objects.exists(n, has(n.spec.unschedulable) && n.spec.unschedulable && n.metadata.name == "node-0")',
        'objects.filter(n, n.metadata.labels.zone == "a").all(n, int(n.status.capacity.cpu) == 4)',
        'objects[0].metadata.name == "node-0" && objects.map(n, n.metadata.labels.zone)[1] == "b"',
        'objects.filter(n, n.metadata.labels["zone"] == "b").filter(n, !has(n.spec.unschedulable)).size() == 2',
        "objects.exists_one(n, has(n.spec.unschedulable))",
        'objects.map(n, n.status.capacity.cpu == "4", n.metadata.name).size() == 4',
    ],
)
def test_an_expression_sees_a_list(text: str) -> None:
    assert holds(text, NODES)
    assert holds("objects.size() == 0 && !objects.exists(n, n.x) && objects.all(n, n.x)", [])


def test_an_object_that_does_not_exist_is_null() -> None:
    assert holds("object == null", [], "object")
    assert not holds('object != null && object.data.length == "12"', [], "object")
    assert failure('object.data.length == "12"', [], "object").reason == FAILED


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("objects.size() > 3", set()),
        ('objects.filter(o, o.status.phase == "Running").size() > 3', {("status", "phase")}),
        ("objects.filter(o, has(o.spec.x)).exists(o, o.spec.y > 1)", {("spec", "x"), ("spec", "y")}),
        ("objects.exists(o, o.spec.a.b == o.spec.a)", {("spec", "a")}),
        ('objects.exists(o, o.metadata.labels["a/b"] == "c")', {("metadata", "labels", "a/b")}),
        ("objects.exists(o, o.spec.containers.exists(c, c.image == 'x'))", {("spec", "containers")}),
        ("objects.map(o, o).size() > 3", set()),
        ("objects.map(o, o.status).size() > 3", {("status",)}),
        ("objects[0] == objects[1]", {()}),
        ("objects.exists(o, o == o)", {()}),
        ("objects.exists(o, objects[o.spec.i].x)", {("spec", "i"), ("x",)}),
        ("objects.map(o, [o]).size() > 1", {()}),
        ("objects.exists(o, o['spec'].x == dyn(o).y)", {()}),
        ("[1].exists(i, objects.exists(o, o.spec.n == i))", {("spec", "n")}),
        ("objects == []", {()}),
    ],
)
def test_only_what_is_read_of_the_objects_is_kept(text: str, paths: set[tuple[str, ...]]) -> None:
    assert compile_resource(text, "objects").paths == paths


def test_of_one_object_whether_it_is_there_needs_nothing_of_it() -> None:
    assert compile_resource("object != null && object.spec.x > 1", "object").paths == {("spec", "x")}
    assert compile_resource("object.spec == null", "object").paths == {("spec",)}
    many = " && ".join(f"object.spec.f{n} == 1" for n in range(40))
    assert compile_resource(many, "object").paths == {()}, "so many that the whole is kept"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "c"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "metadata"]), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON, max_size=3), max_size=3)
EXPRESSIONS = [
    "objects.filter(o, has(o.a.b)).size() > 0",
    "objects.exists(o, o.a.b == o.b)",
    "objects.all(o, o.a == 'a' || has(o.c))",
    "objects.filter(o, o.a != null).map(o, o.b).size() > 1",
    "objects[0].a == objects[0].b.c",
    "objects.exists(o, o.a.exists(x, x == o.b))",
    "objects.map(o, o['a'].b == 1)[0]",
    "objects.exists(o, o in objects)",
    "objects.exists_one(o, o.a.b.c == null)",
]


@given(OBJECTS, st.sampled_from(EXPRESSIONS))
def test_keeping_only_what_is_read_changes_no_result(found: list[dict[str, Any]], text: str) -> None:
    compiled = compile_resource(text, "objects")

    def outcome(objects: list[dict[str, Any]]) -> bool | str:
        try:
            return evaluate_resource(compiled, Objects("objects", objects))
        except ExpressionError as error:
            return error.message

    project = Projection(compiled.paths)
    whole = [{**o, "metadata": {}} for o in found]
    assert outcome([project(o)[0] for o in whole]) == outcome(whole)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('object.data.nothing == "1"', "'nothing' is not there in every object; guard"),
        ('object.data[object.data.key] == "1"', "a key that it needs is not there"),
        ("int(object.data.token) > 1", "a text is not what it is converted to"),
        ('timestamp(object.data.token) > timestamp("2026-01-01T00:00:00Z")', "a text is not what it is converted to"),
        ("object.data.token > 3", "of another type than an operator"),
        ("object.data.token.x == 1", "looked for in what is not an object"),
        ('object.data.token.split(",")[3] == "x"', ""),
        ("[1][int(object.data.length)] == 1", "a list is shorter"),
        ("1 / (int(object.data.length) - 12) == 1", "divides by zero"),
        ("int(object.data.length) + 9223372036854775807 > 1", "too large"),
        ("object.data.token", "the result is of type string, not bool"),
        ("object.data", "the result is of type map, not bool"),
    ],
)
def test_a_message_tells_nothing_of_the_object(text: str, words: str) -> None:
    error = failure(text, [QUEUE], "object")
    assert error.reason in {FAILED, INVALID}
    assert words in error.message
    assert "hunter2" not in str(error)
    assert "12" not in error.message.removeprefix("line 1, column")


@pytest.mark.parametrize(
    ("text", "variable", "words"),
    [
        ("objects.size() > 1", "object", "with `name` there is `object`"),
        ("object.x == 1", "objects", "without `name` there is `objects`"),
        ("object.", "object", "line 1, column"),
        ("1 + 1", "object", "the result is of type int"),
        ("object.name.matches(object.x)", "object", "must be a literal"),
        ("", "object", "empty"),
        ("object == null ||" + " " * MAX_LENGTH, "object", "at most"),
    ],
)
def test_what_cannot_work_is_refused_at_first_sight(text: str, variable: Variable, words: str) -> None:
    with pytest.raises(ExpressionError, match=words) as caught:
        compile_resource(text, variable)
    assert caught.value.reason == INVALID


def test_what_may_take_too_long_is_not_evaluated() -> None:
    found = [{"data": {"a": "x" * 100}, "status": {"list": list(range(20))}} for _ in range(1000)]
    for text in (
        "objects.all(o, objects.all(p, o.data.a == p.data.a))",
        "objects.all(o, objects == objects)",
        "objects.all(o, o.status.list.all(x, x >= 0))",
        '["a"]' + ".map(x, x + x)" * 20 + ".size() > 0 && objects.size() > 0",
    ):
        error = failure(text, found)
        assert error.reason == TOO_EXPENSIVE, text
        assert "select fewer objects" in error.message
    assert holds("objects.exists(o, o.status.list.exists(x, x == 19))", found[:300])
    assert holds("objects.all(o, has(o.data.a))", found * 5)
    assert holds("objects.filter(o, has(o.data.a)).size() > 1", found)
    # The library copies the list that filter builds with each object, so that has a lower limit.
    assert failure("objects.filter(o, has(o.data.a)).size() > 1", found * 5).reason == TOO_EXPENSIVE


@pytest.mark.parametrize(
    "value", [{"a": [{"b": "x" * 40}, {"b": "y", "c": [1, 2, 3]}]}, {str(n): "v" for n in range(200)}]
)
def test_the_bound_of_an_object_is_no_less_than_the_object(value: dict[str, Any]) -> None:
    shape = shape_of(value)
    assert shape.count == len(value)
    assert shape.weight >= sum(len(str(v)) // 16 for v in value.values()) + len(value)
    tree = compile_resource("object.exists(k, object[k] == 1) || object.a[0].c[2] == 3", "object").tree
    cost = Estimator().estimate(tree.root, {"object": shape})
    assert len(value) <= cost.loops <= MAX_LOOPS
    assert cost.steps <= MAX_STEPS
