"""What goes on beside the delivery of messages: what a boot does first, and what is done now and then."""

from postwire.maintenance.service import Duty, Maintenance

__all__ = ["Duty", "Maintenance"]
