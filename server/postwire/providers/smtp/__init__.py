"""Email by SMTP (RFC 5321), to a relay of one's own or a vendor's.

`provider` decides what becomes of an attempt, and keeps connections; `connection` is one of them; `replies` says what
an answer means.
"""
