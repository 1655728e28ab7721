"""Membership through a real etcd: what cnode/managers tells, under what happens to etcd and to members."""
import signal
import subprocess
import time

import pytest

from etcd import Etcd
from fault_proxy import TcpProxy
from harness import BUILD, wait_until
from managers import LEASE, Member, now_ms


@pytest.fixture
def etcd(tmp_path):
    with Etcd(tmp_path) as server:
        yield server


@pytest.fixture
def new_member(tmp_path):
    members = []

    def start(servers, name, **options):
        members.append(Member(tmp_path, servers, name, **options))
        return members[-1]

    yield start
    problems = []
    for member in members:
        try:
            member.finish()
        except Exception as problem:  # every one is stopped before the first problem is told
            problems.append(problem)
    for member in members:
        print(f"--- {member.name}\n{member.out.read_text()[-3000:]}\n{member.log[-2000:]}")
    if problems:
        raise problems[0]


def check_same_views(*members):
    """Whoever tells a view of a number tells the same; and none is left out between two."""
    known = {}
    for member in members:
        views = member.views()
        assert [view[0] for view in views] == sorted({view[0] for view in views})
        for number, digest, names in views:
            assert known.setdefault(number, (digest, names)) == (digest, names)
    for member in members:
        views = [view[0] for view in member.views()]
        expected = [number for number in sorted(known) if views and views[0] <= number <= views[-1]]
        assert views == expected, (member.name, known)


def test_members_see_the_same_views(etcd, new_member):
    a, b, c = (new_member(etcd.url, name) for name in ("a@h", "b@h", "c@h"))
    joined = a.join().wait("JOINED")
    assert joined.fields["members"] == f"a@h/{a.incarnation}/127.0.0.1/1234/7"
    assert joined.fields["reset"] == "0"
    # A key of somebody else's moves etcd's revision, not the views.
    etcd.put("else", "x")
    b.join()
    c.join()
    for member in (a, b, c):
        member.wait_names("a@h", "b@h", "c@h")
    etcd.put("brain/member/not-one@h", "nonsense")
    etcd.delete("brain/member/not-one@h")
    b.say("leave").wait("LEFT", confirmed="1")
    for member in (a, c):
        member.wait_names("a@h", "c@h")
    b.join()
    for member in (a, b, c):
        member.wait_names("a@h", "b@h", "c@h")
    assert len({event.fields["incarnation"] for event in b.all("JOINED")}) == 2
    assert {event.fields["history"] for member in (a, b, c) for event in member.all("JOINED")} == {
        joined.fields["history"]}
    a.wait("RENEWED", 3)
    check_same_views(a, b, c)
    assert len(a.views()) == 5  # one for each join and leave
    assert {event.fields["behind"] for event in a.all("RENEWED")} == {"0"}


def test_a_killed_member_goes_when_its_lease_ends(etcd, new_member):
    a, b = (new_member(etcd.url, name) for name in ("a@h", "b@h"))
    a.join()
    b.join()
    a.wait_names("a@h", "b@h")
    b.wait("RENEWED", 2)
    b.kill()
    gone_ms = a.wait_names("a@h")
    b.process.wait()
    assert gone_ms > b.until_ms  # it had stopped to believe before
    check_same_views(a, b)


def test_a_restart_revokes_its_predecessor_only_with_the_lock(etcd, new_member):
    a, b = (new_member(etcd.url, name, lease=30000) for name in ("a@h", "b@h"))
    a.join()
    b.join()
    a.wait_names("a@h", "b@h")
    lease = b.wait("LEASE").fields["lease"]
    b.kill()
    b.process.wait()
    unlocked = new_member(etcd.url, "b@h", lease=30000, predecessor=lease)
    unlocked.join()
    stranger = new_member(etcd.url, "b@h", lease=30000, predecessor=int(lease) + 1, locked="true")
    stranger.join()
    for waits in (unlocked, stranger):
        wait_until(lambda waits=waits: "there is a member b@h already" in waits.log, 20, "the wait for the name")
    time.sleep(1.5)
    assert not unlocked.all("LEASE") and not stranger.all("LEASE") and int(lease) in etcd.leases()
    for waits in (unlocked, stranger):
        waits.say("leave").wait("LEFT", confirmed="1")
    successor = new_member(etcd.url, "b@h", lease=30000, predecessor=lease, locked="true")
    successor.join().wait("JOINED")
    a.wait_names("a@h", "b@h")
    assert [names for _, _, names in a.views()][-3:] == [["a@h", "b@h"], ["a@h"], ["a@h", "b@h"]]
    assert int(lease) not in etcd.leases()
    check_same_views(a, successor)


