"""PHP's Peb extension, by a C program that uses ei exactly as it does."""
import os
import subprocess

from harness import BUILD, COOKIE, SANITIZER_OPTIONS


def test_peb_forms_over_two_links_of_the_same_name(server, epmd):
    done = subprocess.run(
        [str(BUILD / "test/system/peb_client"), "brain@localhost", COOKIE], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
        env={**os.environ, **SANITIZER_OPTIONS, "ERL_EPMD_PORT": str(epmd.port)})
    output = done.stdout.decode(errors="replace")
    assert "FAIL" not in output and done.returncode == 0, output + server.log
    assert output.count("ok  ") == 17, output


def test_many_short_links_of_one_name(server):
    """A web server's workers: hundreds of connects a second, all called the same."""
    from dist_client import EI_FLAGS
    clients = []
    for index in range(300):
        client = server.client(flags=EI_FLAGS, name="peb_client_1_0@localhost")
        assert client.set(b"obj%d" % (index % 7), index) == "ok"
        assert client.get(b"obj%d" % (index % 7)) == ("ok", index)
        clients.append(client)
        if index % 3:
            clients.pop(0).close()
    for client in clients:
        assert client.get(b"obj1")[0] == "ok"
        client.close()
