"""The life of an object: idle, dumped, gone from RAM, back; stops and starts of the process."""
import signal

import pytest


def test_idle_objects_leave_ram_and_come_back(new_server, erl):
    new_server(key_ttl=1000)
    erl(r"""
    Ids = lists:seq(1, 200),
    [ok = call({set, I, #{n => I}}) || I <- Ids],
    200 = metric(object, objects),
    eventually(fun() -> metric(object, dirty) =:= 0 end, 60),
    true = metric(object, objects) > 0,     % the first idle step only persists
    eventually(fun() -> metric(object, objects) =:= 0 end, 60),
    200 = metric(object, dropped_idle),
    [{ok, #{n := I}} = call({get, I}) || I <- Ids],
    200 = metric(object, objects),
    eventually(fun() -> metric(object, objects) =:= 0 end, 60)""")


def test_an_object_in_use_stays(new_server, erl):
    new_server(key_ttl=1000)
    erl(r"""
    ok = call({set, busy, 1}), ok = call({set, idle, 1}),
    Use = fun Use(0) -> ok; Use(N) -> {ok, 1} = call({get, busy}), timer:sleep(100), Use(N - 1) end,
    Use(45),
    0 = metric(object, misses),
    1 = metric(object, objects),
    1 = metric(object, dropped_idle)""")


def test_the_mark_of_a_deleted_object_goes_after_tombstone_keep(new_server, erl):
    new_server(tombstone_keep=1000, key_ttl=100)
    erl(r"""
    Dumps = fun() -> metric(warehouse, dumps) end,
    ok = call({set, a, 1}), ok = call({persist, a}),
    ok = call({delete, a}),
    eventually(fun() -> metric(object, objects) + metric(object, dirty) =:= 0 end, 60),
    2 = Dumps(),
    ko = call({get, a}),
    timer:sleep(100),
    2 = Dumps(),            % too young to be removed
    timer:sleep(1100),
    ko = call({get, a}),    % finds it, and has it removed
    eventually(fun() -> Dumps() =:= 3 end, 60),
    ko = call({get, a}),
    timer:sleep(100),
    3 = Dumps(),            % there is nothing left to remove
    ok = call({set, a, 2}), ok = call({persist, a}), {ok, 2} = call({get, a})""")


def test_persist_and_delete_reach_the_warehouse(new_server, erl):
    first = new_server()
    erl(r"""
    ok = call({set, a, 1}), ok = call({persist, a}), ok = call({set, a, 2}), ok = call({persist, a}),
    ok = call({set, b, 1}), ok = call({persist, b}), ok = call({delete, b}),
    ok = call({set, c, 1}), ok = call({persist, c}), ok = call({set, c, 2}),
    ok = call({set, d, 1}), ok = call({delete, d}), ok = call({set, d, 2})""")
    first.stop()
    new_server()
    erl(r"""
    {ok, 2} = call({get, a}), ko = call({get, b}), {ok, 2} = call({get, c}), {ok, 2} = call({get, d})""")


def test_restart_and_read_back(new_server, erl):
    first = new_server()
    erl(r"""
    [send({s, I, {value, I, <<I:800>>}}) || I <- lists:seq(1, 20000)],
    {ok, _} = read(20000)""")
    first.stop()
    assert "stopping on SIGTERM: 20000 objects to persist" in first.log
    assert "everything is persisted" in first.log
    second = new_server()
    erl(r"""
    0 = metric(object, objects),
    [begin V = <<I:800>>, {ok, {value, I, V}} = read(I) end || I <- lists:seq(1, 20000)]""")
    second.stop()
    assert "stopping on SIGTERM: 0 objects to persist" in second.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_persists_everything_dirty(new_server, erl, number):
    first = new_server()
    erl("[send({s, I, I * I}) || I <- lists:seq(1, 3000)], {ok, _} = read(3000)")
    first.stop(number)
    assert f"stopping on {number.name}: 3000 objects to persist" in first.log
    new_server()
    erl("[begin Q = I * I, {ok, Q} = read(I) end || I <- lists:seq(1, 3000)]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_quits_at_once(new_server, erl, number):
    # One dump at a time: the drain takes long enough to be interrupted.
    server = new_server(dumps_parallel=1)
    server.expected_status = 1
    erl("[send({s, I, <<I:8000>>}) || I <- lists:seq(1, 60000)], {ok, _} = read(60000)")
    server.send_signal(number)
    server.wait_log("stopping on")
    server.send_signal(number)
    assert server.wait(5) == 1
    assert "second signal" in server.log


def test_progress_of_a_long_stop_is_in_the_log(new_server, erl):
    server = new_server(dumps_parallel=1)
    server.expected_status = 1
    erl("[send({s, I, <<I:8000>>}) || I <- lists:seq(1, 60000)], {ok, _} = read(60000)")
    server.send_signal(signal.SIGTERM)
    server.wait_log(r"stopping: \d+ of 60000 objects still to be persisted", 20)
    server.send_signal(signal.SIGTERM)  # enough was seen
    assert server.wait(5) == 1


def test_a_stop_that_takes_too_long_says_what_is_lost(new_server, erl):
    server = new_server(dumps_parallel=1, drain_timeout=1000)
    server.expected_status = 1
    erl("[send({s, I, <<I:8000>>}) || I <- lists:seq(1, 60000)], {ok, _} = read(60000)")
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 1
    server.wait_log(r"stopped after drain_timeout: \d+ objects could not be persisted")


def test_a_client_can_ask_for_a_stop(new_server, erl):
    first = new_server()
    erl("ok = call({set, a, 1}), ok = call(shutdown)")
    assert first.wait() == 0
    new_server()
    erl("{ok, 1} = call({get, a})")


def test_a_second_server_on_the_same_data_says_so(new_server):
    new_server()
    second = new_server(wait=False, node="other@localhost")
    second.expected_status = 1
    assert second.wait(20) == 1
    lines = second.log.strip().splitlines()
    assert any("data" in line for line in lines), second.log
    assert len([line for line in lines if "ready" in line]) == 0
    assert len(lines) <= 2, second.log  # one sentence, and at most that it stops


def test_the_warehouse_grows(new_server, erl):
    """A map that is too small at first is made larger, and nothing is lost by it."""
    first = new_server(local_map_size=1048576)
    erl(r"""
    [ok = call({set, I, binary:copy(<<I:64>>, 12500)}) || I <- lists:seq(1, 200)],
    [ok = call({persist, I}) || I <- lists:seq(1, 200)],
    0 = metric(object, objects)""")
    first.stop()
    new_server(local_map_size=1048576)
    erl("[begin V = binary:copy(<<I:64>>, 12500), {ok, V} = call({get, I}) end || I <- lists:seq(1, 200)]")


def test_a_write_during_a_dump_is_not_lost(new_server, erl):
    first = new_server()
    erl(r"""
    [begin
        send({s, I rem 50, {first, I}}), send({p, I rem 50}), send({s, I rem 50, {second, I}})
     end || I <- lists:seq(1, 5000)],
    [begin {ok, {second, N}} = read(I), I = N rem 50, true = N > 4950 end || I <- lists:seq(0, 49)]""")
    first.stop()
    new_server()
    erl("[begin {ok, {second, N}} = read(I), I = N rem 50, true = N > 4950 end || I <- lists:seq(0, 49)]")