def test_a_member_stopped_past_its_lease(etcd, new_member):
    a, b = (new_member(etcd.url, name, rejoin="true") for name in ("a@h", "b@h"))
    a.join()
    b.join()
    a.wait_names("a@h", "b@h")
    b.wait("RENEWED")
    former = b.incarnation
    b.kill(signal.SIGSTOP)
    until_ms = b.until_ms
    gone_ms = a.wait_names("a@h")
    assert gone_ms > until_ms
    b.kill(signal.SIGCONT)
    b.wait("LOST", reason="gone")
    b.wait("JOINED", 2)
    a.wait_names("a@h", "b@h")
    assert b.incarnation != former
    assert b.all("JOINED")[-1].fields["reset"] == "0"
    check_same_views(a, b)


def test_etcd_restarts(etcd, new_member):
    a, b = (new_member(etcd.url, name, lease=5000) for name in ("a@h", "b@h"))
    a.join()
    b.join()
    for member in (a, b):
        member.wait_names("a@h", "b@h")
        member.wait("RENEWED")
    for number in (signal.SIGKILL, signal.SIGTERM):
        etcd.stop(number)
        etcd.start()
        for member in (a, b):
            member.wait("RENEWED", len(member.all("RENEWED")) + 2)
    c = new_member(etcd.url, "c@h")
    c.join()
    for member in (a, b, c):
        member.wait_names("a@h", "b@h", "c@h")
    assert len(a.all("JOINED")) == len(b.all("JOINED")) == 1 and not a.all("LOST") and not b.all("LOST")
    check_same_views(a, b, c)


def test_etcd_away_for_longer_than_the_lease(etcd, new_member):
    """Fenced; then etcd says whether the same lease still lives. (It does: etcd gives leases their time again when
    it starts.)"""
    a, b = (new_member(etcd.url, name, rejoin="true") for name in ("a@h", "b@h"))
    a.join()
    b.join()
    for member in (a, b):
        member.wait_names("a@h", "b@h")
        member.wait("RENEWED")
    etcd.stop()
    for member in (a, b):
        wait_until(member.is_fenced, 10, "fenced")
    time.sleep(1)
    assert a.is_fenced() and b.is_fenced()
    a.say("error")
    assert etcd.url in a.wait("ERROR").fields["text"]
    counts = {member: len(member.all("RENEWED")) for member in (a, b)}
    etcd.start()
    for member in (a, b):
        member.wait("RENEWED", counts[member] + 1)
        wait_until(lambda member=member: not member.is_fenced(), 10, "a lease that holds")
        assert not member.all("LOST") and len(member.all("JOINED")) == 1
    check_same_views(a, b)


def test_a_member_that_is_cut_off(etcd, new_member):
    """The other way round: the lease ends while the member cannot know; it is fenced before, and told after."""
    with TcpProxy(("127.0.0.1", etcd.port)) as proxy:
        a = new_member(etcd.url, "a@h")
        b = new_member(f"http://127.0.0.1:{proxy.port}", "b@h", rejoin="true")
        a.join()
        b.join()
        for member in (a, b):
            member.wait_names("a@h", "b@h")
            member.wait("RENEWED")
        proxy.refuse()
        gone_ms = a.wait_names("a@h")
        assert gone_ms > b.until_ms and not b.all("LOST")
        proxy.resume()
        b.wait("LOST", reason="gone")
        for member in (a, b):
            member.wait_names("a@h", "b@h")
        assert len(b.all("JOINED")) == 2
        check_same_views(a, b)


def test_etcd_with_other_data(etcd, new_member):
    a, b = (new_member(etcd.url, name, rejoin="true") for name in ("a@h", "b@h"))
    for i in range(20):
        etcd.put("else", str(i))
    a.join().wait("JOINED")
    b.join()
    for member in (a, b):
        member.wait_names("a@h", "b@h")
    last = a.views()[-1][0]
    etcd.stop()
    etcd.wipe()
    etcd.start()
    for member in (a, b):
        member.wait("LOST")
        again = member.wait("JOINED", 2)
        member.wait_names("a@h", "b@h")
        assert again.fields["reset"] == "1"
        assert again.fields["history"] != member.all("JOINED")[0].fields["history"]
        assert int(again.fields["view"]) > last  # though the revision is smaller
        assert int(again.fields["view"]) % 2**40 < last % 2**40
    check_same_views(a, b)


