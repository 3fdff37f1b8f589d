"""The bed `ec2`: moto, a simulator of EC2, behind a proxy that adds what it lacks, and guests that boot if asked to."""

from moorage.testbed.ec2.bed import BED

__all__ = ["BED"]
