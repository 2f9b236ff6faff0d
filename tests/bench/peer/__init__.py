"""The design that a team would otherwise write in Python: Celery, with Redis, doing the work that one `Dispatch` does.

What a message goes through is the same: it is accepted durably under the caller's request id; a worker puts its attempt
on record before a provider sees it, calls a provider that answers at once, and puts the outcome on record; then the
caller, who has waited for that, is told. A request id that was sent already is not sent again, a provider's failure is
tried again after a while, and what a worker had in hand when it died comes back (`acks_late`).

Redis keeps all of it in its append-only file with `appendfsync always`, as durable as our commits are. Nothing else is
as it comes: each setting that made it cheaper was taken, and where we were in doubt, the doubt was Celery's.

- Four workers with 16 threads each, together as many attempts as a provider of ours may have under way, and with as
  many messages ahead as Celery takes by default. One worker with 64 threads, one message ahead for each thread, and
  processes in place of threads take more CPU; one message at a time (`--pool solo`) takes no less, and would let a slow
  provider hold up everything. Greenlets in place of threads (gevent 26) take as much CPU, 4.2 × ours with either, but
  answer twice as soon: 156 ms in place of 328, for half of 64 callers. They would be one thing more to install, and
  ask every library to go along with them; so CPU is what is compared, and the peer's latency here is not its best.
- No task events, remote control, gossip, mingle, heartbeats, rate limits or log lines. Ours logs as it does by default.
- Celery's result backend is left out. The outcome is one record of our own, written and announced in one go.
- One queue without priorities, over a Unix socket, and with hiredis. No snapshots, and the file is never rewritten.
- The caller listens to one channel for all outcomes, where `result.get()` would subscribe for each message.
- There is no endpoint. Our server takes calls over gRPC and answers them; here whoever calls `apply_async` sits in the
  process of the load generator, and its CPU is not counted. A remark below the table says what it comes to.

Not there at all is what our CPU also pays for: deadlines, routes with several providers, circuit breakers, limits,
validation, the list of who does not want to be written to, traces and metrics. And a request id that is repeated while
the first is under way would be sent twice.
"""
