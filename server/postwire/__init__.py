"""Postwire: one gRPC service through which a company's systems send SMS, MMS and email.

Importing this package loads nothing else: clients import it only on the way to `postwire.v1`.
"""

__version__ = "0.2.0"
