"""The decisions: plain values and functions. Standard library only, no I/O, no clock and no randomness of its own."""
