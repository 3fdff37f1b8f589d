"""What is known of Libcloud's driver `ec2`."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode
from xml.etree import ElementTree

from libcloud.compute.base import Node, NodeImage, NodeSize
from libcloud.compute.drivers.ec2 import (
    NAMESPACE,
    VALID_EC2_REGIONS,
    EC2Connection,
    EC2NodeDriver,
    EC2Response,
)

from moorage.hosting.contract import ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
)
from moorage.hosting.http import retry_after
from moorage.hosting.libcloud.exchange import Exchange, Reply
from moorage.hosting.libcloud.profiles import Details, Profile, Service, only_id

_STATES: Final[Mapping[str, ServerState]] = {
    "pending": ServerState.PENDING,
    "running": ServerState.RUNNING,
    "stopping": ServerState.STOPPED,
    "stopped": ServerState.STOPPED,
    "shutting-down": ServerState.TERMINATING,
}
_CLASSES: Final[Mapping[type[HostingError], str]] = {
    Throttled: "RequestLimitExceeded Throttling ThrottlingException TooManyRequestsException SlowDown",
    CapacityError: "InsufficientInstanceCapacity InsufficientHostCapacity InsufficientCapacity UnfulfillableCapacity "
    "InsufficientFreeAddressesInSubnet SpotMaxPriceTooLow",
    QuotaError: "InstanceLimitExceeded VcpuLimitExceeded MaxSpotInstanceCountExceeded ResourceLimitExceeded",
    AuthenticationError: "AuthFailure UnauthorizedOperation InvalidClientTokenId SignatureDoesNotMatch ExpiredToken "
    "IncompleteSignature MissingAuthenticationToken RequestExpired AccessDenied OptInRequired PendingVerification "
    "Blocked InvalidAccessKeyId",
    NotFound: "InvalidInstanceID.NotFound InvalidInstanceID.Malformed",
    KeyConflict: "IdempotentParameterMismatch IdempotentInstanceTerminated",
    Unavailable: "InternalError InternalFailure ServiceUnavailable Unavailable RequestTimeout IncorrectInstanceState",
    Invalid: "InvalidParameterValue InvalidParameter InvalidParameterCombination MissingParameter UnsupportedOperation "
    "VPCIdNotSpecified OperationNotPermitted",
}
_FIELDS: Final[Mapping[str, str]] = {
    "InvalidAMIID.": "image",
    "InvalidInstanceType": "offering",
    "Unsupported": "offering",
    "InvalidSubnet": "settings.references.ex_subnet",
    "InvalidGroup.": "settings.arguments.ex_security_groups",
    "InvalidSecurityGroup": "settings.arguments.ex_security_groups",
    "InvalidKeyPair": "settings.arguments.ex_keyname",
    "InvalidUserData": "userData",
}
_TABLE: Final = {code: made for made, codes in _CLASSES.items() for code in codes.split()}
_NAMESPACE = re.compile(r'xmlns="http://ec2\.amazonaws\.com/doc/[^"]*"')
_OWNER = re.compile(r"<ownerId>(\d{12})</ownerId>")


class AnyNamespace(EC2Response):
    """Services that are compatible with EC2 write its namespace in their own ways; the driver knows one alone, and
    finds nothing in an answer with another."""

    def parse_body(self) -> Any:
        """As the driver's own."""
        self.body = _NAMESPACE.sub(f'xmlns="{NAMESPACE}"', str(self.body), count=1)
        parse: Any = super().parse_body
        return parse()


