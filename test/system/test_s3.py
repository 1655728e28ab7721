"""The S3 warehouse, through warehouse_tool: against a real Ceph RADOS Gateway, and against a fake
for what the real one cannot be made to do."""
import itertools
import os
import re
import subprocess
import time

import pytest

from fake_s3 import FakeS3
from harness import wait_until
from warehouse import NONE, Tool, expect_conflict


@pytest.fixture(scope="module")
def store(gateway):
    return gateway


counter = itertools.count(1)


@pytest.fixture
def new_tool(tmp_path):
    tools = []

    def start(store, **options):
        tools.append(Tool(tmp_path, **{**store.options, **options}))
        return tools[-1]

    yield start
    for made in tools:
        made.close()


@pytest.fixture
def prefix():
    return f"t{os.getpid()}.{next(counter)}/"


@pytest.fixture
def tool(new_tool, store, prefix):
    return new_tool(store, prefix=prefix)


@pytest.fixture
def new_fake():
    fakes = []

    def start(*arguments):
        fakes.append(FakeS3(*arguments))
        return fakes[-1]

    yield start
    for made in fakes:
        made.stop()


# ---- what comes back, and under which name ------------------------------------------------------

@pytest.mark.parametrize("value", ["1:1", "300000:2", "20000000:3"])
def test_round_trip(tool, value):
    stored = tool.dump("user:1", "0.7.1", value, NONE)
    assert stored.status == "ok", stored
    loaded = tool.load("user:1")
    assert (loaded.status, loaded.stored, loaded.size, loaded.crc) == ("ok", "0.7.1", stored.size, stored.crc)
    assert tool.load("user:2").status == "not_found"


def test_tombstone(tool, prefix, store):
    assert tool.dump("k", "0.1.1").status == "ok"
    assert tool.ask("delete", "k", "0.1.2", "0.1.1").status == "ok"
    loaded = tool.load("k")
    assert (loaded.status, loaded.stored, loaded.tombstone) == ("not_found", "0.1.2", True)
    late = tool.dump("k", "0.1.1")
    assert (late.status, late.stored, late.tombstone) == ("conflict", "0.1.2", True)
    assert tool.dump("k", "0.1.3").status == "ok"
    assert tool.load("k").stored == "0.1.3"
    assert tool.ask("delete", "never", "0.1.4", NONE).status == "ok"
    assert store.names(prefix) == [prefix + "k", prefix + "never"]


IDS = {
    "plain-1.2_3": "plain-1.2_3",
    "a/b c:d": "a%2Fb%20c%3Ad",
    "grün/☃": "gr%C3%BCn%2F%E2%98%83",
    "~tilde%25": "%7Etilde%2525",
    ".": ".", "..": "..", "a/../b": "a%2F..%2Fb", "?x=1&y#z": "%3Fx%3D1%26y%23z", "+": "%2B",
    b"\x00\xff\n": "%00%FF%0A",
    "x" * 900: "x" * 900,
}


def test_ids(tool, store, prefix):
    long = "é" * 512  # 1024 bytes, 3072 when encoded: named by its hash
    ids = [*IDS, long]
    for number, id in enumerate(ids):
        assert tool.dump(id, "0.1.1", f"20:{number}", NONE).status == "ok", id
    for number, id in enumerate(ids):
        loaded = tool.load(id)
        assert (loaded.status, loaded.size) == ("ok", 25), id
        assert tool.dump(id, "0.1.2", f"20:{number}", "0.1.1").status == "ok", id
    names = store.names(prefix)
    hashed = [name for name in names if name.startswith(prefix + "~")]
    assert sorted(set(names) - set(hashed)) == sorted(prefix + name for name in IDS.values())
    assert len(hashed) == 1 and re.fullmatch("~[0-9a-f]{64}", hashed[0].removeprefix(prefix))


