"""The one path of a message, from the call to the recorded outcome."""

from postwire.delivery.batch import Frame
from postwire.delivery.provider_control import Control, ProviderStatus
from postwire.delivery.router import Candidate, Explanation
from postwire.delivery.service import Delivery
from postwire.delivery.settings import Limits
from postwire.delivery.watch import WatchEvent

__all__ = ["Candidate", "Control", "Delivery", "Explanation", "Frame", "Limits", "ProviderStatus", "WatchEvent"]
