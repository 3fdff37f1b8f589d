"""What status says of a configuration: states of items, whether a server and its group are configured."""

from __future__ import annotations

from datetime import timedelta

from tests.support.configuration import NOW, Channel
from tests.unit.core.test_configuration_delivery import SECRETS, UP, facts

from moorage.core.configuration import (
    Values,
    Verdict,
    configured,
    group_configured,
    pending_items,
    render,
    resolve,
)


def test_states_follow_the_two_revisions_and_since_moves_only_with_them() -> None:
    channel = Channel()
    rendered, _ = channel.render(facts(), SECRETS)
    before = channel.observe(rendered, NOW)
    assert {name: state.state for name, state in before.items()} == {
        "db": "Pending",
        "note": "Pending",
        "port": "Resolved",
        "pw": "Resolved",
        "url": "Pending",
    }
    channel.delivered = 1
    later = NOW + timedelta(seconds=5, microseconds=7)
    after = channel.observe(rendered, later)
    assert (after["port"].state, after["port"].since) == ("Delivered", NOW + timedelta(seconds=5))
    assert (after["db"].state, after["db"].since) == ("Pending", NOW)
    assert channel.observe(rendered, later + timedelta(hours=1)) == after
    rendered, _ = channel.render(facts(UP), SECRETS)
    channel.acknowledged = 1
    assert {name: state.state for name, state in channel.observe(rendered).items()} == {
        "db": "Resolved",
        "note": "Pending",
        "port": "Acknowledged",
        "pw": "Acknowledged",
        "url": "Resolved",
    }


def test_before_the_gate_opens_items_are_resolved_or_pending() -> None:
    channel = Channel()
    resolution = resolve(facts(UP))
    rendered = render(facts(UP), Values(SECRETS))
    assert {state.state for state in channel.observe(rendered).values()} == {"Pending", "Resolved"}
    verdict = configured(resolution, channel.states, channel.record, 0)
    assert verdict == Verdict(False, "Waiting", "configuration has not begun to flow")


def test_an_agent_cannot_acknowledge_what_was_never_served() -> None:
    channel = Channel(delivered=99, acknowledged=99)
    rendered = render(facts(UP), Values(SECRETS))
    assert channel.observe(rendered)["port"].state == "Resolved"


def test_configured_waits_for_required_items_and_says_for_what_since_when() -> None:
    channel = Channel()
    rendered, _ = channel.render(facts(), SECRETS)
    channel.acknowledge()
    channel.observe(rendered)
    verdict = configured(rendered.resolution, channel.states, channel.record, channel.acknowledged)
    assert verdict == Verdict(
        False,
        "Pending",
        "item db: output address of server g-db-0: not published yet, since 2026-11-22T20:00:00Z (and 1 more)",
    )
    rendered, _ = channel.render(facts(UP), SECRETS)
    channel.observe(rendered)
    verdict = configured(rendered.resolution, channel.states, channel.record, channel.acknowledged)
    assert verdict.message == (
        "item db: waiting for the agent to fetch revision 2, since 2026-11-22T20:00:00Z (and 1 more)"
    )
    channel.delivered = 2
    channel.observe(rendered)
    verdict = configured(rendered.resolution, channel.states, channel.record, channel.acknowledged)
    assert "waiting for the agent to apply revision 2" in verdict.message
    channel.acknowledge()
    channel.observe(rendered)
    verdict = configured(rendered.resolution, channel.states, channel.record, channel.acknowledged)
    assert verdict == Verdict(True, "Configured", "every required item is acknowledged; 1 optional item is pending")


def test_a_new_controller_revision_must_be_applied_even_without_items() -> None:
    channel = Channel()
    rendered, _ = channel.render(facts(text="steps: [{name: s, script: a}]", revision="r1"))
    channel.acknowledge()
    assert configured(rendered.resolution, (), channel.record, channel.acknowledged).holds
    rendered, _ = channel.render(facts(text="steps: [{name: s, script: b}]", revision="r2"))
    verdict = configured(rendered.resolution, (), channel.record, channel.acknowledged)
    assert verdict == Verdict(False, "Waiting", "waiting for the agent to apply revision 2")


def test_a_group_tells_its_oldest_pending_items_and_how_many_there_are() -> None:
    channel = Channel()
    rendered, _ = channel.render(facts(), SECRETS)
    channel.observe(rendered)
    young = [state.model_copy(update={"since": NOW + timedelta(seconds=1)}) for state in channel.states]
    items, total = pending_items({"g-web-1": young, "g-web-0": channel.states}, limit=4)
    assert total == 6
    assert [(item.server, item.item) for item in items] == [
        ("g-web-0", "db"),
        ("g-web-0", "note"),
        ("g-web-0", "url"),
        ("g-web-1", "db"),
    ]
    assert items[0].waiting_for == "output address of server g-db-0: not published yet"


def test_a_group_is_configured_when_every_server_is() -> None:
    done, waiting = Verdict(True, "Configured", ""), Verdict(False, "Pending", "item db: …")
    assert group_configured({"a": done, "b": done}, 2).holds
    assert group_configured({"a": done}, 2) == Verdict(False, "Progressing", "1 of 2 servers exist")
    told = group_configured({"a": done, "b": waiting, "c": waiting}, 3)
    assert told == Verdict(False, "Pending", "server b: item db: … (and 1 more)")
