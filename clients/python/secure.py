"""Sends one SMS over TLS, with a token that says who calls."""

import os
import sys

from postwire_client import Client, Credentials, MessageState, OutboundMessage, PostwireError, Sms

target = os.environ.get("POSTWIRE_TARGET", "127.0.0.1:50051")
credentials = Credentials(ca_file=os.environ["POSTWIRE_CA_FILE"], token_file=os.environ["POSTWIRE_TOKEN_FILE"])

with Client(target, credentials=credentials, timeout=10) as client:
    try:
        message = client.dispatch(OutboundMessage(sms=Sms(to="+15005550006", body="Your code is 493 027.")))
    except PostwireError as error:
        sys.exit(f"{error} {[violation.field for violation in error.violations]}")

print(message.provider_name, MessageState.Name(message.state))