def test_an_erlang_shell_reads_the_object(tool, store, prefix, tmp_path):
    assert tool.dump("user:1", "3.7.9", "5:1", NONE).status == "ok"
    assert tool.ask("delete", "gone", "3.7.10", NONE).status == "ok"
    (tmp_path / "object").write_bytes(store.get(prefix + "user%253A1"))
    (tmp_path / "tombstone").write_bytes(store.get(prefix + "gone"))
    script = tmp_path / "read.escript"
    script.write_text(f"""#!/usr/bin/env escript
main(_) ->
    {{ok, A}} = file:read_file("{tmp_path}/object"),
    {{brain1, <<"user:1">>, {{3, 7}}, 9, Crc, <<_:5/binary>>}} = binary_to_term(A, [safe]),
    true = is_integer(Crc),
    {{ok, B}} = file:read_file("{tmp_path}/tombstone"),
    {{brain1_deleted, <<"gone">>, {{3, 7}}, 10, Ms}} = binary_to_term(B),
    true = abs(Ms - erlang:system_time(millisecond)) < 600000,
    io:put_chars("GOOD").
""")
    # The atoms are known to nobody yet: not [safe] without this.
    script.write_text(script.read_text().replace("(A, [safe])", "(A)"))
    done = subprocess.run(["escript", script], stdout=subprocess.PIPE, timeout=60, check=True)
    assert done.stdout == b"GOOD"


def test_virtual_host_style(new_tool, store, prefix):
    tool = new_tool(store, prefix=prefix, path_style="false", endpoint=f"http://localhost:{store.port}")
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    assert store.names(prefix) == [prefix + "k"]


def test_tls(new_tool, store, prefix):
    encrypted = {"endpoint": f"https://localhost:{store.tls_port}", "prefix": prefix}
    tool = new_tool(store, ca_file=store.certificate, **encrypted)
    stored = tool.dump("k", "0.1.1", "300000:1", NONE)
    assert stored.status == "ok", stored
    assert tool.load("k").crc == stored.crc
    # Nothing is sent to somebody whose certificate is not known: not a reason not to start either.
    stranger = new_tool(store, **{**encrypted, "timeout": 1500})
    assert "certificate" in stranger.log
    failed = stranger.load("k")
    assert failed.status == "warehouse" and "certificate" in failed.error
    assert "/missing.pem cannot be read" in new_tool(store, ca_file="/missing.pem", **encrypted).refusal


# ---- versions -----------------------------------------------------------------------------------

def test_conditions(new_tool, store, prefix):
    """The same answers from one who remembers the ETags, and from one who knows nothing."""
    first = new_tool(store, prefix=prefix)
    assert "(ETag bare)" in first.log, first.log

    def fresh():
        return new_tool(store, prefix=prefix)

    for who in (lambda: first, fresh):
        id = f"k{next(counter)}"
        assert who().dump(id, "0.1.5", "10:1", NONE).status == "ok"
        expect_conflict(who().dump(id, "0.1.6", "10:2", NONE), "0.1.5")
        expect_conflict(who().dump(id, "0.1.6", "10:2", "0.1.4"), "0.1.5")
        assert who().dump(id, "0.1.6", "10:2", "0.1.5").status == "ok"
        expect_conflict(who().dump(id, "0.1.7", "10:3", "0.1.5"), "0.1.6")
        expect_conflict(who().dump(id + "absent", "0.1.7", "10:3", "0.1.5"), NONE)
        assert who().dump(id, "0.2.1", "10:3").status == "ok"
        expect_conflict(who().dump(id, "0.1.9", "10:4"), "0.2.1")
        # This very version: an earlier attempt had succeeded.
        assert who().dump(id, "0.2.1", "10:3").status == "ok"
        assert who().dump(id, "0.2.1", "10:3", "0.1.5").status == "ok"
        assert who().load(id).stored == "0.2.1"


