"""
The protocol, pure: no sockets, threads, clocks, randomness or logging.

Messages and the time go in, lists of effects come out.  The same code runs under
gRPC, under tests that join two nodes by function calls, and under simulation.
"""
