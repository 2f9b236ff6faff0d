"""The one path of a message, from the call to the recorded outcome."""

from postwire.delivery.audit_trail import AuditTrail
from postwire.delivery.batch import Frame
from postwire.delivery.erasing import MOST_ERASED
from postwire.delivery.inbox import InboxAccess
from postwire.delivery.provider_control import Control, ProviderStatus
from postwire.delivery.router import Candidate, Explanation
from postwire.delivery.service import Delivery
from postwire.delivery.settings import GUARD_KEYS, QUOTA_KEYS, Limits, quotas_from
from postwire.delivery.stats import BacklogStatus, Stats
from postwire.delivery.suppressions import (
    MOST_ADDRESSES,
    Addresses,
    NewSuppression,
    Suppressions,
    WrongKey,
)
from postwire.delivery.tenants import Tenants, TenantUsage
from postwire.delivery.watch import WatchEvent

__all__ = [
    "GUARD_KEYS",
    "MOST_ADDRESSES",
    "MOST_ERASED",
    "QUOTA_KEYS",
    "Addresses",
    "AuditTrail",
    "BacklogStatus",
    "Candidate",
    "Control",
    "Delivery",
    "Explanation",
    "Frame",
    "InboxAccess",
    "Limits",
    "NewSuppression",
    "ProviderStatus",
    "Stats",
    "Suppressions",
    "TenantUsage",
    "Tenants",
    "WatchEvent",
    "WrongKey",
    "quotas_from",
]
