"""Where questions of policies may go."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from moorage.core.targets import AllowList, TargetError, target_of

LIST = AllowList.of(
    [
        "https://prom.example.org:9090",
        "http://prometheus.monitoring.svc",
        "https://*.team.example.org",
        "http://127.0.0.1:9091",
        "https://[fd00::1]:8443/",
        "",
        "10.96.0.0/16",
    ]
)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://prom.example.org:9090/api/v1/query", True),
        ("https://PROM.example.org:9090", True),
        ("https://prom.example.org", False),
        ("http://prom.example.org:9090", False),
        ("https://prom.example.org.:9090", False),
        ("https://xprom.example.org:9090", False),
        ("http://prometheus.monitoring.svc:80/x", True),
        ("http://prometheus.monitoring.svc:8080", False),
        ("https://a.team.example.org", True),
        ("https://a.b.team.example.org", True),
        ("https://team.example.org", False),
        ("https://evilteam.example.org", False),
        ("http://127.0.0.1:9091", True),
        ("http://127.0.0.2:9091", False),
        ("http://2130706433:9091", False),
        ("http://0x7f.1:9091", False),
        ("https://[fd00::1]:8443", True),
        ("https://[fd00::2]:8443", False),
    ],
)
def test_scheme_host_and_port_must_be_listed(url: str, allowed: bool) -> None:
    assert LIST.allows(target_of(url)) is allowed
    assert not AllowList().allows(target_of(url))


@pytest.mark.parametrize(
    "url", ["ftp://h", "https://", "https://u:p@h", "https://u@h", "https://h?x=1", "https://h#f", "https://h:0", "h:9"]
)
def test_what_is_no_plain_url_has_no_target(url: str) -> None:
    with pytest.raises(TargetError):
        target_of(url)


@pytest.mark.parametrize("host", ["a.example.org", "prom.example.org"])
@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("93.184.216.34", True),
        ("10.0.0.7", True),
        ("192.168.1.1", True),
        ("fd12::7", True),
        ("2001:db8::1", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("169.254.169.254", False),
        ("169.254.1.1", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("::7f00:1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("fd00:ec2::254", False),
        ("fd20:ce::254", False),
        ("::ffff:169.254.169.254", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a9fe:a9fe", False),
    ],
)
def test_a_name_must_not_lead_to_what_is_of_the_machine_or_its_link(host: str, address: str, reached: bool) -> None:
    target = target_of(f"https://{host}:9090")
    assert AllowList().reaches(target, ip_address(address)) is reached


def test_a_listed_range_may_be_led_to_whatever_it_is() -> None:
    allowed = AllowList.of(["127.0.0.0/8", "169.254.169.254"])
    target = target_of("http://localhost:9090")
    assert allowed.reaches(target, ip_address("127.0.0.1"))
    assert allowed.reaches(target, ip_address("169.254.169.254"))
    assert not allowed.reaches(target, ip_address("169.254.169.253"))
    assert not allowed.allows(target)


def test_an_address_that_is_listed_itself_is_asked_and_no_other() -> None:
    target = target_of("http://127.0.0.1:9091")
    assert LIST.reaches(target, ip_address("127.0.0.1"))
    assert not LIST.reaches(target, ip_address("127.0.0.2"))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("prom.example.org", "write a target such as"),
        ("https://prom.example.org/path", "has a path"),
        ("https://*", "no host name"),
        ("https://a.*.org", "no host name"),
        ("https://u:p@h", "is not http"),
        ("10.0.0.1/8", "write a target such as"),
        ("ftp://h", "is not http"),
    ],
)
def test_an_entry_that_is_none_is_told_with_its_remedy(entry: str, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        AllowList.of([entry])


def test_a_target_is_spelled_as_it_is_listed() -> None:
    for entry in ("https://prom.example.org:9090", "http://prometheus.monitoring.svc", "https://[fd00::1]:8443"):
        assert str(target_of(entry)) == entry
