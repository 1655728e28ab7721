"""brain-bench against the real server: it ends, its counts add up, and it does not take a wrong or missing
answer for a right one. How fast anything is, no test says."""
import json
import os
import signal
import subprocess

import pytest

from harness import BUILD, COOKIE, SANITIZER_OPTIONS, SANITIZER_REPORT, SANITIZER_STATUS, die_with_parent, \
    wait_until

BENCH = str(BUILD / "cnode/tools/brain-bench")


@pytest.fixture
def start(tmp_path, epmd):
    """start(words...) -> the running process."""
    def run(*words, cookie=COOKIE, epmd_port=epmd.port):
        environment = {**os.environ, **SANITIZER_OPTIONS, "HOME": str(tmp_path), "ERL_EPMD_PORT": str(epmd_port)}
        return subprocess.Popen([BENCH, "--cookie", cookie, *map(str, words)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                                preexec_fn=die_with_parent, text=True)
    return run


@pytest.fixture
def bench(start):
    """bench(words...) -> (exit status, stdout, stderr) of one run."""
    def run(*words, **arguments):
        return finish(start(*words, **arguments))
    return run


def finish(process, timeout=60):
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode != SANITIZER_STATUS and not SANITIZER_REPORT.search(errors), errors
    return process.returncode, output, errors


@pytest.fixture
def measure(bench):
    """measure(words...) -> the report of a run in which all was right."""
    def run(*words):
        status, output, errors = bench(*words, "--json", "-")
        assert status == 0 and errors == "", (status, errors)
        report = json.loads(output)
        assert report["errors"] == 0
        return report
    return run


@pytest.mark.parametrize("peer", ["beam", "ei"])
@pytest.mark.parametrize("size", [0, 5, 100, 300000])
def test_fill_then_get_set_mixed(server, measure, peer, size):
    common = ("--peer", peer, "--size", size, "--keys", 50)
    assert measure(*common, "--work", "fill", "--warmup", 0.1)["operations"] == 50
    operations = 2000 if size < 1000 else 200
    for connections, in_flight in (1, 1), (1, 64), (3, 4):
        shape = (*common, "--operations", operations, "--connections", connections, "--in-flight", in_flight)
        for words in ("--work", "get"), ("--work", "get", "--distribution", "zipf"), ("--work", "set"), \
                ("--work", "set", "--acknowledged"), ("--work", "mixed", "--reads", 50):
            report = measure(*shape, *words)
            # A barrier may follow the last set of each connection.
            assert operations <= report["operations"] <= operations + connections + 1
            latency = report["latency_us"]
            assert 0 < latency["min"] <= latency["p50"] <= latency["p99"] <= latency["max"]
            assert report["size"] == size and report["in_flight"] == in_flight


def test_it_stores_what_others_read(server, measure):
    measure("--work", "fill", "--keys", 10, "--size", 100)
    with server.client() as client:
        assert client.info()["object"]
        answer = client.get(b"k0000000000000000009")
        assert str(answer[0]) == "ok" and len(answer[1]) == 100
        assert str(client.get(b"k0000000000000000010")) == "ko"


def test_wrong_answers_are_wrong(server, bench, measure):
    status, output, errors = bench("--operations", 20, "--keys", 10, "--json", "-")
    assert status == 1 and json.loads(output)["errors"] == 20
    assert "get k000000000000000000" in errors and "ko: nothing there" in errors
    measure("--work", "fill", "--keys", 10)
    # Another size, and the value of another key.
    status, _, errors = bench("--operations", 20, "--keys", 10, "--size", 101)
    assert status == 1 and "20 wrong answers" in errors
    with server.client() as client:
        client.set(b"k0000000000000000003", client.get(b"k0000000000000000004")[1])
    status, output, errors = bench("--operations", 200, "--keys", 10, "--json", "-", "--in-flight", 5)
    assert status == 1 and 0 < json.loads(output)["errors"] < 200
    assert "get k0000000000000000003 was answered with another value than its own" in errors


def test_a_refused_set_is_wrong(new_server, bench):
    new_server(max_object_bytes=1000)
    status, _, errors = bench("--work", "fill", "--keys", 3, "--size", 2000)
    assert status == 1 and "3 wrong answers" in errors and "too_big" in errors


def test_cookie_is_wrong(server, bench):
    status, output, errors = bench("--operations", 1, cookie="SOMETHINGELSE")
    assert status == 1 and output == ""
    assert errors == "brain-bench: brain@localhost refused the handshake: most likely it has another cookie\n"


def test_nobody_there(epmd, bench):
    status, _, errors = bench("--operations", 1)
    assert status == 1 and errors == "brain-bench: no node named brain is registered with epmd on localhost\n"
    epmd.stop()
    status, _, errors = bench("--operations", 1)
    assert status == 1 and errors.startswith("brain-bench: no epmd answers on localhost port ")
    status, _, errors = bench("--operations", 1, "--protocol", "redis", "localhost:1")
    assert status == 1 and errors == "brain-bench: nothing answers on localhost:1: Connection refused\n"


@pytest.mark.parametrize("work", ["get", "set"])
def test_server_is_killed_meanwhile(server, start, measure, work):
    measure("--work", "fill", "--keys", 100)
    server.expected_status = -signal.SIGKILL
    process = start("--work", work, "--keys", 100, "--seconds", 300, "--warmup", 0, "--in-flight", 8, "--connections", 2,
                    "--progress")
    assert "measuring" in process.stderr.readline()
    server.process.kill()
    status, output, errors = finish(process)
    assert status == 1 and output == ""
    assert errors.splitlines()[-1].startswith("brain-bench: brain@localhost closed the connection") or \
        "was lost while writing" in errors


def test_server_that_hangs(server, start, measure):
    measure("--work", "fill", "--keys", 100)
    process = start("--keys", 100, "--seconds", 300, "--warmup", 0, "--timeout", 1, "--progress")
    assert "measuring" in process.stderr.readline()
    server.process.send_signal(signal.SIGSTOP)
    try:
        status, _, errors = finish(process)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert status == 1
    assert "brain@localhost did not answer for 1 s: connection 1 waits for 1 operations" in errors


def test_interrupt_ends_it_early(server, start, measure):
    measure("--work", "fill", "--keys", 100)
    process = start("--keys", 100, "--seconds", 300, "--warmup", 0, "--progress", "--json", "-")
    assert "measuring" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    status, output, _ = finish(process)
    report = json.loads(output)
    assert status == 0 and report["operations"] > 0 and 0 < report["seconds"] < 300


def test_fixed_rate_and_what_the_kernel_says(server, measure):
    pid = server.process.pid
    measure("--work", "fill", "--keys", 100)
    report = measure("--keys", 100, "--rate", 200, "--operations", 100, "--connections", 3, "--in-flight", 8,
                     "--server-pid", pid)
    # 100 operations, 5 ms apart, never ahead of their time.
    assert report["operations"] == 100 and report["seconds"] >= 0.49
    assert report["rate_asked"] == 200 and report["sent_late_us"]["mean"] >= 0
    assert report["server_cpu_us"] > 0 and report["client_cpu_us"] > 0
    assert report["server_rss_bytes"] > 1000000


def test_fixed_rate_counts_from_when_it_was_due(server, start, measure):
    """The server stands still for half a second: the operations that were due meanwhile waited too."""
    measure("--work", "fill", "--keys", 100)
    process = start("--keys", 100, "--rate", 1000, "--seconds", 3, "--warmup", 0, "--in-flight", 1, "--progress",
                    "--json", "-")
    assert "measuring" in process.stderr.readline()
    server.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: "measuring" in process.stderr.readline(), what="a second of standing still")
    finally:
        server.process.send_signal(signal.SIGCONT)
    status, output, _ = finish(process)
    report = json.loads(output)
    assert status == 0
    # One in flight, so one operation alone met the standstill; but a thousand were due.
    assert report["latency_us"]["p90"] > 100000


@pytest.mark.parametrize("words, sentence", [
    (("--size", "many"), '--size: "many" is not a number from 0 to 1073741824'),
    (("--work", "guess"), "--work has no guess"),
    (("--protocol", "smoke"), "there is no protocol smoke"),
    (("--keys", "100", "--id-bytes", "2"), "100 keys need ids of at least 3 bytes"),
    (("nobody",), '"nobody" is not a node\'s name'),
    (("a@b", "c@d"), 'one target, not "c@d" as well'),
    (("--protocol", "redis"), "redis needs a target of the form HOST:PORT"),
    (("--noreply",), "--noreply is memcached's"),
])
def test_usage(bench, words, sentence):
    status, output, errors = bench(*words)
    assert status == 2 and output == "" and sentence in errors and errors.count("\n") == 1


def test_loopback(measure):
    for work in "get", "set":
        for size in 1, 300000:
            report = measure("--protocol", "tcp", "--work", work, "--size", size, "--operations", 300, "--in-flight", 4)
            assert report["operations"] == 300 and report["server_cpu_us"] > 0
