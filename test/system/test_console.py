"""brain-console: interactive on a real terminal (a pty), and with one command on the command line."""
import fcntl
import os
import pty
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import BUILD, COOKIE, SANITIZER_OPTIONS, SANITIZER_REPORT, SANITIZER_STATUS, \
    die_with_parent, free_port, wait_until

CONSOLE = str(BUILD / "cnode/tools/brain-console")
PROMPT = "brain@localhost> "


@pytest.fixture
def home(tmp_path):
    """The home of a user with the right cookie."""
    place = tmp_path / "home"
    place.mkdir()
    (place / ".erlang.cookie").write_text(COOKIE)
    (place / ".erlang.cookie").chmod(0o400)
    return place


def environment_of(home, epmd_port, **more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    return {**kept, **SANITIZER_OPTIONS, "HOME": str(home), "ERL_EPMD_PORT": str(epmd_port), "TERM": "xterm",
            **more}


@pytest.fixture
def once(home, epmd):
    """once(words...) -> (exit status, stdout, stderr) of one run."""
    def run(*words, stdin="", epmd_port=epmd.port, environment=None, timeout=60):
        done = subprocess.run([CONSOLE, *words], input=stdin.encode() if isinstance(stdin, str) else stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False,
                              env=environment_of(home, epmd_port, **(environment or {})),
                              preexec_fn=die_with_parent)
        errors = done.stderr.decode()
        assert done.returncode != SANITIZER_STATUS and not SANITIZER_REPORT.search(errors), errors
        return done.returncode, done.stdout.decode(), errors
    return run


class Terminal:
    """A console on a pty, and a person who types."""

    def __init__(self, home, epmd_port, *arguments, locale="C.UTF-8"):
        # libedit keeps the names that el_set(EL_ADDFN) copies: its leak, not ours.
        options = {key: value.replace("detect_leaks=1", "detect_leaks=0")
                   for key, value in SANITIZER_OPTIONS.items()}
        environment = environment_of(home, epmd_port, **options, LC_ALL=locale)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.descriptor = master

        def become_foreground():
            die_with_parent()
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen([CONSOLE, *arguments], stdin=slave, stdout=slave, stderr=slave,
                                        env=environment, preexec_fn=become_foreground)
        os.close(slave)
        self.seen = ""

    def expect(self, text, timeout=10):
        """Waits for `text`; returns what came before it."""
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                try:
                    data = os.read(self.descriptor, 65536)
                except OSError:
                    data = b""
                assert data, f"the console ended; no {text!r} in {self.seen!r}"
                self.seen += data.decode(errors="surrogateescape")
        before, _, self.seen = self.seen.partition(text)
        return before

    def prompt(self):
        """Waits for the prompt, and until libedit edits: it prints the prompt before it takes the
        terminal over from the kernel's echo."""
        before = self.expect(PROMPT)
        wait_until(lambda: not termios.tcgetattr(self.descriptor)[3] & termios.ECHO, what="editing")
        return before

    def type(self, keys):
        os.write(self.descriptor, keys.encode())

    def command(self, line):
        """Types a line at the prompt; returns what the console says to it."""
        self.type(line + "\r")
        said = self.prompt()
        echo, _, answer = said.partition("\r\n")
        return answer.replace("\r\n", "\n").rstrip("\n")

    def wait(self, timeout=10):
        return self.process.wait(timeout)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.descriptor)


@pytest.fixture
def terminal(home, epmd):
    opened = []

    def start(*arguments, **options):
        made = Terminal(home, epmd.port, *arguments, **options)
        opened.append(made)
        made.prompt()
        return made
    yield start
    for made in opened:
        made.close()


# ---- one command ---------------------------------------------------------------------------------


