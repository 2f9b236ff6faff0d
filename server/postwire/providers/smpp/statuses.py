"""What a command_status means (SMPP 3.4, section 5.1.3), for a message and for a bind.

Vendors have statuses of their own, 0x400 to 0x4FF by the specification. Of these, and of those that are reserved, it is
not known whether they are final.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.message import OutboundMessage
from postwire.core.outcome import Outcome
from postwire.providers.http.verdicts import Meaning, account, failed, not_here, rejected, sender_refused, throttled
from postwire.providers.smpp.pdu import Status

_NO_MESSAGE: Final = not_here("the centre refuses the message as malformed")

TABLE: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        # All rows: SMPP 3.4, section 5.1.3, table 5-2. Where it leaves open whose fault something is, a comment says
        # what was chosen.
        #
        # The message, as it is, or the way it was written.
        Status.ESME_RINVMSGLEN: not_here("the centre does not take a message of this length"),
        Status.ESME_RINVPRTFLG: _NO_MESSAGE,
        Status.ESME_RINVREGDLVFLG: not_here("the centre does not take the request for a receipt"),
        Status.ESME_RINVMSGID: _NO_MESSAGE,
        Status.ESME_RINVNUMDESTS: _NO_MESSAGE,
        Status.ESME_RINVDLNAME: _NO_MESSAGE,
        Status.ESME_RINVDESTFLAG: _NO_MESSAGE,
        Status.ESME_RINVSUBREP: _NO_MESSAGE,
        Status.ESME_RINVESMCLASS: not_here("the centre does not take messages of several parts in this form"),
        Status.ESME_RCNTSUBDL: _NO_MESSAGE,
        Status.ESME_RINVREPFLAG: _NO_MESSAGE,
        Status.ESME_RINVNUMMSGS: _NO_MESSAGE,
        Status.ESME_RINVSCHED: _NO_MESSAGE,
        Status.ESME_RINVEXPIRY: not_here("the centre does not take the validity period"),
        Status.ESME_RINVDFTMSGID: _NO_MESSAGE,
        Status.ESME_RINVOPTPARSTREAM: _NO_MESSAGE,
        Status.ESME_ROPTPARNOTALLWD: not_here("the centre does not take an optional parameter"),
        Status.ESME_RINVPARLEN: _NO_MESSAGE,
        Status.ESME_RMISSINGOPTPARAM: _NO_MESSAGE,
        Status.ESME_RINVOPTPARAMVAL: _NO_MESSAGE,
        # The recipient. The type of a number is not theirs: we give the same for all, so that it is the centre which
        # wants another.
        Status.ESME_RINVDSTADR: rejected("the number is not valid"),
        Status.ESME_RINVDSTTON: not_here("the centre wants another type of number"),
        Status.ESME_RINVDSTNPI: not_here("the centre wants another numbering plan"),
        # Too much at once.
        Status.ESME_RTHROTTLED: throttled("messages come faster than the account may send"),
        Status.ESME_RMSGQFUL: throttled("the queue of the centre is full"),
        # The account. RALYBND is not here: of a bind, it may be our last connection, of which the centre has not seen
        # the end.
        Status.ESME_RBINDFAIL: account(
            "the centre refuses the bind: check the account, and how many binds it may have"
        ),
        Status.ESME_RINVPASWD: account("the password is not accepted"),
        Status.ESME_RINVSYSID: account("the system_id is not accepted"),
        Status.ESME_RINVSERTYP: account("the service_type is not accepted"),
        Status.ESME_RINVSYSTYP: account("the system_type is not accepted"),
        # The centre, or the session.
        Status.ESME_RINVCMDLEN: failed("the centre could not read the request"),
        Status.ESME_RINVCMDID: failed("the centre does not know the request"),
        Status.ESME_RINVBNDSTS: failed("the centre does not hold the session for bound"),
        Status.ESME_RALYBND: failed("the centre holds the account for bound already"),
        Status.ESME_RSYSERR: failed("an error within the centre"),
        Status.ESME_RUNKNOWNERR: failed("an error within the centre, which it does not know itself"),
        Status.ESME_RX_T_APPN: failed("the centre cannot take the message now"),
        # What centres answer for whatever else they refuse, contents and numbers among it: it says little of them.
        Status.ESME_RSUBMITFAIL: not_here("the centre refuses the message, without saying why"),
        Status.ESME_RX_P_APPN: not_here("the centre refuses the message, without saying why"),
        Status.ESME_RX_R_APPN: not_here("the centre refuses the message, without saying why"),
        Status.ESME_RDELIVERYFAILURE: not_here("the message could not be delivered at once"),
        # For requests that are not made here.
        Status.ESME_RCANCELFAIL: _NO_MESSAGE,
        Status.ESME_RREPLACEFAIL: _NO_MESSAGE,
        Status.ESME_RQUERYFAIL: _NO_MESSAGE,
    }
)

_SENDER: Final = frozenset({Status.ESME_RINVSRCADR, Status.ESME_RINVSRCTON, Status.ESME_RINVSRCNPI})
"""The sender is not accepted, or not as what it seems to be."""


def name_of(status: int) -> str:
    """A status as it is kept: by its name, or as a number where it has none."""
    try:
        return Status(status).name
    except ValueError:
        return f"0x{status:08X}"


def is_throttled(status: int) -> bool:
    """Whether the same request may be taken a little later."""
    meaning = TABLE.get(status)
    return meaning is not None and meaning.outcome is Outcome.RATE_LIMITED


def meaning_of(status: int, message: OutboundMessage) -> Meaning:
    """What a status other than ESME_ROK says of a message, in a submit_sm_resp or a generic_nack."""
    if status in _SENDER:
        return sender_refused(message)
    return TABLE.get(status) or not_here("the centre refuses the message, for a reason that is not known to be final")


def bind_meaning_of(status: int) -> Meaning:
    """What a status other than ESME_ROK says of a bind. One that says nothing of the account's is an error, upon which
    the bind is tried again."""
    if status == Status.ESME_RINVCMDID:  # that of version 3.3, which has no transceivers
        return account("the centre does not know this bind: try another value of `bind`")
    meaning = TABLE.get(status)
    if meaning and meaning.outcome in (Outcome.MISCONFIGURED, Outcome.RATE_LIMITED):
        return meaning
    return failed("the centre refuses the bind" if meaning is None else f"the bind is refused: {meaning.detail}")
