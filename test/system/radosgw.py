"""A real S3 server for the tests: Ceph's RADOS Gateway, started and stopped by scripts/lib."""
import hashlib
import os
import re
import socket
import subprocess
import urllib.parse
import xml.etree.ElementTree

from harness import ROOT

SCRIPTS = ROOT / "scripts" / "lib"


OSD_PORTS = 101  # the OSD takes some of so many
FIRST_PORT, LAST_PORT = 20000, 32000  # below those that the kernel gives to clients
BLOCK = OSD_PORTS + 3


def port_block():
    """The first of BLOCK ports that are free, and that no connection of another test can take while
    the daemons start. Workers that run side by side look in different places."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
    blocks = list(range(FIRST_PORT, LAST_PORT - BLOCK, BLOCK))
    blocks = blocks[worker::16] + blocks
    for first in blocks:
        if all(is_free(port) for port in range(first, first + BLOCK)):
            return first
    raise AssertionError(f"no {BLOCK} free ports in a row")


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


class Radosgw:
    def __init__(self, directory, store="memstore", bucket="brain"):
        self.directory, self.bucket = directory, bucket
        first = port_block()
        self.port, self.tls_port = first + OSD_PORTS, first + OSD_PORTS + 1
        self.certificate = directory / "certificate.pem"
        # Whoever closes this pipe, also by dying, stops the daemons.
        self.guard = subprocess.Popen(
            ["bash", "-c", 'read -r _; exec "$0" "$1" -9', str(SCRIPTS / "stop-radosgw"), str(directory)],
            stdin=subprocess.PIPE, start_new_session=True)
        try:
            environment = {**os.environ, "RGW_PORT": str(self.port),
                           "RGW_TLS_PORT": str(self.tls_port), "MON_PORT": str(first + OSD_PORTS + 2),
                           "OSD_PORT": str(first)}
            subprocess.run([SCRIPTS / "start-radosgw", directory, store], check=True, timeout=150,
                           env=environment, stdin=subprocess.DEVNULL)
            settings = dict(line.split("=", 1) for line in (directory / "env").read_text().splitlines())
            self.endpoint = settings["S3_ENDPOINT"]
            self.key, self.secret = settings["S3_KEY"], settings["S3_SECRET"]
            assert self.request("PUT", "")[0] == 200
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.guard.stdin.close()
        self.guard.wait(timeout=60)

    def stop_gateway(self):
        subprocess.run([SCRIPTS / "stop-radosgw", self.directory, "-9", "client.rgw"], check=True, timeout=30)

    def start_gateway(self):
        subprocess.run([SCRIPTS / "start-radosgw-gateway", self.directory, str(self.port)], check=True, timeout=60)

    def crash(self):
        """The gateway and what keeps its objects end at once, and start again on what is on the disk: with
        store="bluestore" that is all that was acknowledged."""
        subprocess.run([SCRIPTS / "stop-radosgw", self.directory, "-9", "client.rgw", "osd.0"], check=True, timeout=30)
        for _ in range(5):  # see start-radosgw: one time in ten it exits for want of the map
            if subprocess.run(["ceph-osd", "-c", str(self.directory / "ceph.conf"), "-i", "0"], timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0:
                break
        else:
            raise AssertionError("the OSD does not start again")
        self.start_gateway()

    @property
    def options(self):
        return {"endpoint": self.endpoint, "bucket": self.bucket, "access_key": self.key,
                "secret_key": self.secret}

    def request(self, method, path, body=b""):
        """With curl, not with our code. `path` as in a URL. Returns (status, body)."""
        command = ["curl", "-s", "--noproxy", "*", "-o", "-", "-w", "\n%{http_code}", "-X", method, "--path-as-is",
                   "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", f"{self.key}:{self.secret}",
                   "-H", f"x-amz-content-sha256: {hashlib.sha256(body).hexdigest()}",
                   f"{self.endpoint}/{self.bucket}{path}"]
        if body:
            command += ["--data-binary", "@-", "-H", "Content-Type: application/octet-stream"]
        done = subprocess.run(command, input=body, stdout=subprocess.PIPE, timeout=60, check=True)
        answer, _, status = done.stdout.rpartition(b"\n")
        return int(status), answer

    def get(self, path):
        status, body = self.request("GET", "/" + path)
        assert status == 200, (status, body[:300])
        return body

    def names(self, prefix=""):
        status, body = self.request("GET", f"?list-type=2&prefix={urllib.parse.quote(prefix, safe='')}")
        assert status == 200, body
        tree = xml.etree.ElementTree.fromstring(body)
        return [node.text for node in tree.iter() if node.tag.endswith("}Key")]