class PostedConnection(EC2Connection):
    """Sends in the body what the driver would put into the address of a GET.

    Addresses are cut at about 8 KB by servers and proxies, and are written to their logs, user-data and all.
    """

    responseCls = AnyNamespace  # noqa: N815 - Libcloud's name

    def request(
        self,
        action: Any,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        method: Any = "GET",
        raw: Any = False,
        stream: Any = False,
        json: Any = None,
        retry_failed: Any = None,
    ) -> Any:
        """As the driver's own."""
        if method == "GET" and params:
            data, method = urlencode({**params, "Version": self.version}), "POST"
            headers = {**(headers or {}), "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
            params = None
        send: Any = super().request
        return send(action, params, data, headers, method, raw, stream, json, retry_failed)


class Ec2Driver(EC2NodeDriver):
    """Libcloud's own, with that connection."""

    connectionCls = PostedConnection  # noqa: N815 - Libcloud's name


class Ec2(Profile):
    """Tags and a client token in RunInstances; lists in one answer; typed codes."""

    whole_lists = True
    idempotent = True
    retags = True
    console = True
    max_user_data: int | None = 16_384

    def __init__(self, driver: Any) -> None:
        super().__init__(Ec2Driver)

    def arguments(self, service: Service) -> dict[str, Any]:
        """As most drivers take them, with a region that Libcloud knows."""
        found = super().arguments(service)
        if "region" not in found or found["region"] not in VALID_EC2_REGIONS:
            raise Invalid("must be a region that Libcloud knows, such as eu-central-1", field="region")
        return found

    def account(self, driver: Any, exchange: Exchange) -> str | None:
        """The owner of the default security group, which every account has."""
        driver.ex_get_security_groups(filters={"group-name": "default"})
        reply = exchange.last
        owner = _OWNER.search(reply.body.decode(errors="replace")) if reply is not None else None
        return owner.group(1) if owner is not None else None

    def nodes(self, driver: Any, exchange: Exchange, key: str | None = None) -> list[Node]:
        """The driver's own way asks for one page and does not see that there are more."""
        asked = {"Action": "DescribeInstances", "Filter.1.Name": "instance-state-name"}
        # EC2 shows terminated ones for an hour.
        asked |= {f"Filter.1.Value.{number}": state for number, state in enumerate(_STATES, start=1)}
        if key is None:
            asked["MaxResults"] = str(self.page_size)
        else:
            asked |= {"Filter.2.Name": "tag:moorage-key", "Filter.2.Value.1": key}
        found: list[Node] = []
        seen: set[str] = set()
        while True:
            answer = driver.connection.request(driver.path, params=asked).object
            found += _nodes(driver, answer)
            token = answer.findtext(f"{{{NAMESPACE}}}nextToken") or ""
            if not token:
                return found
            if token in seen:
                raise Unavailable("the service's list does not go on where it stopped")
            seen.add(token)
            asked = {**asked, "NextToken": token}

    def node(self, driver: Any, exchange: Exchange, provider_id: str) -> Node:
        """DescribeInstances of the one; EC2 has a code for ids that it does not know."""
        if not re.fullmatch(r"i-[0-9a-z]{1,32}", provider_id):
            raise NotFound("the id is not one of an instance of EC2")
        asked = {"Action": "DescribeInstances", "InstanceId.1": provider_id}
        found = _nodes(driver, driver.connection.request(driver.path, params=asked).object)
        if len(found) != 1 or found[0].id != provider_id:
            raise Unavailable("the service answered with another server than the one asked for")
        if self.state(found[0]) is None:
            raise NotFound("the instance is terminated")
        return found[0]

    def handle(self, driver: Any, exchange: Exchange, provider_id: str) -> Node:
        """The id is all that the driver wants."""
        if not re.fullmatch(r"i-[0-9a-z]{1,32}", provider_id):
            raise NotFound("the id is not one of an instance of EC2")
        return only_id(provider_id, driver)

    def size(self, driver: Any, name: str) -> Any:
        """The id is all that the driver wants."""
        return NodeSize(name, name, 0, 0, 0, 0.0, driver)

    def image(self, driver: Any, name: str) -> Any:
        """The id is all that the driver wants."""
        return NodeImage(name, name, driver)

    def size_name(self, size: Any) -> str:
        """The id, such as t3.micro."""
        return str(size.id)

    def tags_of(self, node: Node) -> Mapping[str, str]:
        """Without the one that is the name."""
        return {name: value for name, value in super().tags_of(node).items() if name != "Name"}

    def fixed(self, key: str) -> dict[str, Any]:
        """A client token."""
        return {"ex_clienttoken": key}

    def state(self, node: Node) -> ServerState | None:
        """By EC2's own word, of which Libcloud knows the half."""
        told = str(node.extra.get("status") or node.state)
        return None if told == "terminated" else _STATES.get(told, ServerState.UNKNOWN)

    def details(self, node: Node) -> Details:
        """Of `extra`."""
        extra = node.extra
        return Details(extra.get("image_id"), extra.get("instance_type"), extra.get("availability"))

    def retag(self, driver: Any, exchange: Exchange, node: Node, tags: Mapping[str, str]) -> None:
        """CreateTags leaves other tags as they are. The driver's own way counts from 0, which not all services take."""
        asked = {"Action": "CreateTags", "ResourceId.1": str(node.id)}
        for number, (name, value) in enumerate(sorted(tags.items()), start=1):
            asked |= {f"Tag.{number}.Key": name, f"Tag.{number}.Value": value}
        driver.connection.request(driver.path, params=asked)

    def read_console(self, driver: Any, exchange: Exchange, provider_id: str) -> str:
        """GetConsoleOutput. The driver's own way fails while there is no output."""
        asked = {"Action": "GetConsoleOutput", "InstanceId": str(self.handle(driver, exchange, provider_id).id)}
        driver.connection.request(driver.path, params=asked)
        reply = exchange.last
        text = _texts(reply.body).get("output", "") if reply is not None else ""
        return b64decode(text).decode(errors="replace")

    def creates(self, reply: Reply) -> bool:
        """RunInstances that was answered."""
        return b"Action=RunInstances" in reply.sent and 200 <= reply.status < 300

    def refusal(self, reply: Reply) -> HostingError | None:
        """By the code."""
        code, message = _error(reply.body)
        if not code:
            return None
        text = f"{code}: {message}"
        if code.startswith(("InvalidAMIID", "Invalid", "Unsupported")) and code not in _TABLE:
            field = next((field for start, field in _FIELDS.items() if code.startswith(start)), None)
            return Invalid(text, field=field)
        made = _TABLE.get(code)
        if made is Throttled:
            return Throttled(text, retry_after=retry_after(reply.headers))
        if made is Invalid and "instancetype" in text.lower():
            return Invalid(text, field="offering")
        return made(text) if made is not None else None


def _nodes(driver: Any, answer: Any) -> list[Node]:
    listed = answer.find(f"{{{NAMESPACE}}}reservationSet")
    if listed is None:
        raise Unavailable("the answer is no list of instances")
    return [node for each in listed for node in driver._to_nodes(each, "instancesSet/item")]


def _error(body: bytes) -> tuple[str, str]:
    found = _texts(body)
    return (found.get("Code", ""), found.get("Message", "")) if "Errors" in found else ("", "")


def _texts(body: bytes) -> dict[str, str]:
    """The text of the first element of each name, whatever its namespace."""
    found: dict[str, str] = {}
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - of the provider; expat bounds what entities may grow to
    except ElementTree.ParseError:
        return found
    for element in root.iter():
        found.setdefault(element.tag.rpartition("}")[2], element.text or "")
    return found