def test_somebody_else_wrote_meanwhile(new_tool, store, prefix):
    """What is remembered is not true any more."""
    ours, other = new_tool(store, prefix=prefix), new_tool(store, prefix=prefix)
    assert ours.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    assert other.dump("k", "0.5.1", "10:2", "0.1.1").status == "ok"
    expect_conflict(ours.dump("k", "0.1.2", "10:3", "0.1.1"), "0.5.1")
    expect_conflict(ours.dump("k", "0.1.2", "10:3"), "0.5.1")
    assert other.load("k").stored == "0.5.1"
    assert ours.ask("aside", "k", "0.1.2", "10:3").status == "ok"
    assert store.names(prefix) == [prefix + "!conflict/k/0.1.2", prefix + "k"]


def test_concurrent_writers(new_tool, store, prefix):
    """Many versions of one id from four processes at once: the highest is there in the end, and
    whoever was told `conflict` was told of a higher one."""
    tools = [new_tool(store, prefix=prefix) for _ in range(4)]
    sent = []
    for counter_ in range(1, 41):
        for number, made in enumerate(tools):
            version = (0, counter_, number + 1)
            sent.append((made, version, made.submit("dump", "k", ".".join(map(str, version)), "-", "100:1")))
    for made, version, number in sent:
        answer = made.answer(number)
        assert answer.status in ("ok", "conflict"), answer
        if answer.status == "conflict":
            assert tuple(map(int, answer.stored.split("."))) > version
    assert tools[0].load("k").stored == "0.40.4"


def test_order_of_one_id(tool):
    numbers = []
    for seq in range(1, 30):
        numbers.append((seq, tool.submit("dump", "k", f"0.1.{seq}", f"0.1.{seq - 1}" if seq > 1 else NONE, f"10:{seq}"),
                        tool.submit("load", "k")))
    for seq, dumped, loaded in numbers:
        assert tool.answer(dumped).status == "ok"
        assert tool.answer(loaded).stored == f"0.1.{seq}"


def test_foreign_and_damaged_objects_are_left_alone(tool, store, prefix):
    assert tool.dump("good", "0.1.1", "50:1", NONE).status == "ok"
    good = store.get(prefix + "good")
    damaged = good[:-1] + bytes([good[-1] ^ 1])
    foreign = {"text": b"not ours", "other": good, "cut": good[:20], "large": b"x" * 5000}
    for name, body in foreign.items():
        assert store.request("PUT", f"/{prefix}{name}", body)[0] == 200
    for name, body in foreign.items():
        assert tool.load(name).status == "corrupt", name
        for expected in ("-", NONE, "0.1.1"):
            assert tool.dump(name, "0.9.9", "10:1", expected).status == "corrupt", name
        assert tool.ask("delete", name, "0.9.9", "-").status == "corrupt", name
        assert store.get(prefix + name) == body
    # Its version can be read: it can be replaced, but never be handed out.
    assert store.request("PUT", f"/{prefix}damaged".replace("damaged", "good"), damaged)[0] == 200
    assert tool.load("good").status == "corrupt"
    assert tool.dump("good", "0.1.2", "10:1").status == "ok"
    assert tool.load("good").stored == "0.1.2"


def test_an_empty_object_is_not_ours(new_tool, new_fake):
    fake = new_fake()
    tool = new_tool(fake)
    fake.objects["k"] = b""
    assert tool.load("k").status == "corrupt"
    assert tool.dump("k", "0.1.1").status == "corrupt"
    assert fake.objects["k"] == b""


# ---- what is wrong is said ----------------------------------------------------------------------

