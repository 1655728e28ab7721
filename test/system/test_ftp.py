"""The FTP warehouse, through warehouse_tool, against a real FTP server: plain and with TLS."""
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from fault_proxy import FtpProxy, ftp_answer, late_answer, lose_answer, reset
from ftp_server import FtpServer
from harness import wait_until
from warehouse import NONE, Tool, expect_conflict

DIR = "data/brain"


class Files:
    """What is on the server, behind the warehouse's back."""

    def __init__(self, server, directory=DIR):
        self.root = pathlib.Path(server.files) / directory

    def of(self, id):
        """The names of one object's versions, and all others in its directory."""
        id = id.encode() if isinstance(id, str) else id
        digest = hashlib.sha256(id).hexdigest()
        return self.root / digest[:2] / digest[2:4]

    def names(self, id):
        return sorted(path.name for path in self.of(id).iterdir() if path.name != "zz-complete")

    def all(self):
        return sorted(path.name for path in self.root.rglob("*") if path.is_file() and path.name != "zz-complete")


def version(*numbers):
    return ".".join(f"{number:016x}" for number in numbers)


def options_of(server, **more):
    options = {"manager": "ftp", "port": server.port, "user": server.user, "pass": server.password, "dir": DIR,
               "timeout": 10000}
    if server.tls != "off":
        options.update(tls="true", ca_file=server.certificate)
    return {**options, **more}


@pytest.fixture(params=["plain", "tls"])
def ftp(request, tmp_path):
    with FtpServer(tmp_path / "ftp", "off" if request.param == "plain" else "required") as server:
        yield server


@pytest.fixture
def plain(tmp_path):
    with FtpServer(tmp_path / "ftp") as server:
        yield server


@pytest.fixture
def new_tool(tmp_path):
    tools = []

    def start(server, **more):
        tools.append(Tool(tmp_path, **options_of(server, **more)))
        return tools[-1]

    yield start
    for made in tools:
        made.close()


# ---- what comes back, and under which name ------------------------------------------------------

def test_round_trip(ftp, new_tool):
    tool = new_tool(ftp)
    for number, value in enumerate(["1:1", "300000:2", "20000000:3"]):
        id = f"user:{number}"
        assert tool.load(id).status == "not_found"
        stored = tool.dump(id, "0.7.1", value, NONE)
        assert stored.status == "ok", stored
        loaded = tool.load(id)
        assert (loaded.status, loaded.stored, loaded.size, loaded.crc) == \
            ("ok", "0.7.1", stored.size, stored.crc), loaded
    names = Files(ftp).all()
    assert names == [f"=user%3A{number}@{version(0, 7, 1)}" for number in range(3)]
    # Whoever comes later finds the same.
    assert new_tool(ftp).load("user:2").crc == stored.crc
    if ftp.tls != "off":
        assert "data connection accepted" in ftp.log


def test_tombstone(ftp, new_tool):
    tool, files = new_tool(ftp), Files(ftp)
    assert tool.dump("k", "0.1.1").status == "ok"
    assert tool.ask("delete", "k", "0.1.2", "0.1.1").status == "ok"
    assert files.names("k") == [f"=k@{version(0, 1, 2)}.deleted"]
    loaded = tool.load("k")
    assert (loaded.status, loaded.stored, loaded.tombstone) == ("not_found", "0.1.2", True)
    late = tool.dump("k", "0.1.1")
    assert (late.status, late.stored, late.tombstone) == ("conflict", "0.1.2", True)
    assert tool.dump("k", "0.1.3").status == "ok"
    assert tool.load("k").stored == "0.1.3"
    assert files.names("k") == [f"=k@{version(0, 1, 3)}"]
    assert tool.ask("delete", "never", "0.1.4", NONE).status == "ok"


