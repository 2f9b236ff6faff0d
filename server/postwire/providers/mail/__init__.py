"""Emails as the bytes that go to a mail server. `mime` is where to begin: it builds one of what a caller has sent."""
