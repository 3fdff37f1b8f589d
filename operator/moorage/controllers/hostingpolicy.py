"""The reconciler of HostingPolicy: the readings that groups share, and when they are looked at next."""

from __future__ import annotations

import logging
from datetime import timedelta

from moorage.api import conditions as c
from moorage.api.hostingpolicy import HostingPolicy, HostingPolicyStatus
from moorage.api.meta import Condition
from moorage.controllers.context import Context, QueueKey
from moorage.controllers.probes import Probes
from moorage.controllers.resources import ResourceReadings
from moorage.controllers.service_views import ServiceViews
from moorage.controllers.tables import Tables
from moorage.core.expressions import INVALID as EXPRESSION_INVALID
from moorage.core.placement import invalid_expressions
from moorage.core.policy import PolicyResult, evaluate_policy, reads_services, why_never_met
from moorage.core.policy.futile import futile
from moorage.core.problems import joined
from moorage.core.timing import earliest
from moorage.kube.apply import Written
from moorage.kube.errors import InvalidObject
from moorage.kube.kinds import HOSTING_POLICY
from moorage.runtime.workers import AGAIN, DONE, Result

log = logging.getLogger(__name__)


class PolicyController:
    """Reconciles HostingPolicies. A reading is written when its truth or its reason changes, not when time passes."""

    def __init__(
        self, context: Context, tables: Tables, services: ServiceViews, probes: Probes, resources: ResourceReadings
    ) -> None:
        self._context = context
        self._tables = tables
        self._services = services
        self._probes = probes
        self._resources = resources

    async def reconcile(self, key: QueueKey) -> Result:
        """Read every condition, say what was found, and come back when one can change by itself."""
        obj = self._tables.policies.get(*key)
        if obj is None:
            self._forget(key)
            return DONE
        try:
            policy = self._tables.policies.parse(obj)
        except InvalidObject as error:
            log.error("cannot be read: %s", error)
            self._forget(key)
            return DONE
        if policy.metadata.deleting:
            self._forget(key)
            return DONE
        now, uid = self._context.clock.now(), policy.metadata.uid
        probed, seen = self._probes.samples(policy), self._resources.samples(policy, now)
        labels = self._tables.namespace_labels(policy.metadata.namespace)
        # Seeing all services costs as much as there are: who does not read them does not pay for it.
        # What was not looked at in time stands as it was seen last: called unavailable, it could release what runs.
        services = self._services.views() if reads_services(policy.spec.when) else ()
        unread = self._services.unread_until(services, now)
        samples = {**probed, **seen}
        result = evaluate_policy(policy.spec, services, policy.status, now, labels, samples, uid=uid, unread=unread)
        status = self._status(policy, result)
        changed = [(r.name, r.value) for r in status.readings] != [(r.name, r.value) for r in policy.status.readings]
        written = await self._context.writer.write(
            HOSTING_POLICY,
            obj,
            status.to_dict(),
            hard=changed or policy.status.observed_generation != policy.metadata.generation,
        )
        if written is Written.CONFLICT:
            return AGAIN
        wake = earliest(result.next_check, result.look_again)
        if wake is None:
            return DONE
        return Result(after=max(0.001, (wake - now) / timedelta(seconds=1)))

    def _forget(self, key: QueueKey) -> None:
        self._probes.forget(key)
        self._resources.forget(key)

    def _status(self, policy: HostingPolicy, result: PolicyResult) -> HostingPolicyStatus:
        now, generation = self._context.clock.now(), policy.metadata.generation
        unselectable = invalid_expressions(policy.spec.select)
        if result.invalid or unselectable:
            reason = result.invalid[0].reason if result.invalid else EXPRESSION_INVALID
            message = joined(part for part in (why_never_met(result.invalid), *unselectable) if part)
            found: tuple[Condition, ...] = (
                c.condition(c.READY, False, reason, message, now, generation),
                c.condition(c.STALLED, True, reason, message, now, generation),
            )
        else:
            told = "; ".join((result.message, *futile(policy.spec)))
            found = (c.condition(c.READY, True, "Evaluated", told, now, generation),)
        return HostingPolicyStatus(
            observed_generation=generation,
            conditions=c.replace(policy.status.conditions, found),
            readings=result.readings,
            next_check_time=result.next_check,
        )