def test_etcd_goes_back_to_an_older_state(etcd, new_member, tmp_path):
    """A backup is restored in which the members' leases still are: nothing but the revision tells."""
    a = new_member(etcd.url, "a@h", rejoin="true")
    a.join().wait("RENEWED")
    last = a.views()[-1][0]
    etcd.stop(signal.SIGTERM)
    subprocess.run(["cp", "-r", tmp_path / "etcd", tmp_path / "backup"], check=True)
    etcd.start()
    renewed = len(a.all("RENEWED"))
    for i in range(20):
        etcd.put("else", str(i))
    a.wait("RENEWED", renewed + 2)
    etcd.stop()
    etcd.wipe()
    subprocess.run(["cp", "-r", tmp_path / "backup", tmp_path / "etcd"], check=True)
    etcd.start()
    a.wait("LOST", reason="reset")
    again = a.wait("JOINED", 2)
    assert again.fields["reset"] == "1"
    assert again.fields["history"] != a.all("JOINED")[0].fields["history"]
    assert int(again.fields["view"]) > last


def test_compaction(etcd, new_member):
    """Events that are gone before the watch came back: a new incarnation. Revisions of other keys that are gone:
    nothing, while the watch stands."""
    with TcpProxy(("127.0.0.1", etcd.port)) as proxy:
        a = new_member(f"http://127.0.0.1:{proxy.port}", "a@h", rejoin="true", lease=8000)
        b = new_member(etcd.url, "b@h", lease=8000)
        a.join()
        a.wait("JOINED")
        b.join()
        a.wait_names("a@h", "b@h")
        former = a.incarnation
        etcd.put("else", "1")
        etcd.compact()
        a.wait("RENEWED", len(a.all("RENEWED")) + 1)
        proxy.refuse()
        b.say("leave").wait("LEFT")
        etcd.put("else", "2")
        etcd.compact()
        proxy.resume()
        a.wait("LOST", reason="compacted")
        b.join()
        for member in (a, b):
            member.wait_names("a@h", "b@h")
        assert a.incarnation != former
        check_same_views(a, b)


def test_progress_spares_a_new_incarnation(tmp_path, new_member):
    """Others' keys change and are compacted, members do not; then the watch is interrupted."""
    with Etcd(tmp_path, arguments=["--experimental-watch-progress-notify-interval", "200ms"]) as etcd, \
            TcpProxy(("127.0.0.1", etcd.port)) as proxy:
        a = new_member(f"http://127.0.0.1:{proxy.port}", "a@h", lease=8000)
        a.join().wait("JOINED")
        for i in range(5):
            etcd.put("else", str(i))
        etcd.compact()
        time.sleep(2)  # some notices
        proxy.refuse()
        proxy.resume()
        b = new_member(etcd.url, "b@h")
        b.join()
        a.wait_names("a@h", "b@h")
        assert not a.all("LOST")


def test_a_watch_that_says_nothing(etcd, new_member):
    """One connection stands still without being cut: the member list gives it away, and another one is made."""
    with TcpProxy(("127.0.0.1", etcd.port)) as proxy:
        a = new_member(f"http://127.0.0.1:{proxy.port}", "a@h", lease=6000)
        a.join().wait("RENEWED", 2)
        assert proxy.hold(b"/v3/watch") == 1
        b = new_member(etcd.url, "b@h", lease=6000)
        b.join().wait("JOINED")
        wait_until(lambda: any(int(event.fields["behind"]) > 0 for event in a.all("RENEWED")), 20, "behind")
        a.wait_names("a@h", "b@h")
        a.wait("RENEWED", len(a.all("RENEWED")) + 2)
        assert a.all("RENEWED")[-1].fields["behind"] == "0"
        assert not a.all("LOST")
        check_same_views(a, b)


def test_servers_in_turn(tmp_path, new_member):
    """One that refuses connections and one that swallows them do not keep a member from the third."""
    with Etcd(tmp_path) as etcd, TcpProxy(("127.0.0.1", etcd.port)) as swallows:
        swallows.swallow()
        (tmp_path / "dead").mkdir()
        dead = Etcd(tmp_path / "dead")  # never started
        a = new_member(f"{dead.url}, http://127.0.0.1:{swallows.port}/,{etcd.url}", "a@h", lease=6000)
        a.join().wait("RENEWED", 3)
        assert len(a.all("JOINED")) == 1
        # The server in use goes away, another one comes: both doors lead to the same etcd.
        second = new_member(f"http://127.0.0.1:{swallows.port},{dead.url}", "b@h", lease=6000)
        second.join()
        time.sleep(0.5)
        assert not second.all("JOINED")
        swallows.unswallow()
        second.wait("JOINED")
        a.wait_names("a@h", "b@h")
        check_same_views(a, second)


