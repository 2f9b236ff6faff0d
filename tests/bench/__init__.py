"""`make bench`: what the service costs beside a bare gRPC server. Figures for people, never a test that fails on time.

Throughput is counted per second of the server's CPU (user and system, all threads), and given as a ratio to that of
`echo`, a bare grpc.aio server on the same machine, in the same run, with the same payload and event loop. So the figure
says the same on a slow machine and a fast one, and the load generator, a process of its own, is not in it.
"""
