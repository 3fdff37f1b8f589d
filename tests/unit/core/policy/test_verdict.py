"""Verdicts: Kleene's logic over nested combinations, and a message that names what decides."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import Reading, Verdict, When
from moorage.core.policy.verdict import All, AnyOf, Node, decide, tree

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
        st.builds(All, st.lists(parts, min_size=1, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(parts, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
_VALUES = st.fixed_dictionaries({n: st.sampled_from(sorted(ORDER)) for n in NAMES})


def kleene(node: Node, values: dict[str, Verdict]) -> Verdict:
    match node:
        case str():
            return values[node]
        case All(parts=parts):
            return min((kleene(p, values) for p in parts), key=ORDER.__getitem__)
        case AnyOf(parts=parts):
            return max((kleene(p, values) for p in parts), key=ORDER.__getitem__)


@given(_NODES, _VALUES)
def test_it_is_the_least_of_all_and_the_greatest_of_any(node: Node, values: dict[str, Verdict]) -> None:
    decided = decide(node, readings(**values))
    assert decided.verdict == kleene(node, values)
    assert all(values[name] == decided.verdict for name in decided.deciding)


@given(_NODES, _VALUES)
def test_what_does_not_decide_does_not_matter(node: Node, values: dict[str, Verdict]) -> None:
    decided = decide(node, readings(**values))
    if decided.verdict == "Unknown":
        return
    for name in set(NAMES) - set(decided.deciding):
        unknown: dict[str, Verdict] = {**values, name: "Unknown"}
        assert decide(node, readings(**unknown)).verdict == decided.verdict