def test_evict(etcd, new_member):
    a, b = (new_member(etcd.url, name, rejoin="true") for name in ("a@h", "b@h"))
    a.join()
    b.join()
    a.wait_names("a@h", "b@h")
    b.wait_names("a@h", "b@h")
    former = b.incarnation
    a.say(f"evict b@h {former}")
    b.wait("LOST", reason="evicted")
    b.wait("JOINED", 2)
    for member in (a, b):
        member.wait_names("a@h", "b@h")
    assert b.incarnation != former
    time.sleep(LEASE * 1.3)
    assert len(b.all("JOINED")) == 2  # the new incarnation is left alone
    wait_until(lambda: not [key for key in etcd.keys() if "/evict/" in key], 10, "no evict key")
    a.say(f"evict b@h {former}")  # of the past: nothing
    a.say(f"evict a@h {a.incarnation}")  # itself: nothing
    time.sleep(1)
    assert not [key for key in etcd.keys() if "/evict/" in key]
    check_same_views(a, b)


def test_two_who_evict_each_other(etcd, new_member):
    """One of them goes, and is there again before the other one can be asked to."""
    a, b, c = (new_member(etcd.url, name, rejoin="true") for name in ("a@h", "b@h", "c@h"))
    for member in (a, b, c):
        member.join()
    for member in (a, b, c):
        member.wait_names("a@h", "b@h", "c@h")
    former = a.incarnation, b.incarnation
    a.say(f"evict b@h {former[1]}")
    b.say(f"evict a@h {former[0]}")
    wait_until(lambda: a.all("LOST") or b.all("LOST"), what="an eviction")
    lost, other = (a, b) if a.all("LOST") else (b, a)
    lost.wait("JOINED", 2)
    time.sleep(1)
    assert other.all("LOST") == []
    c.say(f"evict {other.name} {other.incarnation}")  # not yet
    time.sleep(0.5)
    assert other.all("LOST") == []
    wait_until(lambda: not [key for key in etcd.keys() if "/evict/" in key], 10, "no evict key")
    c.say(f"evict {other.name} {other.incarnation}")
    other.wait("LOST", reason="evicted")
    other.wait("JOINED", 2)
    for member in (a, b, c):
        member.wait_names("a@h", "b@h", "c@h")
    check_same_views(a, b, c)


def test_evict_one_that_does_not_look(etcd, new_member):
    """Its lease is kept alive by somebody, but it reads nothing: the key is removed, after its lease's time."""
    lease = int(etcd.call("/v3/lease/grant", {"TTL": "60"})["ID"])
    etcd.put("brain/member/mute@h", '{"incarnation":"00000000000000aa","address":"","port":0,"protocol":7,'
             f'"lease_ms":{LEASE * 1000}' + "}", lease)
    a, b = (new_member(etcd.url, name) for name in ("a@h", "b@h"))
    a.join()
    b.join()
    for member in (a, b):
        member.wait_names("a@h", "b@h", "mute@h")
    asked_ms = now_ms()
    a.say("evict mute@h aa").say("evict mute@h aa")
    for member in (a, b):
        gone_ms = member.wait_names("a@h", "b@h")
        assert gone_ms >= asked_ms + LEASE * 1100
    wait_until(lambda: lease not in etcd.leases(), 10, "the revocation")
    assert not [key for key in etcd.keys() if "/evict/" in key]
    check_same_views(a, b)


def test_an_eviction_ends_with_its_evictor(etcd, new_member):
    lease = int(etcd.call("/v3/lease/grant", {"TTL": "60"})["ID"])
    etcd.put("brain/member/mute@h", '{"incarnation":"00000000000000aa","address":"","port":0,"protocol":7,'
             '"lease_ms":2000}', lease)
    a = new_member(etcd.url, "a@h")
    a.join().wait("JOINED")
    a.say("evict mute@h aa")
    wait_until(lambda: [key for key in etcd.keys() if "/evict/" in key], 10, "the evict key")
    a.kill()
    wait_until(lambda: sorted(etcd.keys()) == ["brain/history", "brain/member/mute@h"], 15, "no evictor, no key")


