"""Three nodes that are one store: any of them answers for any object."""
import threading
import time

import pytest

import etf
from cluster import LEASE, PATIENCE, Cluster, put, read, value_of
from cluster_load import Load
from etf import Atom
from harness import BUILD, Beam, wait_until
from history import History

OK = Atom("ok")


@pytest.fixture(scope="module")
def trio(tmp_path_factory):
    """Three sanitized members for all tests of this file: none of them breaks anything."""
    made = Cluster(tmp_path_factory.mktemp("trio"), 3, backups=1, build=BUILD)
    yield made
    made.finish()


def weak(client, id):
    return client.call((Atom("get"), id, [(Atom("consistency"), False)]), PATIENCE)


def test_any_node_answers_for_any_object(trio):
    clients = [member.client() for member in trio.members]
    value = {b"name": [1.5, -(1 << 70), (Atom("x"), etf.Chars(b"text"))], Atom("bits"): etf.ref("other@node")}
    for number, writer in enumerate(clients):
        id = b"any:%d" % number
        assert read(writer, id) == "ko"
        for version, reader in enumerate(clients):
            assert put(writer, id, (version, value)) == "ok"
            assert [read(client, id) for client in clients] == [(OK, (version, value))] * 3
            assert put(reader, id, (version, b"changed")) == "ok"
            assert [read(client, id) for client in clients] == [(OK, (version, b"changed"))] * 3
        assert clients[(number + 1) % 3].call((Atom("persist"), id), PATIENCE) == "ok"
        assert [read(client, id) for client in clients] == [(OK, (2, b"changed"))] * 3
        assert clients[(number + 2) % 3].call((Atom("delete"), id), PATIENCE) == "ok"
        assert [read(client, id) for client in clients] == ["ko"] * 3
        assert [weak(client, id) for client in clients] == ["ko"] * 3
    for client in clients:
        client.close()


