"""The way in for receipts: over HTTP, or from a provider that brings them itself; and what is made of them."""