def test_one_command_each(server, once):
    assert once("get", "user:1") == (1, "", "no such object\n")
    assert once("set", "user:1", '#{name => "Ann", n => -7}') == (0, "ok\n", "")
    assert once("get", "user:1") == (0, '#{name => "Ann",n => -7}\n', "")
    assert once("dump", "user:1") == (0, "ok\n", "")
    with server.client() as client:
        assert client.info()["object"]["objects"] == 0
    assert once("get", "user:1") == (0, '#{name => "Ann",n => -7}\n', "")
    assert once("del", "user:1") == (0, "ok\n", "")
    assert once("get", "user:1") == (1, "", "no such object\n")
    assert once("get user:1") == (1, "", "no such object\n"), "one word with spaces is a whole line"


def test_info_is_laid_out(server, once):
    once("set", "a", "1")
    status, out, errors = once("info")
    assert status == 0 and errors == ""
    assert re.search(r"^node +brain@localhost$", out, re.MULTILINE)
    assert re.search(r"^warehouse_error +-$", out, re.MULTILINE)
    assert re.search(r"^object\n  objects +1$", out, re.MULTILINE)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "de_DE.ISO-8859-1"])
def test_text_is_utf8_in_every_locale(server, once, locale):
    environment = {"LC_ALL": locale}
    assert once("set", "clé", '{"héllo", <<"日本"/utf8>>, atom}', environment=environment)[0] == 0
    assert once("get", "clé", environment=environment)[1] == '{"héllo",<<"日本"/utf8>>,atom}\n'
    with server.client() as client:
        assert client.get("clé".encode())[0] == "ok"


@pytest.mark.parametrize("id", ["a b", 'q"uo"te', '"', "back\\slash", "ünï 😀", " ", "x" * 1024], ids=range(7))
def test_an_id_is_what_the_shell_gave(server, once, id):
    assert once("set", id, "1") == (0, "ok\n", "")
    with server.client() as client:
        assert client.get(id.encode()) == ("ok", 1)
    assert once("get", id) == (0, "1\n", "")


@pytest.mark.parametrize("line, id", [
    ('"a b"', b"a b"), ('"say \\"hi\\""', b'say "hi"'), ('"a\\\\b"', b"a\\b"), ('"plain"', b"plain"), ('a"b', b'a"b'),
    ("a\\b", b"a\\b")])
def test_an_id_in_a_line_may_be_quoted(server, once, line, id):
    assert once(stdin=f"set {line} [1]\n") == (0, "ok\n", "")
    with server.client() as client:
        assert client.get(id)[0] == "ok"


WRONG_LINES = [
    ("set x {a, b", "not an Erlang term: ',' or '}' expected\n  {a, b\n       ^\n"),
    ("set x [1,,2]", "not an Erlang term: a term expected\n  [1,,2]\n     ^\n"),
    ('set x {"héé", Foo}', "not an Erlang term: variables have no value here; atoms in capitals need 'quotes'\n"
     '  {"héé", Foo}\n          ^\n'),
    # Of a long term, the place. Wide characters take two columns.
    ('set x ["日本" x]', "not an Erlang term: ',' or ']' expected\n  [\"日本\" x]\n" + " " * 10 + "^\n"),
    ("set x [" + "a," * 1000 + ",b" + ",a" * 1000 + "]", "not an Erlang term: a term expected\n  ..." + "a," * 30
     + "," + "b" + ",a" * 9 + "...\n" + " " * 65 + "^\n"),
    ("set x", 'set needs an id and a term: set user:1 #{name => "Ann"}\n'),
    ("get", "which object? Name its id after the command\n"),
    ("get a b", "too much after the id; put an id with spaces in double quotes\n"),
    ('get "a b', "the quote before the id has no end\n"),
    ('get "' + "x" * 1025 + '"', "the id is longer than 1024 bytes\n"),
    ("get " + "x" * 1025, "error: bad_id: not an id: 1 to 1024 bytes of binary, string, atom or integer\n"),
    ("nonsense", 'no command "nonsense"; ? lists them\n'),
]


@pytest.mark.parametrize("line, sentence", WRONG_LINES, ids=range(len(WRONG_LINES)))
def test_what_is_wrong_is_said(server, once, line, sentence):
    status, out, errors = once(stdin=line + "\n")
    assert (status, out) == (1, "")
    assert errors == sentence


