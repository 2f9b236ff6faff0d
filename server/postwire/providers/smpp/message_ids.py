"""Ids of messages, which a centre may write in one base when it takes a message, and in another in its receipt.

Appendix B of SMPP 3.4 has ten decimal digits in a receipt, whereas submit_sm_resp has any text. So there are centres
that answer `98F1` and report `0000039153`. Kannel (`msg-id-type`) and Jasmin (`dlr_msgid`) have to be told which; here
that can be found out. What is kept is one form of each id, by which both are the same: hexadecimal digits in capitals,
without zeros ahead. Ids that are too long for a number of 64 bits are nobody's numbers, and stay as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from postwire.core.values import Word
from postwire.providers.http.verdicts import id_of

_HEX: Final = re.compile(r"[0-9A-Fa-f]{1,16}")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}")

REMEMBERED: Final = 20_000
"""Ids that were given last, and by which it is found out how they are reported."""

LEAD: Final = 10
"""By how many receipts more than any other a form must have fitted to be taken for the centre's, from then on."""


class MessageIdFormat(Word):
    """How submit_sm_resp writes ids where receipts write them in the other base.

    As Jasmin's `dlr_msgid` 1 and 2; `auto` is for all others, and finds these out while the process runs.
    """

    AUTO = "auto"
    HEX = "hex"
    """In hexadecimal, and receipts in decimal."""
    DECIMAL = "decimal"
    """In decimal, and receipts in hexadecimal."""


class MessageIds:
    """The ids of one provider. It lives as long as the provider does: `AUTO` remembers."""

    def __init__(self, format: MessageIdFormat) -> None:
        self._format = format
        self._recent: dict[str, None] = {}
        self._fitted = Counter[MessageIdFormat]()
        self._settled: MessageIdFormat | None = None

    @property
    def is_configured(self) -> bool:
        """Whether it is known ahead that receipts write ids in the other base."""
        return self._format is not MessageIdFormat.AUTO

    def given(self, message_id: str) -> str:
        """What is kept of the id in a submit_sm_resp; empty where it cannot be kept."""
        kept = _kept(message_id)
        if kept and not self.is_configured and self._settled is None:
            self._recent.pop(kept, None)
            self._recent[kept] = None
            if len(self._recent) > REMEMBERED:
                del self._recent[next(iter(self._recent))]
        return kept

    def reported(self, message_id: str) -> str:
        """What was kept of the message that a receipt has this id of, as far as can be told."""
        forms = {MessageIdFormat.AUTO: _kept(message_id)}
        if _DECIMAL.fullmatch(message_id):
            forms[MessageIdFormat.HEX] = f"{int(message_id):X}"
        if _HEX.fullmatch(message_id):
            forms[MessageIdFormat.DECIMAL] = str(int(message_id, 16))
        form = self._format if self.is_configured else self._fitting(forms)
        return forms.get(form, forms[MessageIdFormat.AUTO])

    def _fitting(self, forms: dict[MessageIdFormat, str]) -> MessageIdFormat:
        """The form of a reported id by which it is one that was given."""
        if self._settled is not None:
            return self._settled
        known = [form for form, text in forms.items() if text in self._recent]
        if len({forms[form] for form in known}) == 1:  # a single digit is the same in any
            if len(known) == 1:
                self._count(known[0])
            return known[0]
        return max(MessageIdFormat, key=self._fitted.__getitem__)  # as it stands, if none has

    def _count(self, form: MessageIdFormat) -> None:
        self._fitted[form] += 1
        others = max(self._fitted[other] for other in MessageIdFormat if other is not form)
        if self._fitted[form] >= others + LEAD:
            self._settled = form
            self._recent.clear()


def _kept(message_id: str) -> str:
    if _HEX.fullmatch(message_id) or _DECIMAL.fullmatch(message_id):
        return message_id.upper().lstrip("0") or "0"
    return id_of(message_id).replace(",", ";")  # the ids of a message's parts are kept with commas between
