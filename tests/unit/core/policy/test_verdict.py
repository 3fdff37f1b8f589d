"""Verdicts: Kleene's logic over nested combinations, and a message that names what decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import Reading, Verdict, When
from moorage.core.policy.verdict import All, AnyOf, Node, Not, decide, tree

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NAMES = ("a", "b", "c", "d")
ORDER: dict[Verdict, int] = {"Unmet": 0, "Unknown": 1, "Met": 2}


def reading(name: str, value: Verdict) -> Reading:
    return Reading(name=name, value=value, reason="R", message=f"{name} is {value}", since=NOW)


def readings(**values: Verdict) -> dict[str, Reading]:
    return {name: reading(name, value) for name, value in values.items()}


def when(all_: str = "", any_: str = "") -> When:
    def spell(names: str) -> list[dict[str, object]]:
        return [{"name": n, "service": {"expression": "true"}} for n in names]

    return When.from_dict({"all": spell(all_), "any": spell(any_)})


def test_the_tree_of_when() -> None:
    assert tree(when("ab")) == All(("a", "b"))
    assert tree(when("a", "bc")) == All(("a", AnyOf(("b", "c"))))
    assert tree(when("", "bc")) == All((AnyOf(("b", "c")),))


def leaf(name: str) -> dict[str, object]:
    return {"name": name, "service": {"expression": "true"}}


NESTED = When.from_dict(
    {
        "all": [leaf("a"), {"any": [leaf("b"), {"not": leaf("c")}]}, {"not": leaf("d")}],
        "any": [{"all": [leaf("e"), leaf("f")]}, leaf("g")],
    }
)


def test_the_tree_of_a_nested_when_and_its_conditions_in_order() -> None:
    assert tree(NESTED) == All(("a", AnyOf(("b", Not("c"))), Not("d"), AnyOf((All(("e", "f")), "g"))))
    assert [c.name for c in NESTED.conditions] == list("abcdefg")
    assert all(c.for_ == c.hold_for == timedelta(0) for c in NESTED.conditions)


def test_what_is_negated_decides_by_its_opposite_and_says_so() -> None:
    values: dict[str, Verdict] = {"a": "Met", "b": "Unmet", "c": "Met", "d": "Unmet", "e": "Met", "f": "Met"}
    decided = decide(tree(NESTED), readings(**values))
    assert (decided.verdict, decided.deciding) == ("Unmet", ("b", "c"))
    assert decided.message == "unmet: b (b is Unmet); not c (c is Met)"
    values["c"] = "Unmet"
    decided = decide(tree(NESTED), readings(**values))
    assert decided.message == ("met: a (a is Met); not c (c is Unmet); not d (d is Unmet); e (e is Met); f (f is Met)")


def test_one_unmet_decides_all_whatever_is_unknown() -> None:
    decided = decide(tree(when("abc")), readings(a="Met", b="Unmet", c="Unknown"))
    assert (decided.verdict, decided.deciding) == ("Unmet", ("b",))
    assert decided.message == "unmet: b (b is Unmet)"


def test_one_met_decides_any_whatever_is_unknown() -> None:
    decided = decide(tree(when("", "abc")), readings(a="Unmet", b="Met", c="Unknown"))
    assert (decided.verdict, decided.deciding) == ("Met", ("b",))


def test_unknown_decides_nothing() -> None:
    decided = decide(tree(when("ab")), readings(a="Met", b="Unknown"))
    assert (decided.verdict, decided.message) == ("Unknown", "unknown: b (b is Unknown)")
    decided = decide(tree(when("", "ab")), readings(a="Unmet", b="Unknown"))
    assert (decided.verdict, decided.deciding) == ("Unknown", ("b",))


def test_all_and_any_together() -> None:
    both = tree(when("a", "bc"))
    assert decide(both, readings(a="Met", b="Unmet", c="Met")).deciding == ("a", "c")
    assert decide(both, readings(a="Met", b="Unmet", c="Unmet")).deciding == ("b", "c")
    assert decide(both, readings(a="Unmet", b="Unknown", c="Met")).deciding == ("a",)


def test_a_condition_that_was_not_read_is_unknown() -> None:
    decided = decide(tree(when("ab")), readings(a="Met"))
    assert (decided.verdict, decided.message) == ("Unknown", "unknown: b was not read yet")


def test_nothing_to_decide_is_unknown() -> None:
    assert decide(All(()), {}).verdict == "Unknown"
    assert decide(All((AnyOf(()),)), {}).verdict == "Unknown"


_NODES: st.SearchStrategy[Node] = st.recursive(
    st.sampled_from(NAMES),
    lambda parts: (
        st.builds(Not, parts)
        | st.builds(All, st.lists(parts, min_size=1, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(parts, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
_VALUES = st.fixed_dictionaries({n: st.sampled_from(sorted(ORDER)) for n in NAMES})


_OPPOSITE: dict[Verdict, Verdict] = {"Met": "Unmet", "Unmet": "Met", "Unknown": "Unknown"}


def kleene(node: Node, values: dict[str, Verdict]) -> Verdict:
    match node:
        case str():
            return values[node]
        case Not(part=part):
            return _OPPOSITE[kleene(part, values)]
        case All(parts=parts):
            return min((kleene(p, values) for p in parts), key=ORDER.__getitem__)
        case AnyOf(parts=parts):
            return max((kleene(p, values) for p in parts), key=ORDER.__getitem__)


@given(_NODES, _VALUES)
def test_it_is_the_least_of_all_and_the_greatest_of_any(node: Node, values: dict[str, Verdict]) -> None:
    decided = decide(node, readings(**values))
    assert decided.verdict == kleene(node, values)
    decisive = {decided.verdict, _OPPOSITE[decided.verdict]}
    assert all(values[name] in decisive for name in decided.deciding)


@given(_NODES, _VALUES)
def test_two_valued_completions_agree_with_what_is_decided(node: Node, values: dict[str, Verdict]) -> None:
    """Brute force: however the unknown turn out, a verdict that was drawn without them stands."""
    verdict = decide(node, readings(**values)).verdict
    unknown = [name for name, value in values.items() if value == "Unknown"]
    both: tuple[Verdict, Verdict] = ("Met", "Unmet")
    for choice in product(both, repeat=len(unknown)):
        known: dict[str, Verdict] = {**values, **dict(zip(unknown, choice, strict=True))}
        completed = decide(node, readings(**known)).verdict
        assert completed != "Unknown"
        assert verdict in ("Unknown", completed)


@given(st.lists(_NODES, min_size=1, max_size=4), _VALUES)
def test_de_morgan(parts: list[Node], values: dict[str, Verdict]) -> None:
    those = readings(**values)
    opposite = tuple(Not(p) for p in parts)
    assert decide(Not(All(tuple(parts))), those).verdict == decide(AnyOf(opposite), those).verdict
    assert decide(Not(AnyOf(tuple(parts))), those).verdict == decide(All(opposite), those).verdict
    assert decide(Not(Not(parts[0])), those) == decide(parts[0], those)


def shuffled(node: Node, random: Random) -> Node:
    match node:
        case str():
            return node
        case Not(part=part):
            return Not(shuffled(part, random))
        case All(parts=parts) | AnyOf(parts=parts):
            inner = [shuffled(p, random) for p in parts]
            random.shuffle(inner)
            return type(node)(tuple(inner))


@given(_NODES, _VALUES, st.randoms())
def test_the_order_in_which_it_is_written_does_not_matter(
    node: Node, values: dict[str, Verdict], random: Random
) -> None:
    one, other = decide(node, readings(**values)), decide(shuffled(node, random), readings(**values))
    assert one.verdict == other.verdict
    assert set(one.deciding) == set(other.deciding)


@given(_NODES, _VALUES)
def test_what_does_not_decide_does_not_matter(node: Node, values: dict[str, Verdict]) -> None:
    decided = decide(node, readings(**values))
    if decided.verdict == "Unknown":
        return
    for name in set(NAMES) - set(decided.deciding):
        unknown: dict[str, Verdict] = {**values, name: "Unknown"}
        assert decide(node, readings(**unknown)).verdict == decided.verdict
