"""An S3 server of a few lines that does what the real one cannot be made to do: other kinds of
conditions, answers that get lost, refusals on demand. It verifies no signature: what must be
signed right is tested with the real one (radosgw.py)."""
import hashlib
import http.server
import re
import socket
import threading
import time
import urllib.parse


class FakeS3:
    """conditions: "quoted", "bare" (If-Match with or without quotes only), "501", "ignored"."""

    def __init__(self, conditions="quoted"):
        self.conditions = conditions
        self.objects = {}
        self.lock = threading.Lock()
        self.requests = []
        # trouble(method, name, headers) is asked before each request: None, or a dict with any of
        # delay (seconds), status and code (answered instead), lose (apply, then close without an
        # answer), cut (bytes of the answer's body that are sent), length (what it says it is).
        self.trouble = lambda method, name, headers: None
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def serve(self):
                fake.serve(self)

            do_GET = do_PUT = do_DELETE = serve

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def options(self):
        return {"endpoint": f"http://127.0.0.1:{self.port}", "bucket": "brain", "access_key": "fake",
                "secret_key": "fake"}

    def serve(self, handler):
        name = urllib.parse.unquote(handler.path).removeprefix("/brain/")
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append((handler.command, name, dict(handler.headers)))
        trouble = self.trouble(handler.command, name, handler.headers) or {}
        time.sleep(trouble.get("delay", 0))
        if "status" in trouble:
            status, headers, answer = trouble["status"], {}, self.error(trouble.get("code", ""))
        else:
            with self.lock:
                status, headers, answer = self.apply(handler.command, name, handler.headers, body)
        if trouble.get("lose"):
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(trouble.get("length", len(answer))))
        handler.end_headers()
        cut = trouble.get("cut", len(answer))
        handler.wfile.write(answer[:cut])
        if cut < trouble.get("length", len(answer)):
            handler.close_connection = True

    @staticmethod
    def error(code):
        return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message></Message></Error>".encode()

    @staticmethod
    def etag(body):
        return hashlib.md5(body).hexdigest()

    def holds(self, name, headers):
        """Does the condition hold? None: it is not known."""
        match, none = headers.get("If-Match"), headers.get("If-None-Match")
        if self.conditions == "ignored" or (match is None and none is None):
            return True
        if self.conditions == "501":
            return None
        if none is not None:
            return name not in self.objects
        if name not in self.objects:
            return False
        etag = self.etag(self.objects[name])
        return match == (f'"{etag}"' if self.conditions == "quoted" else etag)

    def apply(self, method, name, headers, body):
        holds = self.holds(name, headers)
        if holds is None:
            return 501, {}, self.error("NotImplemented")
        if not holds:
            return 412, {}, self.error("PreconditionFailed")
        if method == "PUT":
            self.objects[name] = body
            return 200, {"ETag": f'"{self.etag(body)}"'}, b""
        if method == "DELETE":
            self.objects.pop(name, None)
            return 204, {}, b""
        if name not in self.objects:
            return 404, {}, self.error("NoSuchKey")
        body = self.objects[name]
        headers_out = {"ETag": f'"{self.etag(body)}"'}
        part = re.fullmatch(r"bytes=0-(\d+)", headers.get("Range") or "")
        if part and not body:
            return 416, {}, self.error("InvalidRange")
        if part:
            return 206, headers_out, body[:int(part[1]) + 1]
        return 200, headers_out, body