def test_refusals_at_start(new_tool, store, tmp_path):
    def refusal(**options):
        return new_tool(store, **options).refusal

    assert "InvalidAccessKeyId" in refusal(access_key="unknown")
    assert "the secret key does not belong" in refusal(secret_key="a:b")
    assert "NoSuchBucket" in refusal(bucket="missing") and "missing" in refusal(bucket="missing")
    assert "s3_bucket is not set" in refusal(bucket="")
    assert "s3_endpoint must look like" in refusal(endpoint="ftp://localhost")
    assert "s3_endpoint must look like" in refusal(endpoint="http://user:word@localhost")
    assert "s3_region" in refusal(region="Frankfurt am Main")
    assert "no credentials" in refusal(access_key="", secret_key="")
    assert "no secret key" in refusal(secret_key="")
    assert "not known; there are: local, s3" in refusal(manager="floppy")
    closed = {"endpoint": "http://127.0.0.1:1"}
    assert "connect" in refusal(require_conditions="true", **closed)


def test_secrets_are_never_told(new_tool, store, prefix):
    tool = new_tool(store, prefix=prefix)
    assert tool.dump("k", "0.1.1").status == "ok"
    assert store.secret not in tool.log and store.key not in tool.log
    wrong = new_tool(store, secret_key="very/secret")
    assert "very/secret" not in wrong.log + wrong.refusal


def test_credentials_from_environment_and_file(new_tool, store, tmp_path, prefix):
    nothing = {"access_key": "", "secret_key": "", "prefix": prefix}
    keys = {"AWS_ACCESS_KEY_ID": store.key, "AWS_SECRET_ACCESS_KEY": store.secret}
    assert new_tool(store, environment=keys, **nothing).dump("k", "0.1.1").status == "ok"
    file = tmp_path / "credentials"
    file.write_text("# ours\n[default]\naws_access_key_id = wrong\naws_secret_access_key=wrong\n\n"
                    f"[brain]\n aws_access_key_id = {store.key}\naws_secret_access_key = {store.secret}\n")
    where = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    assert "InvalidAccessKeyId" in new_tool(store, environment=where, **nothing).refusal
    assert new_tool(store, environment=where, profile="brain", **nothing).load("k").status == "ok"
    assert new_tool(store, environment={**where, "AWS_PROFILE": "brain"}, **nothing).load("k").status == "ok"
    (tmp_path / ".aws").mkdir()
    file.rename(tmp_path / ".aws" / "credentials")
    assert new_tool(store, profile="brain", **nothing).load("k").status == "ok"
    assert 'profile "other"' in new_tool(store, profile="other", **nothing).refusal


def test_expired_credentials_are_read_again(new_tool, new_fake, tmp_path):
    fake = new_fake()
    file = tmp_path / "credentials"

    def write(key, token):
        file.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=s\naws_session_token={token}\n")

    write("old", "token1")
    tool = new_tool(fake, environment={"AWS_SHARED_CREDENTIALS_FILE": str(file)}, access_key="", secret_key="")
    assert tool.dump("k", "0.1.1").status == "ok"
    assert fake.requests[-1][2]["x-amz-security-token"] == "token1"
    fake.trouble = lambda method, name, headers: (
        {"status": 400, "code": "ExpiredToken"} if headers["x-amz-security-token"] == "token1" else None)
    failed = tool.load("k")
    assert failed.status == "warehouse" and "ExpiredToken" in failed.error
    write("new", "token2")
    assert tool.load("k").status == "ok"
    assert tool.dump("k", "0.1.2").status == "ok"
    assert "Credential=new/" in fake.requests[-1][2]["Authorization"]


# ---- kinds of stores ----------------------------------------------------------------------------

@pytest.mark.parametrize("conditions", ["quoted", "bare", "501", "ignored"])
def test_an_old_tombstone_is_forgotten_where_the_store_removes_under_a_condition(new_tool, new_fake, conditions):
    fake = new_fake(conditions)
    tool = new_tool(fake)
    proven = conditions in ("quoted", "bare")
    assert tool.ask("delete", "k", "0.1.2", "-").status == "ok"
    assert tool.load("k").tombstone
    forget = lambda version: tool.ask("forget", "k", version).status
    assert forget("0.1.1") == "ok" and "k" in fake.objects, "another version is not meant"
    assert forget("0.1.2") == "ok"
    assert ("k" in fake.objects) == (not proven), "removed only where the store proved that it can"
    assert tool.dump("k", "0.1.3").status == "ok"
    assert forget("0.1.2") == "ok" and tool.load("k").stored == "0.1.3"


