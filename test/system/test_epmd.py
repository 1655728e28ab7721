"""epmd: lost and found; nodes that are dialled; names that are taken."""
import contextlib
import os
import pathlib
import signal
import subprocess

from harness import wait_until


def test_registered_again_after_epmd_was_killed(server, epmd, erl):
    assert epmd.port_of("brain") == server.port
    with server.client() as client:
        epmd.stop()
        assert client.set(b"k", 1) == "ok"  # open links do not care
        epmd.start()
        wait_until(lambda: epmd.port_of("brain") == server.port, 4, "the registration")
        assert client.get(b"k") == ("ok", 1)
    erl("pong = net_adm:ping(?NODE), {ok, 1} = call({get, k})")


def test_epmd_comes_late(new_server, epmd, erl):
    epmd.stop()
    server = new_server(wait=False)
    try:
        server.wait_ready(1.5)
        raise RuntimeError("ready without epmd")
    except AssertionError:
        assert server.process.poll() is None, server.log
    epmd.start()
    server.wait_ready(8)
    erl("pong = net_adm:ping(?NODE)")


def daemon_of(port):
    """The process of the epmd that some node started for this port."""
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == b"epmd\0-daemon\0" and \
                    b"ERL_EPMD_PORT=%d" % port in (entry / "environ").read_bytes().split(b"\0"):
                return int(entry.name)
    raise AssertionError(f"no epmd for port {port}")


def test_epmd_is_started_when_none_runs(new_server, epmd, erl):
    epmd.stop()
    try:
        server = new_server(epmd_start="true", environment={"ERL_EPMD_PORT": str(epmd.port)})
        assert epmd.port_of("brain") == server.port
        erl("pong = net_adm:ping(?NODE), ok = call({set, a, 1})")
        assert f"no epmd at 127.0.0.1:{epmd.port}: starting one" in server.log
        server.stop()
        # It goes on without the node, and ends like any program.
        os.kill(daemon_of(epmd.port), signal.SIGTERM)
        wait_until(lambda: not epmd.answers(), 10, "the end of epmd by SIGTERM")
    finally:
        # It is a daemon, the test's own by its port.
        def gone():
            subprocess.run(["epmd", "-port", str(epmd.port), "-kill"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            return not epmd.answers()
        wait_until(gone, 10, "the end of epmd")


def test_without_epmd_on_a_fixed_port(new_server, epmd):
    from harness import free_port
    epmd.stop()
    port = free_port()
    server = new_server(epmd_enable="false", server_port=port)
    assert server.port == port
    with server.client() as client:
        assert client.ping() == "yes"


def test_a_name_that_is_taken_is_one_sentence(new_server, tmp_path):
    new_server()
    other = tmp_path / "other"
    other.mkdir()
    second = new_server(wait=False, directory=other)
    second.expected_status = 1
    assert second.wait(20) == 1
    lines = second.log.strip().splitlines()
    wrong = [line for line in lines if "Z info " not in line]
    assert len(wrong) == 1 and "brain is already registered" in wrong[0], second.log
    assert not any(line.startswith("ready") for line in lines)


PEER = r"""
    Wait = fun Wait() ->
        case nodes(hidden) of ['brain@localhost'] -> ok; _ -> timer:sleep(20), Wait() end
    end,
    %% This node never dials by itself.
    application:set_env(kernel, dist_auto_connect, never),
    io:put_chars("READY\n"),
    Wait(),
    ok = gen_server:call(?BRAIN, {set, peer, hello}, 5000),
    io:put_chars("CONNECTED\n"),
    erlang:disconnect_node('brain@localhost'),
    Gone = fun Gone() -> case nodes(hidden) of [] -> ok; _ -> timer:sleep(5), Gone() end end,
    Gone(),
    Wait(),
    {ok, hello} = gen_server:call(?BRAIN, {get, peer}, 5000),
    io:put_chars("AGAIN\n"),
    timer:sleep(infinity)"""


def test_the_server_dials_an_erlang_node_and_dials_again(new_server, beam):
    peer = beam.start(PEER, name="peer@localhost")
    try:
        new_server(connect_nodes='{"peer@localhost"}')
        wait_until(lambda: "CONNECTED" in peer.log() or peer.poll() is not None, 10, "CONNECTED")
        wait_until(lambda: "AGAIN" in peer.log() or peer.poll() is not None, 20, "AGAIN")
        assert peer.poll() is None, peer.log()
    finally:
        peer.kill()
        peer.wait()


def test_a_node_that_is_not_there_is_dialled_until_it_is(new_server, beam):
    server = new_server(connect_nodes='{"peer@localhost", "never@localhost"}')
    peer = beam.start(PEER, name="peer@localhost")
    try:
        wait_until(lambda: "CONNECTED" in peer.log() or peer.poll() is not None, 20, "CONNECTED")
        assert peer.poll() is None, peer.log()
        with server.client() as client:
            assert client.get(b"peer")[0] == "ok"
    finally:
        peer.kill()
        peer.wait()
