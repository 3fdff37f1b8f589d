"""The configuration of one server: what is known, what it waits for, and the document that its agent gets.

The way of one reconcile: `compile_config` once per ControllerRevision; `resolve` from facts in caches; where `inputs`
differ from the record's, read `needed_secrets` and `needed_config_maps`, `render`, and `next_revision`; then
`item_states` and `configured` for status. Everything is pure.
"""

from moorage.core.configuration.compiled import CompiledConfig, CompiledItem, compile_config, describe_source
from moorage.core.configuration.dangling import Dangling, dangling
from moorage.core.configuration.document import encode_document
from moorage.core.configuration.facts import (
    GroupFacts,
    MemberFacts,
    OwnFacts,
    PublishedOutput,
    ServerInput,
    StoredObject,
    UpstreamServer,
    Values,
    primary_address,
)
from moorage.core.configuration.record import DeliveryRecord, ItemMark, value_mark
from moorage.core.configuration.render import Rendered, encode_values, remembered_values, render
from moorage.core.configuration.resolve import ItemResolution, Resolution, resolve
from moorage.core.configuration.revision import Delivery, next_revision
from moorage.core.configuration.states import Verdict, configured, group_configured, item_states, pending_items
from moorage.core.configuration.words import MAX_DOCUMENT_BYTES, MAX_ITEM_BYTES, Reason

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "MAX_ITEM_BYTES",
    "CompiledConfig",
    "CompiledItem",
    "Dangling",
    "Delivery",
    "DeliveryRecord",
    "GroupFacts",
    "ItemMark",
    "ItemResolution",
    "MemberFacts",
    "OwnFacts",
    "PublishedOutput",
    "Reason",
    "Rendered",
    "Resolution",
    "ServerInput",
    "StoredObject",
    "UpstreamServer",
    "Values",
    "Verdict",
    "compile_config",
    "configured",
    "dangling",
    "describe_source",
    "encode_document",
    "encode_values",
    "group_configured",
    "item_states",
    "next_revision",
    "pending_items",
    "primary_address",
    "remembered_values",
    "render",
    "resolve",
    "value_mark",
]
