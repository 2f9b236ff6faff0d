"""The configuration: what keys there are, and how raw values become settings that are checked and frozen."""
