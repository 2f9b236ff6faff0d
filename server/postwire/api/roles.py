"""Generated from protos/ by `make generate`. Do not edit: which roles a method takes, of which a caller needs one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.principal import Role

ROLES: Final[Mapping[str, tuple[Role, ...]]] = MappingProxyType(
    {
        "postwire.v1.AdminService/ListAuditEvents": (Role.ADMIN,),
        "postwire.v1.AdminService/StartRekey": (Role.ADMIN,),
        "postwire.v1.AdminService/GetRekey": (Role.ADMIN,),
        "postwire.v1.AdminService/ListNodes": (Role.OPERATE,),
        "postwire.v1.AdminService/WatchStats": (Role.OPERATE,),
        "postwire.v1.AdminService/ListTenants": (Role.ADMIN,),
        "postwire.v1.AdminService/GetCaller": (Role.SEND, Role.READ, Role.OPERATE, Role.ADMIN),
        "postwire.v1.DispatchService/Dispatch": (Role.SEND,),
        "postwire.v1.DispatchService/DispatchStream": (Role.SEND,),
        "postwire.v1.DispatchService/GetMessage": (Role.SEND, Role.READ),
        "postwire.v1.DispatchService/ListMessages": (Role.READ,),
        "postwire.v1.DispatchService/WatchMessages": (Role.READ,),
        "postwire.v1.DispatchService/CancelMessage": (Role.SEND,),
        "postwire.v1.DispatchService/ResolveMessage": (Role.OPERATE,),
        "postwire.v1.DispatchService/ExplainRoute": (Role.OPERATE,),
        "postwire.v1.DispatchService/EraseMessages": (Role.OPERATE,),
        "postwire.v1.InboxService/ListInbox": (Role.SEND, Role.READ),
        "postwire.v1.InboxService/WatchInbox": (Role.SEND, Role.READ),
        "postwire.v1.InboxService/WaitForMessage": (Role.SEND, Role.READ),
        "postwire.v1.InboxService/ClearInbox": (Role.SEND,),
        "postwire.v1.ProviderService/ListProviders": (Role.OPERATE,),
        "postwire.v1.ProviderService/GetProvider": (Role.OPERATE,),
        "postwire.v1.ProviderService/WatchProviders": (Role.OPERATE,),
        "postwire.v1.ProviderService/DrainProvider": (Role.OPERATE,),
        "postwire.v1.ProviderService/ResumeProvider": (Role.OPERATE,),
        "postwire.v1.ProviderService/ResetBreaker": (Role.OPERATE,),
        "postwire.v1.ProviderService/UpdateMockProvider": (Role.OPERATE,),
        "postwire.v1.SuppressionService/AddSuppressions": (Role.OPERATE,),
        "postwire.v1.SuppressionService/RemoveSuppressions": (Role.OPERATE,),
        "postwire.v1.SuppressionService/CheckSuppressions": (Role.OPERATE,),
        "postwire.v1.SuppressionService/ListSuppressions": (Role.OPERATE,),
    }
)
