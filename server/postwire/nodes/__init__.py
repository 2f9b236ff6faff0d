"""One of several nodes that share a store: its lease, its clock, and what falls to it as the leader."""