def test_bytes_that_are_no_text(server, once):
    assert once(stdin=b"set x 1\0 2\n") == (1, "", "a line with a zero byte is no command\n")
    status, out, _ = once(stdin=b'set x "\xff\xfe"\n')
    assert (status, out) == (1, "")
    assert once(stdin=b"get \xff\xfe\n") == (1, "", "no such object\n")
    assert once(stdin="") == (0, "", "")


def test_a_pipe_carries_commands(server, once):
    assert once(stdin="get a\nset a {1,2}\n\n  get   a  \nquit\nget zz\n") == (0, "ok\n{1,2}\n", "no such object\n")
    assert once(stdin="set a 1\nget zz") == (1, "ok\n", "no such object\n")


def test_a_megabyte(server, once):
    value = '<<"' + "x" * 1_000_000 + '">>'
    status, out, errors = once(stdin=f"set big {value}\nget big\n")
    assert (status, errors) == (0, "") and out == f"ok\n{value}\n"
    tuples = "[" + ",".join(["{a,1}"] * 100_000) + "]"
    status, out, errors = once(stdin=f"set many {tuples}\nget many\n", timeout=120)
    assert (status, errors) == (0, "") and out == f"ok\n{tuples}\n"


def test_values_do_not_steer_the_terminal(server, once):
    with server.client() as client:
        assert client.set(b"esc", b"\x1b[2J\x9b\x07") == "ok"
    assert once("get", "esc") == (0, "<<27,91,50,74,155,7>>\n", "")


def test_output_that_cannot_be_written_is_a_failure(server, home, epmd):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([CONSOLE, "info"], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
                              env=environment_of(home, epmd.port), timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, b"brain-console: the output could not be written\n")


# ---- what can be wrong with the connection -------------------------------------------------------


def test_no_epmd(once):
    port = free_port()
    assert once("get", "a", epmd_port=port) == (
        1, "", f"no epmd answers on localhost port {port}: no Erlang node runs there, brain-server neither\n")


def test_no_such_node(once):
    assert once("get", "a") == (1, "", "no node named brain is registered with epmd on localhost\n")
    assert once("--node", "other@localhost", "info") == (
        1, "", "no node named other is registered with epmd on localhost\n")


