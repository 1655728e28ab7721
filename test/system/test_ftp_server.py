"""The FTP server of the tests works, as clients other than ours see it."""
import ftplib
import io
import ssl
import subprocess

import pytest

from fault_proxy import FtpProxy, lose_answer
from ftp_server import FtpServer

BODY = bytes(range(256)) * 400


def exercise(link):
    link.mkd("deep")
    link.mkd("deep/er")
    link.storbinary("STOR deep/er/%41~1.tmp", io.BytesIO(BODY))
    link.rename("deep/er/%41~1.tmp", "deep/er/%41.1")
    link.storbinary("STOR deep/er/%41~1.tmp", io.BytesIO(b"second"))
    link.rename("deep/er/%41~1.tmp", "deep/er/%41.1")  # replaces
    link.storbinary("STOR deep/er/%41.2", io.BytesIO(BODY))
    assert sorted(name.rsplit("/", 1)[-1] for name in link.nlst("deep/er")) == ["%41.1", "%41.2"]
    got = io.BytesIO()
    link.retrbinary("RETR deep/er/%41.2", got.write)
    assert got.getvalue() == BODY
    link.delete("deep/er/%41.2")
    with pytest.raises(ftplib.error_perm):
        link.size("deep/er/%41.2")


def test_plain(tmp_path):
    with FtpServer(tmp_path) as server, ftplib.FTP() as link:
        link.connect("127.0.0.1", server.port, timeout=10)
        with pytest.raises(ftplib.error_perm):
            link.login(server.user, "wrong")
        link.login(server.user, server.password)
        exercise(link)
        assert (server.files / "deep/er/%41.1").read_bytes() == b"second"


def test_tls(tmp_path):
    with FtpServer(tmp_path, tls="required") as server:
        with ftplib.FTP() as link:
            link.connect("127.0.0.1", server.port, timeout=10)
            with pytest.raises(ftplib.error_perm):
                link.login(server.user, server.password)
        context = ssl.create_default_context(cafile=str(server.certificate))
        with ftplib.FTP_TLS(context=context) as link:
            link.connect("localhost", server.port, timeout=10)
            link.login(server.user, server.password)
            link.prot_p()
            exercise(link)


def test_curl_through_the_proxy(tmp_path):
    with FtpServer(tmp_path, tls="possible") as server, FtpProxy(("127.0.0.1", server.port)) as proxy:
        (tmp_path / "body").write_bytes(BODY)

        def upload(*more):
            return subprocess.run(
                ["curl", "-sS", "--ftp-create-dirs", "-T", str(tmp_path / "body"), "-u",
                 f"{server.user}:{server.password}", f"ftp://127.0.0.1:{proxy.port}/new/x.tmp", "-Q", "-RNFR x.tmp",
                 "-Q", "-RNTO x", *more], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        assert upload().returncode == 0, server.log
        assert (server.files / "new/x").read_bytes() == BODY
        assert proxy.count("RNTO") == 1 and proxy.count("STOR", status=226) == 1
        (server.files / "new/x").unlink()
        proxy.add(lose_answer(), methods="RNTO")
        assert upload().returncode != 0
        assert (server.files / "new/x").read_bytes() == BODY  # applied all the same
        proxy.clear()
        tls = upload("--ssl-reqd", "--cacert", str(server.certificate))
        assert tls.returncode == 0, tls.stderr
        assert proxy.errors == []


def test_it_stops_and_starts_again(tmp_path):
    server = FtpServer(tmp_path).start()
    link = ftplib.FTP()
    link.connect("127.0.0.1", server.port, timeout=5)
    server.stop()
    with pytest.raises((EOFError, OSError, ftplib.Error)):
        link.voidcmd("NOOP")
        link.voidcmd("NOOP")
    link.close()
    with server.start(), ftplib.FTP() as link:
        link.connect("127.0.0.1", server.port, timeout=5)
        link.login(server.user, server.password)