def test_a_tombstone_that_somebody_replaced_is_not_removed(new_tool, new_fake):
    fake = new_fake()
    tool, other = new_tool(fake), new_tool(fake)
    assert tool.ask("delete", "k", "0.1.2", "-").status == "ok"
    assert tool.load("k").tombstone
    assert other.dump("k", "0.2.1").status == "ok"
    assert tool.ask("forget", "k", "0.1.2").status == "ok"
    assert tool.load("k").stored == "0.2.1"


@pytest.mark.parametrize("conditions,told", [
    ("quoted", "conditional create and replace work (ETag quoted), conditional delete works"),
    ("bare", "conditional create and replace work (ETag bare), conditional delete works"),
    ("501", "conditional create does not work, conditional replace does not work"),
    ("ignored", "conditional create does not work, conditional replace does not work")])
def test_kinds_of_stores(new_tool, new_fake, conditions, told):
    fake = new_fake(conditions)
    tool = new_tool(fake)
    assert told in tool.log, tool.log
    assert fake.objects == {}, "the probe leaves nothing behind"
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    assert tool.dump("k", "0.1.2", "10:2", "0.1.1").status == "ok"
    expect_conflict(tool.dump("k", "0.1.1", "10:1"), "0.1.2")
    expect_conflict(tool.dump("k", "0.1.3", "10:1", "0.1.1"), "0.1.2")
    other = new_tool(fake)
    assert other.dump("k", "0.2.1", "10:3").status == "ok"
    expect_conflict(tool.dump("k", "0.1.3", "10:3", "0.1.2"), "0.2.1")
    assert tool.load("k").stored == "0.2.1"
    refusal = new_tool(fake, require_conditions="true").refusal
    assert bool(refusal) == (conditions in ("501", "ignored")), refusal
    assert not refusal or "no conditional writes" in refusal


def test_a_store_that_forgets_conditions(new_tool, new_fake):
    """What the probe found out is true no more: 501, or another form of the ETag."""
    fake = new_fake()
    tool, strict = new_tool(fake), new_tool(fake, require_conditions="true")
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    fake.conditions = "bare"
    assert tool.dump("k", "0.1.2", "10:2", "0.1.1").status == "ok"
    fake.conditions = "501"
    assert tool.dump("k", "0.1.3", "10:3", "0.1.2").status == "ok"
    assert "refuses conditional writes (501)" in tool.log
    refused = strict.dump("k", "0.1.4", "10:4", "0.1.3")
    assert refused.status == "warehouse" and "501" in refused.error
    assert tool.load("k").stored == "0.1.3"


# ---- trouble on the way -------------------------------------------------------------------------

class Once:
    """The first `count` requests of one method get this trouble."""

    def __init__(self, method, count=1, **trouble):
        self.method, self.count, self.trouble = method, count, trouble

    def __call__(self, method, name, headers):
        if method != self.method or self.count == 0:
            return None
        self.count -= 1
        return self.trouble


@pytest.mark.parametrize("trouble", [
    {"status": 500, "code": "InternalError"}, {"status": 503, "code": "SlowDown"}, {"status": 429},
    {"status": 400, "code": "RequestTimeout"}, {"status": 502}, {"lose": True}, {"status": 409},
    {"status": 412}], ids=str)
