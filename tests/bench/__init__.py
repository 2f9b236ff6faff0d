"""`make bench`: the figures that the design asks for, measured. For people, never a test that fails on time.

    make bench                                   all of them; a quarter of an hour on a machine that does nothing else
    make bench ARGS="--only stream,outbox"       some of them
    make bench ARGS=--full                       with a million dispatches for the figure on memory
    make bench ARGS=--quick                      shows that it works, not how well
    make bench ARGS="--write-docs --full"        also writes what it has measured into docs/performance.md
    make bench ARGS=--guard                      only whether a message costs a quarter more than was recorded

Throughput is counted per second of the server's CPU (user and system, all threads), and given as a ratio to that of
`echo`, a bare grpc.aio server on the same machine, in the same run, with the same payload and event loop. So the figure
says the same on a slow machine and a fast one, and the load generator, a process of its own, is not in it. Every group
of figures makes sure in the store that the work was done.
"""
