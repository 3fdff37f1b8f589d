"""What the conditions of policies ask outside: the questions of each policy, and the Secrets that they need."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Mapping

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.names import LABEL_ALLOW_PROBES, LABEL_SECRET
from moorage.controllers.context import Context, QueueKey
from moorage.controllers.tables import Tables
from moorage.core.policy import Sample
from moorage.core.targets import AllowList
from moorage.kube.errors import ApiError, NotFound
from moorage.kube.kinds import HOSTING_POLICY, SECRET
from moorage.kube.store import Obj, key_of
from moorage.runtime.clock import Clock
from moorage.runtime.outbound import Outbound
from moorage.runtime.prober import Prober
from moorage.runtime.probing import Asker, Question, SecretUnusable

KEPT_SECRETS = 1024


class Probes:
    """Keeps asking what the policies ask, and has a policy looked at again where an answer changes."""

    def __init__(self, context: Context, tables: Tables, allowed: AllowList, clock: Clock) -> None:
        self._context = context
        self._secrets = Secrets(context, tables)
        self._outbound = Outbound(allowed)
        self._prober = Prober(
            Asker(self._outbound, self._secrets.read, clock).ask,
            lambda key: context.enqueue(HOSTING_POLICY, *key, hot=True),
            clock,
            metrics=context.metrics,
        )
        tables.secrets.subscribe(self._secret)

    def samples(self, policy: HostingPolicy) -> dict[str, Sample]:
        """Ask what the policy asks now, and nothing else; gives the answers that there are."""
        meta = policy.metadata
        questions = {
            c.name: Question(meta.namespace, meta.name, meta.uid, c.name, probe)
            for c in policy.spec.when.conditions
            if (probe := c.metric or c.webhook) is not None
        }
        key = (meta.namespace, meta.name)
        self._prober.watch(key, questions)
        return self._prober.samples(key)

    def forget(self, key: QueueKey) -> None:
        """The policy is gone."""
        self._prober.forget(key)

    async def close(self) -> None:
        """Ask nothing any more."""
        await self._prober.close()
        await self._outbound.close()

    def _secret(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        if _allows(old) or _allows(new):
            self._prober.secret_changed(*key_of(obj))


class Secrets:
    """The contents of Secrets that say that conditions may use them, read once for each of their versions.

    Whoever may write a policy must not have read by it what only others may read, nor what is this controller's own.
    """

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self._kept: OrderedDict[QueueKey, tuple[str, Mapping[str, bytes]]] = OrderedDict()

    async def read(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """The content. Raises SecretUnusable."""
        seen = self._tables.secrets.get(namespace, name)
        if seen is None:
            self._kept.pop((namespace, name), None)
            raise _absent(name)
        if not _allows(seen):
            raise _not_allowed(name)
        version = seen["metadata"]["resourceVersion"]
        kept = self._kept.get((namespace, name))
        if kept is not None and kept[0] == version:
            self._kept.move_to_end((namespace, name))
            return kept[1]
        found = await self._get(namespace, name)
        self._kept[namespace, name] = found["metadata"]["resourceVersion"], _content(found, name)
        self._kept.move_to_end((namespace, name))
        while len(self._kept) > KEPT_SECRETS:
            self._kept.popitem(last=False)
        return self._kept[namespace, name][1]

    async def _get(self, namespace: str, name: str) -> Obj:
        """As it is now, which may be another than was seen."""
        try:
            found = await self._context.client.get(SECRET, namespace, name)
        except NotFound:
            raise _absent(name) from None
        except ApiError as error:
            message = f"the Secret {name!r} cannot be read now: {error}"
            raise SecretUnusable("SecretUnreadable", message) from None
        if not _allows(found):
            raise _not_allowed(name)
        return found


def _allows(secret: Obj | None) -> bool:
    labels = ((secret or {}).get("metadata") or {}).get("labels") or {}
    return labels.get(LABEL_ALLOW_PROBES) == "true" and LABEL_SECRET not in labels


def _content(secret: Obj, name: str) -> Mapping[str, bytes]:
    try:
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
    except (binascii.Error, ValueError):
        raise SecretUnusable("SecretInvalid", f"the Secret {name!r} holds what is not base64") from None


def _absent(name: str) -> SecretUnusable:
    return SecretUnusable("SecretNotFound", f"there is no Secret {name!r}; create it, or correct the reference")


def _not_allowed(name: str) -> SecretUnusable:
    message = f'the Secret {name!r} does not allow it; give it the label {LABEL_ALLOW_PROBES}: "true"'
    return SecretUnusable("SecretNotAllowed", message)
