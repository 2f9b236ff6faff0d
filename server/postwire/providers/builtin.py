"""Every kind of provider that comes with Postwire."""

from __future__ import annotations

from typing import Final

from postwire.providers.kinds import Kinds

KINDS: Final = Kinds(
    {
        "mock": "postwire.providers.mock:KIND",
        "sandbox": "postwire.providers.sandbox:KIND",
        "smtp": "postwire.providers.smtp.provider:KIND",
        "smpp": "postwire.providers.smpp.provider:KIND",
        "twilio": "postwire.providers.twilio:KIND",
        "vonage": "postwire.providers.vonage:KIND",
        "http": "postwire.providers.generic_http:KIND",
        "webhook": "postwire.providers.webhook:KIND",
        "telnyx": "postwire.providers.telnyx:KIND",
        "infobip": "postwire.providers.infobip:KIND",
        "sinch": "postwire.providers.sinch:KIND",
        "plivo": "postwire.providers.plivo:KIND",
        "bird": "postwire.providers.bird:KIND",
        "sendgrid": "postwire.providers.sendgrid:KIND",
        "postmark": "postwire.providers.postmark:KIND",
        "resend": "postwire.providers.resend:KIND",
        "mailgun": "postwire.providers.mailgun:KIND",
        "mailjet": "postwire.providers.mailjet:KIND",
        "sparkpost": "postwire.providers.sparkpost:KIND",
        "brevo": "postwire.providers.brevo:KIND",
        "ses": "postwire.providers.ses:KIND [aws]",
        "sns": "postwire.providers.sns:KIND [aws]",
    }
)
"""By the name that `providers.NAME.kind` uses, as an entry point has it: `module:KIND`, with in brackets the extra
that it needs. Kinds that installed packages add are among them."""
