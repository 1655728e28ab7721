"""A real FTP server for the tests: proftpd, in the foreground, with a configuration of its own.

Loopback only, one virtual user, passive mode, explicit TLS with a certificate made here. It runs as
whoever runs the tests. Debian packages: proftpd-core, proftpd-mod-crypto, openssl."""
import contextlib
import grp
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess

from harness import die_with_parent, free_port, wait_until

PROFTPD = shutil.which("proftpd", path="/usr/sbin:/usr/bin:/sbin:/bin") or "/usr/sbin/proftpd"
USER, PASSWORD = "tester", "pass:word/with+signs"

CONFIGURATION = """\
ModulePath /usr/lib/proftpd
{modules}
ServerName "brain test"
ServerType standalone
DefaultAddress {address}
SocketBindTight on
Port {port}
PassivePorts {passive_from} {passive_to}
UseIPv6 off
UseReverseDNS off
RootLogin on
RequireValidShell off
User {system_user}
Group {system_group}
AuthOrder mod_auth_file.c
AuthUserFile {directory}/users
AuthGroupFile {directory}/groups
DefaultChdir {files}
Umask 077
AllowOverwrite on
AllowStoreRestart on
TimesGMT on
MaxInstances 2000
MaxLoginAttempts 10
TimeoutIdle 60
TimeoutLinger 1
PidFile {directory}/proftpd.pid
ScoreboardFile {directory}/scoreboard
DelayEngine off
WtmpLog off
TransferLog {directory}/transfers
SystemLog {directory}/log
{tls}
"""

TLS = """\
TLSEngine on
TLSRequired {required}
TLSProtocol TLSv1.2 TLSv1.3
TLSRSACertificateFile {directory}/certificate.pem
TLSRSACertificateKeyFile {directory}/key.pem
TLSVerifyClient off
TLSRenegotiate none
TLSOptions NoSessionReuseRequired
TLSLog {directory}/tls
"""


def make_certificate(directory):
    """A self-signed certificate of localhost and 127.0.0.1; returns its path."""
    directory = pathlib.Path(directory)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(directory / "key.pem"),
         "-out", str(directory / "certificate.pem")],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (directory / "key.pem").chmod(0o600)
    return directory / "certificate.pem"


class FtpServer:
    """Files under `self.files`; the user starts there. tls: "off", "possible" or "required". host: a netlab.Host on
    which it runs."""

    def __init__(self, directory, tls="off", host=None):
        self.host, self.address = host, host.address if host else "127.0.0.1"
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.files = self.directory / "files"
        self.files.mkdir(exist_ok=True)
        self.tls = tls
        self.user, self.password = USER, PASSWORD
        self.port = free_port()
        self.process = None
        identity = f"{os.getuid()}:{os.getgid()}"
        hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=PASSWORD.encode(), check=True,
                                stdout=subprocess.PIPE).stdout.decode().strip()
        self._write("users", f"{USER}:{hashed}:{identity}::{self.files}:/bin/false\n")
        self._write("groups", f"{USER}:x:{os.getgid()}:{USER}\n")
        self.certificate = make_certificate(self.directory) if tls != "off" else None

    def _write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)  # others may not read it: proftpd insists
        return path

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        passive = free_port()
        modules, tls = "", ""
        if self.tls != "off":
            modules = "LoadModule mod_tls.c"
            tls = TLS.format(directory=self.directory, required="on" if self.tls == "required" else "off")
        configuration = self._write("proftpd.conf", CONFIGURATION.format(
            modules=modules, tls=tls, address=self.address, port=self.port,
            passive_from=max(1024, min(passive, 65535 - 500)),
            passive_to=max(1024, min(passive, 65535 - 500)) + 500, directory=self.directory, files=self.files,
            system_user=pwd.getpwuid(os.getuid()).pw_name, system_group=grp.getgrgid(os.getgid()).gr_name))
        self.process = subprocess.Popen(
            [*(self.host.prefix if self.host else []), PROFTPD, "-n", "-q", "-c", str(configuration)],
            stdin=subprocess.DEVNULL, stdout=open(self.directory / "output", "wb"), stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent, start_new_session=True)
        wait_until(self.answers, 10, "proftpd")
        return self

    def answers(self):
        assert self.process.poll() is None, (self.directory / "output").read_text()
        opener = self.host.connect if self.host else socket.create_connection
        with contextlib.suppress(OSError), opener((self.address, self.port), 1) as link:
            link.settimeout(2)
            return link.recv(3) == b"220"
        return False

    def stop(self, number=signal.SIGTERM):
        """The sessions, processes of their own in the group of the server, go with it."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    @property
    def log(self):
        return "".join((self.directory / name).read_text(errors="replace")
                       for name in ("output", "log", "transfers", "tls") if (self.directory / name).exists())