def test_large_values_cross_the_hop_whole(trio):
    a, b, c = trio.members
    with a.client() as owner, b.client() as other, c.client() as third:
        for size in (70_000, 1 << 20, 9_000_000):
            id, value = b"large:%d" % size, bytes(range(256)) * (size // 256)
            assert put(owner, id, b"first") == "ok"
            assert other.call((Atom("set"), id, value), 30) == "ok"
            for client in (owner, third, other):
                assert client.call((Atom("get"), id), 30) == (OK, value)


def test_all_ways_to_name_an_id_are_one_object_everywhere(trio):
    a, b, c = trio.members
    with a.client() as one, b.client() as two, c.client() as three:
        assert put(one, Atom("name:é"), 1) == "ok"
        assert read(two, "name:é".encode()) == (OK, 1)
        assert read(three, [ord(letter) for letter in "name:é"]) == (OK, 1)
        assert put(two, 4711, 2) == "ok"
        assert read(three, b"4711") == (OK, 2)


def test_order_of_one_sender_across_the_hop(trio):
    """Writes and reads of one sender take effect in the order sent, without waiting for answers: through a node
    that owns nothing of it, while objects are loaded, and while they move."""
    a, b, _ = trio.members
    ids = [b"order:%d" % number for number in range(20)]
    with a.client() as owner, b.client() as client:
        for id in ids:
            assert put(owner, id, -1) == "ok"
        for round_number in range(3):
            asked = {}
            for number in range(30):
                for id in ids:
                    client.reg_send((Atom("s"), id, (round_number, number)))
                    asked[client.ask((Atom("get"), id))] = (id, (round_number, number))
                if number == 10:
                    for id in ids[::2]:
                        client.reg_send((Atom("p"), id))
            answered = 0
            while answered < len(asked):
                tag, answer = client.next_answer(PATIENCE)
                assert value_of(answer) == asked[tag][1], (asked[tag], answer)
                answered += 1


def test_objects_move_to_the_node_that_uses_them(trio):
    a, b, _ = trio.members
    ids = trio.owned_by(a, 5, b"moves")
    with b.client() as client:
        def used():
            for id in ids:
                assert read(client, id) == (OK, (id, 0))
            return all(trio.owner_of(id, a) is b for id in ids)
        wait_until(used, what="the move")
        for id in ids:
            assert put(client, id, 1) == "ok"
    with a.client() as client:
        assert [read(client, id) for id in ids] == [(OK, 1)] * 5


def test_an_untagged_get_is_answered_once(trio):
    """PHP's form, through a node that is not the owner: one answer, and no second one."""
    a, b, c = trio.members
    ids = trio.owned_by(a, 20, b"once")
    with b.client() as client:
        for id in ids:
            client.reg_send((Atom("g"), True, id, client.pid, Atom("null")))
            assert client.receive()[1] == (OK, (id, 0))
            client.reg_send((Atom("g"), True, b"never:" + id, client.pid, Atom("null")))
            assert client.receive()[1] == "ko"
        with pytest.raises(TimeoutError):
            client.receive(timeout=1)
    # The owner stands still for a moment, shorter than the lease: late, but once.
    with c.client() as client:
        a.pause()
        try:
            client.reg_send((Atom("g"), True, ids[0], client.pid, Atom("null")))
            time.sleep(0.5)
        finally:
            a.resume()
        assert client.receive()[1] == (OK, (ids[0], 0))
        with pytest.raises(TimeoutError):
            client.receive(timeout=1)


def test_where_an_object_lives(trio):
    for member in trio.members:
        (id,) = trio.owned_by(member, 1, b"lives:" + member.name.encode())
        assert [trio.owner_of(id, via) for via in trio.members] == [member] * 3
    # Asking does not touch: it stays nobody's.
    assert [trio.owner_of(b"lives:nowhere", via) for via in trio.members] == [None] * 3


def test_get_nodes_as_the_original_was_asked(trio):
    """{get_nodes, Pid} to `manager`: the members, as [{Name, Pid}]; a message to that pid is one to `brain`."""
    names = {member.name for member in trio.members}
    for member in trio.members:
        with member.client() as client:
            client.reg_send((Atom("get_nodes"), client.pid), to="manager")
            _, nodes = client.receive()
            assert {str(name) for name, _ in nodes} == names
            assert all(isinstance(pid, etf.Opaque) and pid[:1] == b"X" for _, pid in nodes)


def test_all_at_once(trio):
    """Everybody reads and writes the same few objects: what they were told fits one register for each."""
    load = Load(trio.members, clients=6, ids=8, prefix=b"all")
    with load:
        time.sleep(3)
    print(load.summary())
    assert {name: load.answered[name] > 100 for name in (member.name for member in trio.members)} == \
        {member.name: True for member in trio.members}
    assert sum(load.refused.values()) == 0, load.summary()
    load.check(*trio.members)


def test_two_first_touches(trio):
    """Many at once are the first to use an object: one of them gets it, and all write and read the same one."""
    history, problems = History(), []
    ids = [b"first:%d" % number for number in range(60)]
    barrier = threading.Barrier(3)

    def touch(member):
        with member.client() as client:
            for id in ids:
                barrier.wait(30)
                one = history.begin(id, "write", member.name, f"by {member}", member.name)
                answer = put(client, id, one.value.encode())
                if answer == "ok":
                    one.end = time.monotonic()
                else:
                    problems.append((one, answer))

    threads = [threading.Thread(target=touch, args=(member,)) for member in trio.members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    for member in trio.members:
        with member.client() as client:
            for id in ids:
                one = history.begin(id, "read", "reader", via=member.name)
                one.value = value_of(read(client, id)).decode()
                one.end = time.monotonic()
    history.check()
    assert all(len({trio.owner_of(id, via) for via in trio.members} - {None}) == 1 for id in ids[:10])


ERLANG_CLIENTS = r"""
%% One process per client: calls through any node, and a line for each: id kind value begin end sender number node.
clients(Nodes) ->
    Main = self(),
    Pids = [spawn_link(fun() -> client(N, Nodes, 120), Main ! {done, self()} end) || N <- lists:seq(1, 6)],
    [receive {done, Pid} -> ok end || Pid <- Pids].

client(_, _, 0) -> ok;
client(N, Nodes, Left) ->
    Node = lists:nth(rand:uniform(length(Nodes)), Nodes),
    Id = rand:uniform(5),
    Value = {N, Left},
    {Kind, Request} = case rand:uniform(9) of
        1 -> {delete, {delete, {erl, Id}}};
        K when K < 5 -> {write, {set, {erl, Id}, Value}};
        _ -> {read, {get, {erl, Id}}}
    end,
    Begin = erlang:monotonic_time(microsecond),
    Answer = gen_server:call({brain, Node}, setelement(2, Request, "erl:" ++ integer_to_list(Id)), 10000),
    End = erlang:monotonic_time(microsecond),
    Told = case {Kind, Answer} of {read, {ok, V}} -> V; {write, ok} -> Value; {delete, ok} -> none; {read, ko} -> none end,
    io:format("H|~w|~w|~w|~w|~w|~w|~w|~s~n", [Id, Kind, Told, Begin, End, N, 1000 - Left, Node]),
    client(N, Nodes, Left - 1).
"""


def test_real_erlang_clients(trio, tmp_path):
    """The same from one Erlang node with six processes, each of which asks any member."""
    nodes = ", ".join(f"'{member.name}'" for member in trio.members)
    output = Beam(tmp_path, trio.epmds[0].port).erl(f"    clients([{nodes}])", ERLANG_CLIENTS)
    history = History()
    for line in output.splitlines():
        if line.startswith("H|"):
            _, id, kind, value, begin, end, sender, number, via = line.split("|")
            one = history.begin(id.encode(), kind, sender, None if value == "none" else value, via)
            one.number, one.begin, one.end = int(number), int(begin) / 1e6, int(end) / 1e6
    assert len(history.operations) == 720
    assert any(one.kind == "read" and one.value for one in history.operations)
    history.check()


def test_a_member_that_joins_and_one_that_leaves(new_cluster):
    """Objects stay reachable while members come and go in good order; who leaves ends with nothing to lose."""
    cluster = new_cluster(2, build=BUILD)
    a, b = cluster.members
    ids = cluster.owned_by(a, 50, b"stay")
    c = cluster.add(3, BUILD)
    cluster.start(c)
    with c.client() as client:
        assert [read(client, id) for id in ids] == [(OK, (id, 0)) for id in ids]
    a.stop()
    cluster.wait_joined(b, c, timeout=LEASE + 10)
    for member in (b, c):
        with member.client() as client:
            assert [read(client, id) for id in ids] == [(OK, (id, 0)) for id in ids]
    cluster.start(a)
    with a.client() as client:
        assert [read(client, id) for id in ids] == [(OK, (id, 0)) for id in ids]