def test_a_write_survives(new_tool, new_fake, trouble):
    """Applied and answered wrong, or not applied: once it is there in the end, and older never wins."""
    fake = new_fake()
    # Long: what is sent a second time, by libcurl too, must be whole.
    tool = new_tool(fake, stall_timeout=60000, timeout=20000)
    for id, expected, version in (("k", NONE, "0.1.1"), ("k", "0.1.1", "0.1.2"), ("k", "-", "0.1.3")):
        fake.trouble = Once("PUT", 2, **trouble)
        assert tool.dump(id, version, "10:1", expected).status == "ok"
        loaded = tool.load(id)
        assert (loaded.status, loaded.stored) == ("ok", version)


def test_a_lost_answer_is_looked_at_before_a_write_is_repeated(new_tool, new_fake):
    """Also where no condition protects what somebody else wrote in between."""
    fake, elsewhere = new_fake("501"), new_fake()
    tool = new_tool(fake)
    assert new_tool(elsewhere).dump("k", "0.9.1").status == "ok"
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    puts = []

    def trouble(method, name, headers):
        if puts:  # the first write was applied; now there is a newer one
            fake.objects["k"] = elsewhere.objects["k"]
            return None
        if method == "PUT":
            puts.append(name)
            return {"status": 500, "code": "InternalError"}
        return None

    fake.trouble = trouble
    expect_conflict(tool.dump("k", "0.1.2", "10:1", "0.1.1"), "0.9.1")
    assert fake.objects["k"] == elsewhere.objects["k"]


@pytest.mark.parametrize("trouble", [
    {"status": 500, "code": "InternalError"}, {"status": 503}, {"lose": True}, {"cut": 100}], ids=str)
def test_a_read_survives(new_tool, new_fake, trouble):
    fake = new_fake()
    tool = new_tool(fake)
    stored = tool.dump("k", "0.1.1", "1000:1", NONE)
    fake.trouble = Once("GET", 2, **trouble)
    loaded = tool.load("k")
    assert (loaded.status, loaded.crc) == ("ok", stored.crc)


def test_a_refusal_is_not_repeated(new_tool, new_fake):
    fake = new_fake()
    tool = new_tool(fake)
    for status, code in ((403, "AccessDenied"), (400, "InvalidArgument"), (404, ""), (301, "PermanentRedirect")):
        fake.trouble = lambda *_: {"status": status, "code": code}  # pylint: disable=cell-var-from-loop
        before = len(fake.requests)
        answer = tool.load("k")
        assert answer.status == "warehouse" and str(status) in answer.error and code in answer.error
        assert len(fake.requests) == before + 1


def test_an_answer_without_end(new_tool, new_fake):
    """Neither a length that is promised nor bytes that come are taken beyond the limit."""
    fake = new_fake()
    tool = new_tool(fake, value_limit=100000)
    fake.objects["large"] = b"\x83" * 300000
    answer = tool.load("large")
    assert answer.status == "warehouse" and "larger than allowed" in answer.error
    fake.objects["promise"] = b"\x83" * 1000
    fake.trouble = lambda *_: {"length": 1 << 50}
    answer = tool.load("promise")
    assert answer.status == "warehouse" and "larger than allowed" in answer.error, answer


def test_loads_do_not_wait_for_slow_writes(new_tool, new_fake):
    fake = new_fake()
    tool = new_tool(fake, parallel=8)
    for number in range(20):
        assert tool.dump(f"r{number}", "0.1.1", "100:1", NONE).status == "ok"
    fake.trouble = lambda method, name, headers: {"delay": 3} if method == "PUT" else None
    writes = [tool.submit("dump", f"w{number}", "0.1.1", NONE, "100:1") for number in range(30)]
    time.sleep(0.3)
    loads = [tool.submit("load", f"r{number}") for number in range(20)]
    for number in loads:
        answer = tool.answer(number)
        assert answer.status == "ok" and answer.ms < 2000, answer
    assert not any(number in tool.answers for number in writes)
    fake.trouble = lambda *_: None
    for number in writes:
        assert tool.answer(number).status == "ok"


