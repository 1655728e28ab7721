"""A real etcd for the tests: one server on loopback, with a directory of its own."""
import base64
import http.client
import json
import shutil
import signal
import ssl
import subprocess

from harness import die_with_parent, free_port, wait_until


def encode(text):
    return base64.b64encode(text.encode()).decode()


def decode(text):
    return base64.b64decode(text).decode()


class Etcd:
    def __init__(self, directory, tls=None, arguments=(), host=None):
        """tls: an object with ca, certificate and key (paths); clients must then show one of the authority's.
        host: a netlab.Host on which it runs."""
        self.directory, self.tls, self.host = directory, tls, host
        self.port, self.peer_port = free_port(), free_port()
        self.address = host.address if host else "127.0.0.1"
        self.url = f"{'https' if tls else 'http'}://{self.address}:{self.port}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        self.command = [*(host.prefix if host else []), "etcd", "--data-dir", str(directory / "etcd"),
                        "--listen-client-urls", self.url, "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
                        "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                        "--log-level", "warn", *arguments]
        if tls:
            self.command += ["--cert-file", str(tls.certificate), "--key-file", str(tls.key),
                             "--client-cert-auth", "--trusted-ca-file", str(tls.ca)]
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self, wait=True):
        with open(self.directory / "etcd.log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.directory, preexec_fn=die_with_parent,
                                            start_new_session=True)  # Ctrl-C is for who started it
        if wait:
            wait_until(self.is_healthy, timeout=30, what="etcd")
        return self

    def stop(self, number=signal.SIGKILL):
        if self.process:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def wipe(self):
        shutil.rmtree(self.directory / "etcd")

    def is_healthy(self):
        assert self.process.poll() is None, "etcd ended"
        try:
            return self.request("GET", "/health").get("health") == "true"
        except OSError:
            return False

    def request(self, method, path, body=None, token=None):
        if self.tls:
            context = ssl.create_default_context(cafile=str(self.tls.ca))
            context.load_cert_chain(str(self.tls.certificate), str(self.tls.key))
            link = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        else:
            link = http.client.HTTPConnection(self.address, self.port, timeout=10)
        try:
            if self.host:
                link.sock = self.host.connect((self.address, self.port))
            link.request(method, path, None if body is None else json.dumps(body),
                         {"Authorization": token} if token else {})
            answer = json.loads(link.getresponse().read())
        finally:
            link.close()
        return answer

    def call(self, path, body=None, token=None):
        answer = self.request("POST", path, body or {}, token)
        assert "error" not in answer, answer
        return answer

    def put(self, key, value="", lease=0):
        return int(self.call("/v3/kv/put", {"key": encode(key), "value": encode(value), "lease": lease})
                   ["header"]["revision"])

    def delete(self, key):
        return self.call("/v3/kv/deleterange", {"key": encode(key)})

    def keys(self, prefix="brain/"):
        """{key: (value, lease)}"""
        answer = self.call("/v3/kv/range", {"key": encode(prefix), "range_end": encode(
            prefix[:-1] + chr(ord(prefix[-1]) + 1))})
        return {decode(kv["key"]): (decode(kv.get("value", "")), int(kv.get("lease", 0)))
                for kv in answer.get("kvs", [])}

    def revision(self):
        return int(self.call("/v3/kv/range", {"key": encode("x")})["header"]["revision"])

    def compact(self):
        self.call("/v3/kv/compaction", {"revision": self.revision(), "physical": True})

    def leases(self):
        return {int(lease["ID"]) for lease in self.call("/v3/lease/leases").get("leases", [])}

    def enable_users(self, *users):
        """users: (name, password, prefix to which it has access)"""
        self.call("/v3/auth/user/add", {"name": "root", "password": "of-all"})
        self.call("/v3/auth/user/grant", {"user": "root", "role": "root"}) if self.call(
            "/v3/auth/role/add", {"name": "root"}) else None
        for name, password, prefix in users:
            self.call("/v3/auth/user/add", {"name": name, "password": password})
            self.call("/v3/auth/role/add", {"name": name})
            self.call("/v3/auth/role/grant", {"name": name, "perm": {
                "permType": "READWRITE", "key": encode(prefix),
                "range_end": encode(prefix[:-1] + chr(ord(prefix[-1]) + 1))}})
            self.call("/v3/auth/user/grant", {"user": name, "role": name})
        self.call("/v3/auth/enable")
