"""The one path of a message, from the call to the recorded outcome."""

from postwire.delivery.path import Delivery, Limits

__all__ = ["Delivery", "Limits"]