def test_ids(plain, new_tool):
    ids = ["a/b c:d", "grün/☃", "~tilde%25", ".", "..", ".hidden", "-rf", "a/../b", "*?[x]{y}", "+", "@", "=",
           "zz-complete", "tmp.", b"\x00\xff\r\n", "x" * 1024, "é" * 512, "A", "a"]
    tool = new_tool(plain)
    for number, id in enumerate(ids):
        assert tool.dump(id, "0.1.1", f"20:{number}", NONE).status == "ok", id
    for number, id in enumerate(ids):
        loaded = tool.load(id)
        assert (loaded.status, loaded.size) == ("ok", 25), (id, loaded)
        assert tool.dump(id, "0.1.2", f"20:{number}", "0.1.1").status == "ok", id
        assert len(Files(plain).names(id)) == 1
    names = Files(plain).all()
    assert len(names) == len(ids)
    assert sum(bool(re.match("=~[0-9a-f]{64}@", name)) for name in names) == 2
    assert f"=gr%C3%BCn%2F%E2%98%83@{version(0, 1, 2)}" in names


def test_absolute_and_odd_directories(plain, new_tool):
    for directory in (f"{plain.files}/abs", "two words/ü%41;type=a", ""):
        tool = new_tool(plain, dir=directory)
        assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok", directory
        assert tool.load("k").status == "ok"
        where = pathlib.Path(plain.files) / directory
        assert len(list(where.glob("??/??/=k@*"))) == 1, directory


def test_an_erlang_shell_reads_the_file(plain, new_tool, tmp_path):
    tool, files = new_tool(plain), Files(plain)
    assert tool.dump("user:1", "3.7.9", "5:1", NONE).status == "ok"
    assert tool.ask("delete", "gone", "3.7.10", NONE).status == "ok"
    script = tmp_path / "read.escript"
    script.write_text(f"""#!/usr/bin/env escript
main(_) ->
    {{ok, A}} = file:read_file("{files.of('user:1') / files.names('user:1')[0]}"),
    {{brain1, <<"user:1">>, {{3, 7}}, 9, Crc, <<_:5/binary>>}} = binary_to_term(A),
    true = is_integer(Crc),
    {{ok, B}} = file:read_file("{files.of('gone') / files.names('gone')[0]}"),
    {{brain1_deleted, <<"gone">>, {{3, 7}}, 10, Ms}} = binary_to_term(B),
    true = abs(Ms - erlang:system_time(millisecond)) < 600000,
    io:put_chars("GOOD").
""")
    done = subprocess.run(["escript", script], stdout=subprocess.PIPE, timeout=60, check=True)
    assert done.stdout == b"GOOD"


def test_set_aside(plain, new_tool):
    tool, files = new_tool(plain), Files(plain)
    for _ in range(2):
        assert tool.ask("aside", "k", "0.1.5", "10:1").status == "ok"
    kept = sorted(path.name for path in (files.root / "conflict").iterdir())
    assert len(kept) == 2 and all(name.startswith(f"=k@{version(0, 1, 5)}.") for name in kept)
    assert tool.load("k").status == "not_found"


# ---- versions -----------------------------------------------------------------------------------

def test_conditions(plain, new_tool):
    tool, files = new_tool(plain), Files(plain)
    assert tool.dump("k", "0.1.5", "10:1", NONE).status == "ok"
    expect_conflict(tool.dump("k", "0.1.6", "10:2", NONE), "0.1.5")
    expect_conflict(tool.dump("k", "0.1.6", "10:2", "0.1.4"), "0.1.5")
    assert tool.dump("k", "0.1.6", "10:2", "0.1.5").status == "ok"
    expect_conflict(tool.dump("k", "0.1.7", "10:3", "0.1.5"), "0.1.6")
    expect_conflict(tool.dump("absent", "0.1.7", "10:3", "0.1.5"), NONE)
    assert tool.dump("k", "0.2.1", "300000:3").status == "ok"
    expect_conflict(tool.dump("k", "0.1.9", "10:4"), "0.2.1")
    # This very version: an earlier attempt had succeeded.
    assert tool.dump("k", "0.2.1", "300000:3", "0.1.6").status == "ok"
    assert files.names("k") == [f"=k@{version(0, 2, 1)}"]
    assert tool.load("k").size == 300005


