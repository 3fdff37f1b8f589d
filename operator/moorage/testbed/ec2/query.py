"""EC2's wire format: forms that ask, XML that answers."""

from __future__ import annotations

import re
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_NAMESPACE_OF_ROOT = re.compile(rb' xmlns="[^"]*"')
XML = "text/xml"

Form = Mapping[str, str]


class Refused(Exception):
    """EC2's refusal: an error code, its HTTP status and a text."""

    def __init__(self, code: str, message: str, status: int = 400, retry_after: float | None = None) -> None:
        super().__init__(code)
        self.code, self.message, self.status, self.retry_after = code, message, status, retry_after

    def body(self, service: str) -> bytes:
        """As the service writes it: STS has another form than EC2."""
        error = f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
        if service == "sts":
            text = (
                '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                f"{error}</Error><RequestId>{request_id()}</RequestId></ErrorResponse>"
            )
        else:
            text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>{request_id()}</RequestID></Response>"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the simulator, or one of ours."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is no error."""
        return self.status == 200

    def tree(self) -> ET.Element:
        """The answer as XML, its names without their namespace."""
        return ET.fromstring(_NAMESPACE_OF_ROOT.sub(b"", self.body, count=1))  # noqa: S314 - the simulator's own


def request_id() -> str:
    """An id of a request, as EC2 writes them."""
    raw = secrets.token_hex(16)
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


def parse(body: bytes) -> dict[str, str]:
    """The form of a request."""
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def listed(form: Form, name: str) -> list[str]:
    """The values `name.1`, `name.2` and so on."""
    found: list[str] = []
    while (value := form.get(f"{name}.{len(found) + 1}")) is not None:
        found.append(value)
    return found


def filters(form: Form) -> dict[str, list[str]]:
    """The filters of a Describe."""
    found: dict[str, list[str]] = {}
    number = 1
    while (name := form.get(f"Filter.{number}.Name")) is not None:
        found[name] = listed(form, f"Filter.{number}.Value")
        number += 1
    return found


def without_filter(form: Form, name: str) -> dict[str, str]:
    """The form without one of its filters."""
    kept = {key: value for key, value in form.items() if not key.startswith("Filter.")}
    remaining = [(other, values) for other, values in filters(form).items() if other != name]
    for number, (other, values) in enumerate(remaining, 1):
        kept[f"Filter.{number}.Name"] = other
        kept |= {f"Filter.{number}.Value.{index}": value for index, value in enumerate(values, 1)}
    return kept


def text(element: ET.Element, name: str) -> str:
    """The text of a child, "" where there is none."""
    return element.findtext(name, "")


def instances(tree: ET.Element) -> Iterator[ET.Element]:
    """The instances in an answer to DescribeInstances or RunInstances."""
    for found in tree.iter("instancesSet"):
        yield from found.findall("item")


def state(instance: ET.Element) -> str:
    """The name of an instance's state."""
    found = instance.find("instanceState")
    return "" if found is None else text(found, "name")


def show_running(instance: ET.Element) -> None:
    """Let an instance look as if it still ran."""
    found = instance.find("instanceState")
    if found is not None:
        for name, value in (("code", "16"), ("name", "running")):
            child = found.find(name)
            if child is not None:
                child.text = value


def keep_instances(tree: ET.Element, gone: set[str]) -> None:
    """Take instances out of an answer, and reservations that are empty then."""
    reservations = tree.find("reservationSet")
    for reservation in list(reservations if reservations is not None else ()):
        held = reservation.find("instancesSet")
        for instance in list(held if held is not None else ()):
            if held is not None and text(instance, "instanceId") in gone:
                held.remove(instance)
        if reservations is not None and (held is None or len(held) == 0):
            reservations.remove(reservation)


def as_run_answer(tree: ET.Element) -> bytes:
    """An answer to DescribeInstances with one reservation, as RunInstances would have given it."""
    answer = ET.Element("RunInstancesResponse")
    ET.SubElement(answer, "requestId").text = request_id()
    reservation = next(iter(tree.iter("reservationSet")), None)
    for item in reservation if reservation is not None else ():
        answer.extend(list(item))
        break
    return dump(answer)


def dump(tree: ET.Element) -> bytes:
    """The bytes of an answer."""
    tree.set("xmlns", NAMESPACE)
    raw: bytes = ET.tostring(tree, encoding="utf-8", xml_declaration=True)
    return raw
