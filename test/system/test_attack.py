"""What attacks on a running node found, each as the smallest case that went wrong."""
import os
import resource
import shutil
import struct
import threading
import time

import etf
from etf import Atom
from harness import wait_until


def test_a_removed_data_dir_is_noticed_and_nothing_leaves_ram(new_server, tmp_path):
    server = new_server(key_ttl=50, dump_retry_min=10, dump_retry_max=50)
    with server.client() as client:
        assert client.set(b"before", 1) == "ok"
        assert client.call((Atom("persist"), b"before")) == "ok"
        os.rename(tmp_path / "data", tmp_path / "moved")
        os.mkdir(tmp_path / "data")
        assert client.set(b"after", 2) == "ok"
        assert client.call((Atom("persist"), b"after")) == (Atom("error"), "warehouse")
        assert b"removed or replaced" in client.info()["warehouse_error"]
        assert client.get(b"before") == (Atom("ok"), 1)
        assert client.get(b"after") == (Atom("ok"), 2)
        os.rmdir(tmp_path / "data")
        os.rename(tmp_path / "moved", tmp_path / "data")
        time.sleep(0.2)
        assert client.call((Atom("persist"), b"after")) == "ok"
    server.stop()
    with new_server().client() as client:
        assert client.get(b"before") == (Atom("ok"), 1)
        assert client.get(b"after") == (Atom("ok"), 2)


def test_what_a_removed_data_dir_cost_is_counted(new_server, tmp_path):
    server = new_server(drain_timeout=300, journal="false")
    server.expected_status = 1
    with server.client() as client:
        for number in range(7):
            assert client.set(number, number) == "ok"
        shutil.rmtree(tmp_path / "data")
    server.send_signal()
    assert server.wait() == 1
    assert "7 objects could not be persisted and are lost" in server.log


def test_a_removed_journal_refuses_writes(new_server, tmp_path):
    server = new_server(drain_timeout=300)
    server.expected_status = 1
    with server.client() as client:
        assert client.set(1, 1) == "ok"
        shutil.rmtree(tmp_path / "data")
        assert client.set(2, 2) == ("error", "journal")
        assert client.get(1) == ("ok", 1)
    server.wait_log("the journal cannot be written: .* No such file or directory")
    server.send_signal()
    assert server.wait() == 1
    assert "could not be persisted and are lost" in server.log


def test_readers_that_never_pause_do_not_keep_a_stop(new_server):
    server = new_server(drain_timeout=5000)
    with server.client() as client:
        assert client.set(b"written", 1) == "ok"
        frames = b""
        for number in range(3000):
            frame = client.message((6, client.pid, Atom(""), Atom("brain")),
                                   etf.encode((Atom("g"), True, b"cold%d" % number, client.pid, number)))
            frames += struct.pack(">I", len(frame)) + frame
        ended = threading.Event()

        def talk(action):
            try:
                while not ended.is_set():
                    action()
            except OSError:
                pass

        threads = [threading.Thread(target=talk, args=(action,)) for action in
                   (lambda: client.socket.sendall(frames), lambda: client.socket.recv(1 << 20))]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.send_signal()
        try:
            assert server.wait() == 0
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert "everything is persisted" in server.log


def test_a_limit_on_file_sizes_is_an_error_of_the_warehouse(new_server):
    server = new_server(key_ttl=50, dump_retry_min=10, dump_retry_max=50, local_map_size=1 << 20,
                        journal="false")
    with server.client() as client:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        values = {number: bytes([number]) * 100000 for number in range(30)}
        for number, value in values.items():
            assert client.set(number, value) == "ok"
        answers = [client.call((Atom("persist"), number)) for number in values]
        assert (Atom("error"), "warehouse") in answers
        for number, value in values.items():
            assert client.get(number) == (Atom("ok"), value)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        for number in values:
            wait_until(lambda number=number: client.call((Atom("persist"), number)) == "ok")
    server.stop()
    with new_server().client() as client:
        for number, value in values.items():
            assert client.get(number) == (Atom("ok"), value)