def test_older_versions_and_stale_files_are_removed(plain, new_tool):
    tool, files = new_tool(plain), Files(plain)
    assert tool.dump("k", "0.1.5", "10:1", NONE).status == "ok"
    place, body = files.of("k"), (files.of("k") / files.names("k")[0]).read_bytes()
    now_ms = int(time.time() * 1000)
    old, young = (f"tmp.{ms:011x}.{1:016x}" for ms in (now_ms - 86400001, now_ms - 80000000))
    for name in (f"=k@{version(0, 1, 3)}", f"=k@{version(0, 1, 4)}.deleted", f"=kk@{version(0, 1, 1)}", old, young):
        (place / name).write_bytes(body)
    assert tool.load("k").stored == "0.1.5"
    assert tool.dump("k", "0.1.6", "10:1", "0.1.5").status == "ok"
    assert files.names("k") == sorted([f"=k@{version(0, 1, 6)}", f"=kk@{version(0, 1, 1)}", young])


def test_what_is_not_ours_is_left_untouched(plain, new_tool):
    tool, files = new_tool(plain), Files(plain)
    for number, damage in enumerate([lambda b: b"", lambda b: b"hello", lambda b: b[:-1] + bytes([b[-1] ^ 1]),
                                     lambda b: b.replace(b"k", b"j"), lambda b: b[:20], lambda b: b + b"x"]):
        id = f"k{number}"
        assert tool.dump(id, "0.1.1", "30:1", NONE).status == "ok"
        path = files.of(id) / files.names(id)[0]
        damaged = damage(path.read_bytes())
        path.write_bytes(damaged)
        assert tool.load(id).status == "corrupt", number
        if number not in (2, 4, 5):  # only the beginning is looked at
            assert tool.dump(id, "0.2.1", "30:1").status == "corrupt", number
            assert path.read_bytes() == damaged


def test_many_at_once(ftp, new_tool):
    tool = new_tool(ftp, parallel=8, timeout=60000)
    dumps = [tool.submit("dump", f"k{number % 40}", f"0.1.{number + 1}", "-", f"20000:{number}")
             for number in range(120)]
    loads = [tool.submit("load", f"k{number}") for number in range(40)]
    assert {tool.answer(number).status for number in dumps} == {"ok"}
    for number, load in enumerate(loads):  # the order of one id is kept
        assert (tool.answer(load).status, tool.answer(load).stored) == ("ok", f"0.1.{number + 81}")
    assert len(Files(ftp).all()) == 40
    # Loads go on while every writer is busy.
    slow = [tool.submit("dump", f"big{number}", "0.1.1", NONE, "20000000:1") for number in range(8)]
    load = tool.answer(tool.submit("load", "k1"))
    assert load.status == "ok"
    assert {tool.answer(number).status for number in slow} == {"ok"}


# ---- what goes wrong ----------------------------------------------------------------------------

def test_server_down_and_up(plain, new_tool):
    tool = new_tool(plain, timeout=3000)
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    plain.stop()
    answers = [tool.answer(tool.submit("load", "k")), tool.dump("k", "0.1.2", "10:2", "0.1.1")]
    for answer in answers:
        assert answer.status == "warehouse" and answer.ms < 4000, answer
        assert "refused" in answer.error, answer.error
    plain.start()
    assert tool.load("k").stored == "0.1.1"
    assert tool.dump("k", "0.1.2", "10:2", "0.1.1").status == "ok"


def test_restart_between_requests_is_not_noticed(plain, new_tool):
    tool = new_tool(plain)
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    plain.stop(signal.SIGKILL)
    plain.start()
    assert tool.dump("k", "0.1.2", "10:1", "0.1.1").status == "ok"


