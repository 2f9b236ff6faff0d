"""The outbox: the durable store that owns accepted messages. `base` is the seam; the rest is behind it."""
