"""What the `resource` conditions of policies are: what they read is followed while a policy needs it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Final, cast

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.resource import ResourceExpression
from moorage.controllers.context import Context, QueueKey
from moorage.core.policy import overlong
from moorage.core.policy.resource import Unseen, refusal, resource_conditions, sample, variable_of
from moorage.core.policy.samples import Sample
from moorage.core.resource_expressions import Objects
from moorage.core.resource_expressions import ResourceExpression as Compiled
from moorage.kube.following import Following
from moorage.kube.kinds import HOSTING_POLICY
from moorage.kube.wanted import Found, Lacking, Wanted

DELAY: Final = 0.02
DELAY_PER_MIB: Final = 0.3
"""Seconds that a change waits for company: the more there is to read, the more an evaluation costs."""


class ResourceReadings:
    """Kept in memory alone: after a restart it is read again before anything is said."""

    def __init__(self, context: Context, *, recheck: float) -> None:
        self._context = context
        self._following = Following(context.client, self._changed, controller=context.namespace, recheck=recheck)
        self._prepared: dict[Wanted, tuple[int, Objects]] = {}

    def samples(self, policy: HostingPolicy, now: datetime) -> Mapping[str, Sample]:
        """What each `resource` condition of the policy is, by its name.

        One whose first answer is still to come is left out; the policy is looked at again when it is there.
        """
        account = policy.spec.service_account_name
        wanted: dict[str, tuple[ResourceExpression, Compiled, Wanted]] = {}
        samples: dict[str, Sample] = {}
        unread = overlong(policy.spec.when)
        for name, spec in resource_conditions(policy.spec.when.conditions).items():
            if name in unread:
                continue
            compiled = refusal(spec, account)
            if isinstance(compiled, Unseen):
                samples[name] = Sample(None, compiled.reason, compiled.message, now)
            else:
                wanted[name] = spec, compiled, _wanted(policy.metadata.namespace, account or "", spec, compiled)
        self._following.need(_key(policy), (want for _, _, want in wanted.values()))
        for name, (spec, compiled, want) in wanted.items():
            seen = self._seen(want, spec)
            if seen is not None:
                samples[name] = sample(spec, compiled, seen, now)
        return samples

    def forget(self, key: QueueKey) -> None:
        """The policy is gone."""
        self._following.need(key, ())

    async def stop(self) -> None:
        """End all watches."""
        await self._following.stop()

    def _seen(self, wanted: Wanted, spec: ResourceExpression) -> Objects | Unseen | None:
        match self._following.seen(wanted):
            case None:
                return None
            case Lacking(reason, message):
                self._prepared.pop(wanted, None)
                return Unseen(reason, message)
            case Found(objects, revision):
                known = self._prepared.get(wanted)
                if known is None or known[0] != revision:
                    self._clear()
                    known = self._prepared[wanted] = revision, Objects(variable_of(spec), objects)
                return known[1]

    def _clear(self) -> None:
        """Nothing is kept of what nobody needs any more."""
        for gone in [w for w in self._prepared if w not in self._following]:
            del self._prepared[gone]

    def _changed(self, user: Hashable, size: int) -> None:
        namespace, name = cast(QueueKey, user)
        self._context.enqueue(HOSTING_POLICY, namespace, name, hot=True, after=DELAY + DELAY_PER_MIB * size / 2**20)


def _wanted(namespace: str, account: str, spec: ResourceExpression, compiled: Compiled) -> Wanted:
    return Wanted(
        namespace,
        account,
        spec.api_version,
        spec.kind,
        where=spec.namespace or "",
        name=spec.name or "",
        labels=spec.selector.query,
        paths=compiled.paths,
    )


def _key(policy: HostingPolicy) -> QueueKey:
    return policy.metadata.namespace, policy.metadata.name
