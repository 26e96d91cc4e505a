"""Prints the first of N consecutive free loopback ports, below the range that the kernel hands to outgoing connections."""
import random
import socket
import sys


def free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


count = int(sys.argv[1])
for _ in range(200):
    first = random.randrange(15_000, 32_000 - count)
    if all(free(port) for port in range(first, first + count)):
        print(first)
        sys.exit(0)
sys.exit("no free ports")
