"""The one path of a message, from the call to the recorded outcome."""

from postwire.delivery.control import Control, ProviderStatus
from postwire.delivery.frames import Frame
from postwire.delivery.limits import Limits
from postwire.delivery.path import Delivery
from postwire.delivery.router import Candidate, Explanation
from postwire.delivery.watch import Sight

__all__ = ["Candidate", "Control", "Delivery", "Explanation", "Frame", "Limits", "ProviderStatus", "Sight"]
