"""SMS by SMPP 3.4, the protocol of message centres (SMSCs): to an operator's, or to a vendor's.

`pdu` and `bodies` are the codec; `parts` makes PDUs of a message, and `statuses`, `message_ids` and `receipts` say what
comes back means. None of these does any I/O.
"""