def test_frozen_server(plain, new_tool):
    """Answers nothing: over in time, also while closing; others were not held up."""
    tool = new_tool(plain, timeout=3000)
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    os.killpg(plain.process.pid, signal.SIGSTOP)
    try:
        numbers = [tool.submit("load", f"k{number}") for number in range(20)]
        for number in numbers:
            answer = tool.answer(number)
            assert answer.status == "warehouse" and answer.ms < 4500, answer
        tool.submit("dump", "k", "0.1.2", "0.1.1", "10:1")
        since = time.monotonic()
        tool.close()
        assert time.monotonic() - since < 6
    finally:
        os.killpg(plain.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("verb", ["RNTO", "RNFR", "SIZE", "STOR", "NLST", "DELE", "EPSV"])
@pytest.mark.parametrize("fault", [lose_answer, reset, lambda: ftp_answer(b"421 going"), lambda: ftp_answer(b"450 busy")],
                         ids=["lost", "reset", "421", "450"])
def test_faults(plain, new_tool, fault, verb):
    """Whatever is lost on the way: the write is there once, and nothing older."""
    with FtpProxy(("127.0.0.1", plain.port)) as proxy:
        tool, files = new_tool(plain, port=proxy.port, parallel=2), Files(plain)
        assert tool.dump("k", "0.1.1", "300000:1", NONE).status == "ok"
        rule = proxy.add(fault(), methods=verb, times=1)
        assert tool.dump("k", "0.1.2", "300000:2", "0.1.1").status == "ok"
        assert rule.hits == 1
        assert f"=k@{version(0, 1, 2)}" in files.names("k")
        loaded = tool.load("k")
        assert (loaded.status, loaded.stored) == ("ok", "0.1.2")
        assert tool.dump("k", "0.1.3", "300000:2", "0.1.2").status == "ok"
        left = [name for name in files.names("k") if not name.startswith("tmp.")]
        assert left == [f"=k@{version(0, 1, 3)}"]


def test_a_cut_upload_is_never_renamed(plain, new_tool):
    """The server says that it has everything, and does not: seen by the size alone."""
    with FtpProxy(("127.0.0.1", plain.port)) as proxy:
        tool, files = new_tool(plain, port=proxy.port, timeout=2000), Files(plain)
        assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
        proxy.add(ftp_answer(b"213 17"), methods="SIZE", key="tmp.")
        late = tool.dump("k", "0.1.2", "10:2", "0.1.1")
        assert late.status == "warehouse" and "not all of it arrived" in late.error, late
        assert [name for name in files.names("k") if name[0] == "="] == [f"=k@{version(0, 1, 1)}"]
        proxy.clear()
        proxy.add(ftp_answer(b"502 what?"), methods="SIZE", key="tmp.")
        late = tool.dump("k", "0.1.2", "10:2", "0.1.1")
        assert late.status == "warehouse" and "502" in late.error, late
        assert [name for name in files.names("k") if name[0] == "="] == [f"=k@{version(0, 1, 1)}"]


def test_no_permission_is_not_absence(plain, new_tool):
    """What cannot be looked at is never said to be absent."""
    with FtpProxy(("127.0.0.1", plain.port)) as proxy:
        tool = new_tool(plain, port=proxy.port, timeout=2000)
        assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
        for verb, reply in [("NLST", "550 Permission denied"), ("NLST", "226 Done (but failed to open directory)"),
                            ("NLST", "450 No such file"), ("CWD", "550 Permission denied"),
                            ("RETR", "550 Permission denied"), ("NLST", "425 no data connection")]:
            proxy.add(ftp_answer(reply.encode()), methods=verb)
            loaded = new_tool(plain, port=proxy.port, timeout=2000).load("k")
            assert loaded.status == "warehouse", (verb, reply, loaded)
            proxy.clear()
        assert tool.load("k").status == "ok"


def test_refusals_are_told_at_once(plain, new_tool):
    with FtpProxy(("127.0.0.1", plain.port)) as proxy:
        tool = new_tool(plain, port=proxy.port, timeout=8000)
        for verb, reply, words in [("STOR", "552 Quota exceeded", "full"), ("STOR", "550 Permission denied", "permission"),
                                   ("RNTO", "553 Not allowed", "permission")]:
            proxy.add(ftp_answer(reply.encode()), methods=verb, key="=" if verb == "RNTO" else "")
            refused = tool.dump("k", "0.1.1", "10:1", NONE)
            assert refused.status == "warehouse" and refused.ms < 3000, refused
            assert words in refused.error and reply[:3] in refused.error, refused.error
            proxy.clear()
        assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"


def test_what_waits_for_its_turn_has_not_failed(plain, new_tool):
    """More requests than the store serves within `timeout`: as long as it answers, none of them is over for that. What
    somebody waits for is served before the rest."""
    with FtpProxy(("127.0.0.1", plain.port)) as proxy:
        tool = new_tool(plain, port=proxy.port, parallel=4, timeout=1500, patience=60000)
        assert tool.dump("k0", "0.1.1", "10:1", NONE).status == "ok"
        proxy.add(late_answer(0.2), methods="NLST")
        looks = [tool.submit("look", f"look{number}") for number in range(30)]
        dumps = [tool.submit("dump", f"dump{number}", "0.1.1", NONE, "10:1") for number in range(30)]
        loads = [tool.submit("load", f"load{number}") for number in range(40)]
        answers = {number: tool.answer(number) for number in looks + dumps + loads}
        assert {answers[number].status for number in looks + loads} == {"not_found"}
        assert {answers[number].status for number in dumps} == {"ok"}
        assert max(answer.ms for answer in answers.values()) > 2 * 1500, "the store was not slow enough for the test"
        order = list(tool.answers)
        assert sum(order.index(number) < order.index(loads[-1]) for number in looks + dumps) < 30
        assert tool.load("k0").status == "ok"


def test_slow_answers_hold_nobody_else_up(plain, new_tool):
    with FtpProxy(("127.0.0.1", plain.port)) as proxy:
        tool = new_tool(plain, port=proxy.port, parallel=8)
        assert tool.dump("fast", "0.1.1", "10:1", NONE).status == "ok"
        proxy.add(late_answer(3), methods="STOR", key="tmp.", times=4)
        slow = [tool.submit("dump", f"slow{number}", "0.1.1", NONE, "10:1") for number in range(4)]
        wait_until(lambda: proxy.count(method="STOR", fault="late_answer") == 4, 10, "four slow uploads")
        for _ in range(5):
            assert tool.load("fast").ms < 1500
        assert {tool.answer(number).status for number in slow} == {"ok"}


# ---- how it is configured -----------------------------------------------------------------------

def test_wrong_password(ftp, new_tool):
    tool = new_tool(ftp, **{"pass": "wrong"})
    answer = tool.load("k")
    assert answer.status == "warehouse" and answer.ms < 8000, answer
    assert "ftp_user and ftp_pass" in answer.error and "530" in answer.error
    assert "wrong" not in answer.error


def test_tls_is_never_given_up(tmp_path, new_tool):
    with FtpServer(tmp_path / "without") as server:
        answer = new_tool(server, tls="true").load("k")
        assert answer.status == "warehouse" and "TLS" in answer.error, answer
        assert "USER" not in server.log
    with FtpServer(tmp_path / "with", "required") as server:
        answer = new_tool(server, ca_file="/etc/ssl/certs/ca-certificates.crt").load("k")
        assert answer.status == "warehouse" and "ftp_ca_file" in answer.error, answer
        answer = new_tool(server, tls="false").load("k")
        assert answer.status == "warehouse", answer


def test_unknown_host(plain, new_tool):
    answer = new_tool(plain, host="nowhere.invalid", timeout=2000).load("k")
    assert answer.status == "warehouse" and "ftp_host" in answer.error and answer.ms < 7000, answer


@pytest.mark.parametrize("more, words", [({"host": ""}, "ftp_host"), ({"port": "0"}, "ftp_port"),
                                         ({"user": "a\nb"}, "ftp_user"), ({"dir": "a\rb"}, "ftp_dir")])
def test_bad_options(plain, new_tool, more, words):
    tool = new_tool(plain, **more)
    assert tool.refusal and tool.refusal.startswith("config") and words in tool.refusal