def test_the_key_is_removed_by_hand(etcd, new_member):
    a, b = (new_member(etcd.url, name, rejoin="true") for name in ("a@h", "b@h"))
    a.join()
    b.join()
    a.wait_names("a@h", "b@h")
    b.wait_names("a@h", "b@h")
    etcd.delete("brain/member/b@h")
    b.wait("LOST", reason="gone")
    b.wait("JOINED", 2)
    for member in (a, b):
        member.wait_names("a@h", "b@h")
    check_same_views(a, b)


def test_prefixes_do_not_see_each_other(etcd, new_member):
    a, b = new_member(etcd.url, "a@h", prefix="one/"), new_member(etcd.url, "a@h", prefix="two-")
    a.join().wait("RENEWED")
    b.join().wait("RENEWED")
    assert len(a.views()) == len(b.views()) == 1
    assert sorted(etcd.keys("one/")) == ["one/history", "one/member/a@h"]
    assert sorted(etcd.keys("two-")) == ["two-history", "two-member/a@h"]


def test_users(etcd, new_member):
    etcd.enable_users(("brain", 'pass"word', "brain/"))
    for options in ({}, {"user": "brain", "password": "wrong"}):
        refused = new_member(etcd.url, "a@h", **options)
        refused.join()
        wait_until(lambda refused=refused: "no use of etcd" in refused.log, 10, "the refusal")
        assert "wrong" not in refused.log
        time.sleep(0.5)
        assert not refused.all("LEASE")
    # etcd may take a second to start again, and checks one password after the other, slowly.
    a, b = (new_member(etcd.url, name, user="brain", password='pass"word', rejoin="true", lease=5000)
            for name in ("a@h", "b@h"))
    a.join()
    b.join()
    for member in (a, b):
        member.wait_names("a@h", "b@h")
        member.wait("RENEWED")
    # Simple tokens are in etcd's memory only.
    etcd.stop()
    etcd.start()
    counts = {member: len(member.all("RENEWED")) for member in (a, b)}
    for member in (a, b):
        member.wait("RENEWED", counts[member] + 2)
        assert not member.all("LOST")
    b.say("leave").wait("LEFT", confirmed="1")
    a.wait_names("a@h")
    check_same_views(a, b)


class Certificates:
    def __init__(self, directory):
        self.ca, self.certificate, self.key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        ca_key, request = directory / "ca-key.pem", directory / "request.pem"

        def openssl(*arguments, text=b""):
            subprocess.run(["openssl", *map(str, arguments)], check=True, input=text, capture_output=True)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority", "-keyout",
                ca_key, "-out", self.ca)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=member", "-keyout", self.key, "-out", request)
        extensions = directory / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
                "-extfile", extensions, "-out", self.certificate)


def test_tls(tmp_path, new_member):
    tls = Certificates(tmp_path)
    with Etcd(tmp_path, tls=tls) as etcd:
        files = {"ca_file": tls.ca, "cert_file": tls.certificate, "key_file": tls.key}
        for missing in ("ca_file", "cert_file"):
            refused = new_member(etcd.url, "a@h", **{name: path for name, path in files.items() if name != missing})
            refused.join()
            wait_until(lambda refused=refused: "no use of etcd" in refused.log, 10, "the refusal")
            time.sleep(0.5)
            assert not refused.all("LEASE")
        a, b = (new_member(etcd.url, name, **files) for name in ("a@h", "b@h"))
        a.join()
        b.join()
        for member in (a, b):
            member.wait_names("a@h", "b@h")
            member.wait("RENEWED")
        check_same_views(a, b)


def test_leave_without_etcd(etcd, new_member):
    a = new_member(etcd.url, "a@h")
    a.join().wait("JOINED")
    etcd.stop()
    asked_ms = now_ms()
    left = a.say("leave").wait("LEFT", confirmed="0")
    assert left.ms >= asked_ms + LEASE * 1000 - 1


@pytest.mark.parametrize("options, words", [
    ({"servers": "127.0.0.1:2379"}, "127.0.0.1:2379"), ({"servers": " , "}, "no server"),
    ({"ca_file": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem"), ({"prefix": ""}, "prefix")])
def test_refused_options(tmp_path, options, words):
    settings = {"name": "a@h", "servers": "http://127.0.0.1:1", **options}
    done = subprocess.run([BUILD / "test/system/managers_tool", *(f"{key}={value}" for key, value in settings.items())],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert done.returncode == 1 and b"REFUSED" in done.stdout and words.encode() in done.stdout, done
