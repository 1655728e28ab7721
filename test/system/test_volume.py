"""One million objects of 100 bytes and ten thousand of 300 kB go in from a real Erlang node and come
back equal: some from RAM, some through the warehouse, all of them after a restart or before it.

BRAIN_VOLUME (default 1) scales it: 0.01 for a quick run."""
import os
import shutil

import pytest

from harness import RELEASE_BUILD

SCALE = float(os.environ.get("BRAIN_VOLUME", "1"))

FUNCTIONS = r"""
small_id(I) -> N = integer_to_binary(1000000000000 + I), <<"object:", N/binary>>.   % 20 bytes
small_value(I) -> <<I:64, (erlang:phash2(I)):64, (binary:copy(<<(I band 255)>>, 84))/binary>>.

large_id(I) -> <<"large:", (integer_to_binary(I))/binary>>.
large_value(I) -> binary:copy(<<I:32, (erlang:phash2(I)):32>>, 37500).              % 300,000 bytes

%% Fun(I) for From..To, in 4 processes.
parallel(From, To, Fun) ->
    Workers = 4,
    Pids = [spawn_monitor(fun() -> Fun(From + W, To, Workers) end) || W <- lists:seq(0, Workers - 1)],
    [receive {'DOWN', R, process, P, Reason} -> normal = Reason end || {P, R} <- Pids],
    ok.

each(I, To, _, _) when I > To -> ok;
each(I, To, Step, Fun) -> Fun(I), each(I + Step, To, Step, Fun).

%% Writes; the last is acknowledged, and so are all before it.
write(From, To, Id, Value) ->
    parallel(From, To, fun(First, Last, Step) ->
        each(First, Last, Step, fun(I) -> send({s, Id(I), Value(I)}) end),
        ok = tagged_now({s, Id(First), Value(First)})
    end).

tagged_now(Message) ->
    Tag = make_ref(),
    send(erlang:append_element(erlang:append_element(Message, self()), Tag)),
    receive {Tag, Answer} -> Answer after 60000 -> no_answer end.

%% Dumps every `Every`-th, Window at a time.
dump(From, To, Every, Id) ->
    window([I || I <- lists:seq(From, To, Every)], 200,
        fun(I) -> send({p, Id(I), self(), I}) end,
        fun(_, Answer) -> ok = Answer end).

%% Reads all, Window at a time in each process, and compares.
read_all(From, To, Window, Id, Value) ->
    parallel(From, To, fun(First, Last, Step) ->
        window(lists:seq(First, Last, Step), Window,
            fun(I) -> send({g, true, Id(I), self(), I}) end,
            fun(I, Answer) ->
                Expected = Value(I),
                case Answer of {ok, Expected} -> ok; Other -> error({wrong, I, element(1, {Other})}) end
            end)
    end).

window(Items, Size, Ask, Check) ->
    {Now, Later} = lists:split(min(Size, length(Items)), Items),
    lists:foreach(Ask, Now),
    window_loop(Later, length(Now), Ask, Check).
window_loop(_, 0, _, _) -> ok;
window_loop(Later, Open, Ask, Check) ->
    receive {I, Answer} when is_integer(I) -> Check(I, Answer) after 60000 -> error(no_answer) end,
    case Later of
        [Next | Rest] -> Ask(Next), window_loop(Rest, Open, Ask, Check);
        [] -> window_loop([], Open - 1, Ask, Check)
    end.
"""


@pytest.fixture
def volume_server(new_server, tmp_path):
    def start():
        return new_server(build=RELEASE_BUILD, drain_timeout=600000)
    yield start
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


@pytest.mark.timeout(400)
def test_a_million_small_objects(volume_server, erl):
    count = max(int(1_000_000 * SCALE), 1000)
    first = volume_server()
    erl(rf"""
    N = {count},
    20 = byte_size(small_id(1)), 100 = byte_size(small_value(1)),
    write(1, N, fun small_id/1, fun small_value/1),
    N = metric(object, objects),
    dump(1, N div 5, 1, fun small_id/1),
    true = metric(object, objects) =:= N - N div 5,
    read_all(1, N, 500, fun small_id/1, fun small_value/1),
    N = metric(object, objects),
    true = metric(object, loads_found) >= N div 5""", FUNCTIONS, timeout=300)
    first.stop(timeout=120)
    volume_server()
    erl(rf"""
    N = {count},
    read_all(N - N div 4, N, 500, fun small_id/1, fun small_value/1),
    true = metric(object, loads_found) >= N div 4""", FUNCTIONS, timeout=300)


@pytest.mark.timeout(400)
def test_ten_thousand_objects_of_300_kilobytes(volume_server, erl):
    count = max(int(10_000 * SCALE), 100)
    first = volume_server()
    # In rounds, of which half is dumped, so that three gigabytes do not have to be in RAM at once.
    erl(rf"""
    N = {count},
    300000 = byte_size(large_value(1)),
    Round = N div 10,
    [begin
        From = R * Round + 1, To = (R + 1) * Round,
        write(From, To, fun large_id/1, fun large_value/1),
        dump(From, To, 2, fun large_id/1)
     end || R <- lists:seq(0, 9)],
    Left = N div 2,
    Left = metric(object, objects),
    [begin
        From = R * Round + 1, To = (R + 1) * Round,
        read_all(From, To, 8, fun large_id/1, fun large_value/1),
        dump(From, To - Round div 2, 1, fun large_id/1)
     end || R <- lists:seq(0, 9)],
    true = metric(object, loads_found) >= Left""", FUNCTIONS, timeout=300)
    first.stop(timeout=200)
    volume_server()
    erl(rf"""
    N = {count},
    read_all(N - N div 5, N, 8, fun large_id/1, fun large_value/1)""", FUNCTIONS, timeout=300)
