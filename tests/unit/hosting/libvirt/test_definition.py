"""What is written into a domain's definition comes out of it again, whatever characters are in it."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.hosting.errors import Invalid, Unavailable
from moorage.hosting.libvirt import definition
from moorage.hosting.libvirt.definition import Plan, Server, Task
from moorage.hosting.libvirt.settings import LibvirtSettings, Nic

SETTINGS = LibvirtSettings.model_validate(
    {
        "sizes": [
            {"name": "tiny", "cpu": 1, "memory": "128Mi"},
            {"name": "large", "cpu": 4, "memory": "2Gi", "disk": "20Gi"},
        ]
    }
)
KEY = "m-aaaaaaaaaaaaaaaaaaaaaaaaaa"
LEGAL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))


def plan(
    name: str = "web", tags: dict[str, str] | None = None, user_data: str = "#!/bin/sh\n", nic: Nic | None = None
) -> Plan:
    """Of a server of the size tiny."""
    server = Server(
        key=KEY,
        name=name,
        image="debian.qcow2",
        offering="tiny",
        request="0123",
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        image_pool="images",
        pool="default",
        disk=None,
        autostart=True,
    )
    size = SETTINGS.size("tiny")
    assert size is not None
    uuid = "92b68c1e-5eac-4461-830e-832344b4d4f6"
    return Plan(uuid, server, tags or {}, Task("create", user_data), size, nic or Nic())


def xml(of: Plan) -> str:
    return definition.domain_xml(of, SETTINGS, kind="kvm", folder="/pool")


@given(name=LEGAL, tags=st.dictionaries(LEGAL, LEGAL, max_size=4), user_data=st.text(st.characters(codec="utf-8")))
def test_what_is_written_is_read(name: str, tags: dict[str, str], user_data: str) -> None:
    wanted = plan(name, tags, user_data)
    found = definition.parse(xml(wanted))
    assert (found.server, found.tags, found.task) == (wanted.server, tags, wanted.task)
    assert (found.uuid, found.name, found.leases) == (wanted.uuid, KEY, True)


def test_markup_in_names_and_tags_stays_text() -> None:
    evil = "</title><devices><hostdev/></devices>&amp;\"'<!--"
    root = ET.fromstring(xml(plan(evil, {evil: evil})))
    assert root.findtext("title") == evil
    assert root.find("devices/hostdev") is None
    assert len(root.findall("devices")) == 1


@pytest.mark.parametrize(("changes", "field"), [({"name": "bell \a"}, "name"), ({"tags": {"a": "\x00"}}, "tags")])
def test_what_no_xml_can_hold_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        xml(plan(**changes))  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("nic", "source"),
    [
        (Nic(), {"network": "default"}),
        (Nic(type="bridge", name="br0"), {"bridge": "br0"}),
        (Nic(type="user"), None),
    ],
)
def test_the_card_is_connected_as_asked(nic: Nic, source: dict[str, str] | None) -> None:
    card = ET.fromstring(xml(plan(nic=nic))).find("devices/interface")
    assert card is not None
    assert card.get("type") == nic.type
    found = card.find("source")
    assert (found.attrib if found is not None else None) == source


def test_user_data_is_in_no_repr() -> None:
    assert "secret-token" not in repr(plan(user_data="secret-token"))


def test_metadata_that_is_set_has_no_namespace_of_its_own() -> None:
    assert definition.tags_xml({"a": "b"}) == '<tags><tag name="a" value="b" /></tags>'
    assert definition.task_xml(Task("delete")) == '<task name="delete" />'


def test_another_size_changes_memory_processors_and_name() -> None:
    size = SETTINGS.size("large")
    assert size is not None
    root = ET.fromstring(definition.resized(xml(plan()), "large", size, restart=True))
    found = definition.parse(ET.tostring(root, encoding="unicode"))
    assert found.server is not None
    assert (found.server.offering, found.task) == ("large", Task("restart"))
    assert (root.findtext("memory"), root.findtext("vcpu")) == (str(2 * 1024**3), "4")
    stopped = definition.parse(definition.resized(xml(plan()), "large", size, restart=False))
    assert stopped.task is None


def test_a_domain_of_others_has_nothing_of_ours() -> None:
    found = definition.parse("<domain><name>x</name><uuid>u</uuid><devices/></domain>")
    assert (found.server, found.tags, found.task, found.leases, found.console) == (None, {}, None, False, None)


@pytest.mark.parametrize("text", ["", "<domain", "<domain><name>x</name></domain>", "no xml"])
def test_nonsense_is_told(text: str) -> None:
    with pytest.raises(Unavailable):
        definition.parse(text)


def test_metadata_of_ours_that_makes_no_sense_is_told() -> None:
    with pytest.raises(Unavailable):
        definition.parse(xml(plan()).replace('created="2026', 'created="soon'))


@pytest.mark.parametrize(
    ("pool", "folder"),
    [
        ("<pool type='dir'><target><path>/a</path></target></pool>", "/a"),
        ("<pool type='logical'><target><path>/dev/vg</path></target></pool>", None),
    ],
)
def test_only_pools_of_folders_are_taken(pool: str, folder: str | None) -> None:
    assert definition.pool_folder(pool) == folder


def test_an_overlay_names_its_image() -> None:
    text = definition.volume_xml("m.qcow2", 5, "qcow2", base=("/images/a&b", "raw"))
    assert (definition.volume_base(text), definition.volume_format(text)) == ("/images/a&b", "qcow2")
    assert definition.volume_base(definition.volume_xml("m.iso", 5, "raw")) is None


@pytest.mark.parametrize(
    ("name", "host"), [("web-0", "web-0"), ("a_b c", "a-b-c"), ("--", "server"), ("x" * 80, "x" * 63), ("ü", "server")]
)
def test_hosts_get_names_that_hosts_can_have(name: str, host: str) -> None:
    assert definition.hostname(name) == host


def test_a_server_has_one_id_alone() -> None:
    assert definition.uuid_of("4dea22b3-1d52-d8f3-2516-782e98ab3fa0") == "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
    for other in (
        "4DEA22B3-1D52-D8F3-2516-782E98AB3FA0",
        "4dea22b31d52d8f32516782e98ab3fa0",
        "{4dea22b3-1d52-d8f3-2516-782e98ab3fa0}",
        "urn:uuid:4dea22b3-1d52-d8f3-2516-782e98ab3fa0",
        "web",
        "",
    ):
        with pytest.raises(Invalid) as caught:
            definition.uuid_of(other)
        assert caught.value.field == "providerID"