def test_wrong_cookie(server, once, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("NOTTHECOOKIE\n")
    assert once("--cookie-file", str(wrong), "get", "a") == (
        1, "", "brain@localhost refused the handshake: most likely its cookie is not the one of " f"{wrong}\n")
    assert COOKIE not in server.log
    right = tmp_path / "right"
    right.write_text(COOKIE + "\n")
    assert once("--cookie-file", str(right), "get", "a") == (1, "", "no such object\n")


@pytest.mark.parametrize("arguments, sentence", [
    (["--node", "brain", "info"], 'brain-console: "brain" is not a node name; it has the form name@host\n'),
    (["--node", "@localhost", "info"], 'brain-console: "@localhost" is not a node name; it has the form name@host\n'),
    (["--cookie-file", "/no/such/file", "info"],
     "brain-console: the cookie file /no/such/file cannot be read: No such file or directory\n"),
    (["--cookie-file", "/dev/null", "info"],
     "brain-console: the first line of the cookie file /dev/null is no cookie (1 to 255 bytes)\n"),
    (["--timeout", "soon", "info"], 'brain-console: --timeout: "soon" is not a number of milliseconds\n'),
    (["--timeout", "0", "info"], 'brain-console: --timeout: "0" is not a number of milliseconds\n'),
    (["--bogus"], "brain-console: unrecognized option '--bogus'\nbrain-console --help tells how it is used\n"),
])
def test_options_that_cannot_be(once, arguments, sentence):
    assert once(*arguments) == (2, "", sentence)


def test_no_cookie_at_all(once, home):
    (home / ".erlang.cookie").unlink()
    assert once("info") == (2, "", f"brain-console: the cookie file {home}/.erlang.cookie cannot be read: "
                            "No such file or directory\n")


def test_unknown_host(once):
    status, out, errors = once("--node", "brain@nowhere.invalid", "info")
    assert (status, out) == (1, "") and errors.startswith("the host nowhere.invalid is not known: ")


def test_help_and_version(once):
    status, out, errors = once("--help")
    assert status == 0 and errors == "" and out.startswith("Usage: brain-console ")
    assert re.fullmatch(r"brain-console \d+\.\d+\.\d+\n", once("--version")[1])
    status, out, errors = once("help")
    assert status == 0 and errors == "" and "set ID TERM" in out
    assert once("?")[1] == out


def test_a_server_that_does_not_answer(server, once):
    server.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert once("--timeout", "500", "get", "a") == (1, "", "brain@localhost did not answer within 500 ms\n")
        assert 0.4 < time.monotonic() - started < 5
    finally:
        server.send_signal(signal.SIGCONT)
    assert once("--name", "nobody", "--timeout", "500", "get", "a") == (
        1, "", "no answer from the process nobody of brain@localhost within 500 ms\n")


def test_an_epmd_that_does_not_answer(server, epmd, once):
    epmd.process.send_signal(signal.SIGSTOP)
    try:
        assert once("--timeout", "300", "get", "a") == (1, "", "epmd on localhost did not answer in time\n")
    finally:
        epmd.process.send_signal(signal.SIGCONT)


def test_frames_that_lie(server, once):
    """A relay in front of the server says what the server never would, once the handshake is over."""
    for frame, sentence in [
            (b"\x00\x00\x00\x03\x70\x83\x68", "cannot be read: the peer broke the distribution protocol"),
            (b"\x00\x00\x00\x01\x70", "cannot be read: the peer broke the distribution protocol"),
            (b"\xff\xff\xff\xff\x70\x83", "cannot be read: larger than the configured limit"),
            (b"\x3f\xff\xff\xff\x70\x83", "brain@localhost closed the connection"),
            (b"\x00\x00\x00\x08\x70\x83\x68\x03\x61\x02\x77\x00", "cannot be read: the peer broke the"),
            (b"", "brain@localhost closed the connection")]:
        with Relay(server.port, frame) as relay:
            status, out, errors = once("--timeout", "5000", "get", "a", epmd_port=relay.epmd_port)
        assert (status, out) == (1, "") and sentence in errors, (frame, errors)


class Relay:
    """An epmd that names our own port, and a relay there that passes the handshake on and then
    answers the first request with `frame` and closes."""

    def __init__(self, server_port, frame):
        self.server_port, self.frame = server_port, frame
        self.epmd, self.node = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.epmd_port, self.port = (s.getsockname()[1] for s in (self.epmd, self.node))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        asking = self.epmd.accept()[0]
        asking.recv(1000)
        name = b"brain"
        asking.sendall(struct.pack(">BBHBBHHH", 119, 0, self.port, 72, 0, 6, 5, len(name)) + name + b"\0\0")
        asking.close()
        client = self.node.accept()[0]
        server = socket.create_connection(("127.0.0.1", self.server_port))
        while True:
            for readable in select.select([client, server], [], [], 10)[0]:
                data = readable.recv(65536)
                if readable is client and b"$gen_call" in data:
                    client.sendall(self.frame)
                    client.close()
                    server.close()
                    return
                (server if readable is client else client).sendall(data)
                if not data:
                    return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(10)
        self.epmd.close()
        self.node.close()


# ---- on a terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_session(server, terminal, locale):
    console = terminal(locale=locale)
    assert console.command('set greeting {"héllo", <<"日本"/utf8>>}') == "ok"
    assert console.command("get greeting") == '{"héllo",<<"日本"/utf8>>}'
    assert console.command("get nobody") == "no such object"
    assert console.command('set "with space" 2') == "ok"
    assert console.command('get "with space"') == "2"
    assert console.command("set x {1,").startswith("not an Erlang term: ")
    assert "set ID TERM" in console.command("?")
    assert console.command("") == ""
    assert "node                     brain@localhost" in console.command("info")
    console.type("quit\r")
    assert console.wait() == 0


def test_history_survives(server, terminal, home):
    console = terminal()
    assert console.command("set first 11") == "ok"
    assert console.command("set second 22") == "ok"
    console.type("\x1b[A")
    console.expect("set second 22")
    console.type("\x1b[A")
    console.expect("first 11")
    console.type("3\r")  # edits the line that came back: 113
    assert "ok" in console.prompt()
    assert console.command("get first") == "113"
    console.type("\x04")
    assert console.wait() == 0
    assert stat.S_IMODE((home / ".brain_console_history").stat().st_mode) == 0o600
    again = terminal()
    again.type("\x1b[A")
    again.expect("get first")
    again.type("\r")
    assert "113" in again.prompt()


def test_completion(server, terminal):
    console = terminal()
    assert console.command("set a 1") == "ok"
    console.type("g\t")
    console.expect("et ")
    console.type("a\r")
    assert "1" in console.prompt()
    console.type("d\t")
    listed = console.expect(PROMPT)
    assert "dump  del" in listed and "get" not in listed
    console.expect("d")
    console.type("u\t")
    console.expect("mp ")
    console.type("a\r")
    assert "ok" in console.prompt()


def test_interrupt_gives_up_the_line(server, terminal):
    console = terminal()
    console.type("set a 1")
    console.expect("set a 1")
    console.type("\x03")
    console.prompt()
    assert console.command("get a") == "no such object"
    console.type("\x03")
    console.prompt()
    console.type("\x04")
    assert console.wait() == 1, "the status of the last command"


def test_interrupt_gives_up_waiting(server, terminal):
    console = terminal("--timeout", "60000")
    server.send_signal(signal.SIGSTOP)
    try:
        console.type("get a\r")
        console.expect("get a\r\n")
        time.sleep(0.3)
        console.type("\x03")
        console.expect("interrupted; brain@localhost did not answer yet", 5)
        console.prompt()
    finally:
        server.send_signal(signal.SIGCONT)
    assert console.command("get a") == "no such object"


def test_interrupt_gives_up_an_answer(server, terminal):
    console = terminal("--timeout", "60000", "--name", "nobody")
    console.type("set a 1\r")
    console.expect("set a 1\r\n")
    with server.client() as client:
        wait_until(lambda: client.info()["dist"]["connections"] == 2, 10, "the request")
    time.sleep(0.3)
    console.type("\x03")
    console.expect("interrupted; whether brain@localhost did it is not known", 5)
    console.prompt()


def test_a_server_that_comes_back(new_server, terminal, epmd):
    server = new_server()
    console = terminal()
    assert console.command("set kept 5") == "ok"
    server.stop()
    assert console.command("get kept") == "no node named brain is registered with epmd on localhost"
    new_server()
    assert console.command("get kept") == "5"


def test_a_console_at_its_prompt_holds_no_connection(server, terminal):
    console = terminal()
    assert console.command("set a 1") == "ok"
    with server.client() as client:
        wait_until(lambda: client.info()["dist"]["connections"] == 1, 5, "one connection, this one")
        assert client.info()["dist"]["silent_peers"] == 0
    assert console.command("get a") == "1"


def test_shutdown_asks(server, terminal):
    console = terminal()
    question = "Persist everything and stop brain@localhost? [y/N] "
    assert console.command("set a 1") == "ok"
    for no in ["n\r", "\r", "maybe\r", "\x03", "\x04"]:
        console.type("shutdown\r")
        console.expect(question)
        console.type(no)
        assert "not stopped" in console.prompt(), repr(no)
    assert console.command("get a") == "1"
    console.type("shutdown\r")
    console.expect(question)
    console.type("y\r")
    assert "ok" in console.prompt()
    assert server.wait(30) == 0
    assert console.command("get a") == "no node named brain is registered with epmd on localhost"


def test_shutdown_without_a_person(server, once):
    question = "Persist everything and stop brain@localhost? [y/N] \n"
    assert once("shutdown") == (1, "", question + "not stopped\n")
    assert once("shutdown", stdin="no\n") == (1, "", question + "not stopped\n")
    assert server.process.poll() is None
    assert once("--yes", "shutdown") == (0, "ok\n", "")
    assert server.wait(30) == 0
