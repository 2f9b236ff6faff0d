"""Hooks: what becomes of messages, posted to endpoints of those who sent them. See docs/notify.md.

    feed of changes --> `EventWindow` (core.event_window) --> `Poster` --> the receiver
                              |
                              +--> a `Checkpoint` in the store, after each event that is done

One `Hook` for each table of the configuration, which knows nothing of the others.
"""
