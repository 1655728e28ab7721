"""What the tests of untrusted input look at: the counters of `dist`, and what the server complained of."""
import time

from harness import wait_until

MEGABYTE = 1 << 20


def dist(client, name):
    return client.info()["dist"][name]


def log_lines(server):
    """What the server complained of. Its other lines (ready, registered) come when they come."""
    return [line for line in server.log.splitlines() if " warn  " in line or " error " in line]


def closed_and_counted(server, witness, counter, before, log_before):
    """One line in the log, and one more in the counter."""
    wait_until(lambda: dist(witness, counter) == before + 1, what=counter)
    wait_until(lambda: len(log_lines(server)) > len(log_before), what="a line in the log")
    time.sleep(0.2)
    new = log_lines(server)[len(log_before):]
    assert len(new) == 1, new