def test_nothing_waits_for_ever(new_tool, new_fake):
    """A store that takes requests and never answers: everything is over at its deadline, what waits
    for its turn too, and the warehouse works again after it."""
    fake = new_fake()
    tool = new_tool(fake, timeout=2000, stall_timeout=1000, parallel=4)
    fake.trouble = lambda *_: {"delay": 20}
    numbers = [tool.submit("load", f"k{number}") for number in range(20)]
    numbers += [tool.submit("dump", f"w{number}", "0.1.1", NONE, "10:1") for number in range(20)]
    for number in numbers:
        answer = tool.answer(number)
        assert answer.status == "warehouse" and answer.error and answer.ms < 5000, answer
    fake.trouble = lambda *_: None
    assert tool.load("k").status == "not_found"
    assert tool.dump("w", "0.1.1", "10:1", NONE).status == "ok"


def test_closing_does_not_wait_for_the_store(new_tool, new_fake):
    fake = new_fake()
    tool = new_tool(fake, timeout=60000, stall_timeout=60000, parallel=4)
    fake.trouble = lambda *_: {"delay": 30}
    numbers = [tool.submit("load", f"k{number}") for number in range(20)]
    time.sleep(0.3)
    tool.close()
    assert tool.closed_ms < 8000
    for number in numbers:
        assert tool.answer(number).status == "warehouse"


def test_closing_ends_retries(new_tool, new_fake):
    fake = new_fake()
    tool = new_tool(fake, timeout=60000)
    fake.trouble = lambda *_: {"status": 503, "code": "SlowDown"}
    numbers = [tool.submit("load", f"k{number}") for number in range(20)]
    numbers += [tool.submit("dump", f"k{number}", "0.1.1", NONE, "10:1") for number in range(20)]
    time.sleep(2)
    assert not tool.answers
    tool.close()
    assert tool.closed_ms < 3000
    for number in numbers:
        answer = tool.answer(number)
        assert answer.status == "warehouse" and "SlowDown" in answer.error


# ---- the store goes and comes -------------------------------------------------------------------

def test_the_store_is_down_at_start(new_tool, store, prefix):
    store.stop_gateway()
    try:
        tool = new_tool(store, prefix=prefix, timeout=20000)
        assert "not known yet" in tool.log
        failed = tool.submit("load", "k")
        waiting = tool.submit("dump", "k", "0.1.1", NONE, "10:1")
        time.sleep(1)
        assert failed not in tool.answers, "it is tried again for as long as it may take"
    finally:
        store.start_gateway()
    assert tool.answer(failed).status == "not_found"
    assert tool.answer(waiting).status == "ok", tool.answers
    wait_until(lambda: "conditional create and replace work" in tool.log, what="the probe")


def test_the_store_goes_and_comes_back(new_tool, store, prefix):
    tool = new_tool(store, prefix=prefix, timeout=3000)
    assert tool.dump("k", "0.1.1", "10:1", NONE).status == "ok"
    numbers = [tool.submit("dump", f"w{number}", "0.1.1", NONE, "300000:1") for number in range(100)]
    time.sleep(0.05)
    store.stop_gateway()
    try:
        statuses = {tool.answer(number).status for number in numbers}
        assert statuses <= {"ok", "warehouse"}, statuses
        for words in (("load", "k"), ("dump", "k", "0.1.2", "0.1.1", "10:2")):
            answer = tool.ask(*words)
            assert answer.status == "warehouse" and "onnect" in answer.error and answer.ms < 5000, answer
            assert "given up after" in answer.error
    finally:
        store.start_gateway()
    assert tool.load("k").stored == "0.1.1"
    assert tool.dump("k", "0.1.2", "10:2", "0.1.1").status == "ok"
    for index, number in enumerate(numbers):
        again = tool.dump(f"w{index}", "0.1.1", "300000:1", NONE)
        assert again.status == "ok", again
        assert tool.load(f"w{index}").stored == "0.1.1"
