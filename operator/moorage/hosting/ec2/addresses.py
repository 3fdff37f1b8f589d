"""Elastic IP addresses of the account, led to servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorage.hosting.ec2.client import Clients
from moorage.hosting.errors import Invalid

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import AddressTypeDef


class ElasticAddresses:
    """The ability `Addresses`. An address is written as the IP address itself or as its allocation (`eipalloc-…`)."""

    _clients: Clients

    async def attach_address(self, address: str, provider_id: str) -> None:
        """See `Addresses.attach_address`."""
        found = await self._address(address)
        if found.get("InstanceId") == provider_id:
            return
        allocation = found.get("AllocationId", "")
        await self._clients.ec2(
            "AssociateAddress",
            lambda ec2: ec2.associate_address(AllocationId=allocation, InstanceId=provider_id, AllowReassociation=True),
        )

    async def detach_address(self, address: str) -> None:
        """See `Addresses.detach_address`."""
        association = (await self._address(address)).get("AssociationId")
        if association:
            await self._clients.ec2(
                "DisassociateAddress", lambda ec2: ec2.disassociate_address(AssociationId=association)
            )

    async def _address(self, address: str) -> AddressTypeDef:
        """What EC2 tells of it. Raises Invalid(field="address")."""
        name = "allocation-id" if address.startswith("eipalloc-") else "public-ip"
        # By a filter, not by its name: EC2 calls an address that is not the account's a failure of authentication.
        answer = await self._clients.ec2(
            "DescribeAddresses", lambda ec2: ec2.describe_addresses(Filters=[{"Name": name, "Values": [address]}])
        )
        found = answer.get("Addresses", [])
        if len(found) != 1:
            raise Invalid("is no Elastic IP address of this account in this region", field="address")
        return found[0]
