"""Tells callers over HTTP where their messages stand, if they cannot hold a stream."""
