%% Real clients of a cluster: processes of one Erlang node that write, delete and read a few ids through the member
%% beside it, by calls and by plain messages, until standard input ends. Each operation is a line:
%%
%%     H|id|kind|value or -|begin, us|end, us, or -|sender|number|what was said, or ok
%%
%% Times are CLOCK_MONOTONIC's, so those of several nodes can be compared. After an outcome that nobody knows a process
%% goes on as a new sender: what it had asked may take effect at any time. Run by beam_load.py.
-module(beam_load).
-export([main/1]).

-define(PATIENCE, 6000).

main([Member, Name, Processes, Ids]) ->
    Main = self(),
    Server = {brain, list_to_atom(Member)},
    Writer = spawn_link(fun writer/0),
    Pids = [spawn_link(fun() -> client(Writer, Server, Name ++ "." ++ integer_to_list(N), list_to_integer(Ids), 1),
                                Main ! {done, self()} end)
            || N <- lists:seq(1, list_to_integer(Processes))],
    io:put_chars("READY\n"),
    eof = io:get_line(""),
    [Pid ! stop || Pid <- Pids],
    [receive {done, Pid} -> ok end || Pid <- Pids],
    Writer ! {stop, self()},
    receive stopped -> io:put_chars("DONE\n") end.

writer() ->
    receive
        {line, Line} -> io:put_chars(Line), writer();
        {stop, From} -> From ! stopped
    end.

%% One sender after the other, until told to stop.
client(Writer, Server, Name, Ids, Session) ->
    Sender = Name ++ "." ++ integer_to_list(Session),
    case session(Writer, Server, Sender, Ids, 1) of
        stop -> ok;
        unknown ->
            flush(),
            client(Writer, Server, Name, Ids, Session + 1)
    end.

session(Writer, Server, Sender, Ids, Number) ->
    receive
        stop -> stop
    after 4 ->
        Id = integer_to_list(rand:uniform(Ids)),
        Value = list_to_binary(Sender ++ "#" ++ integer_to_list(Number)),
        Known = case rand:uniform(12) of
            1 -> [call(Writer, Server, Sender, Number, Id, delete, "-", {delete, "beam:" ++ Id})];
            K when K =< 4 ->
                [call(Writer, Server, Sender, Number, Id, write, Value, {set, "beam:" ++ Id, Value, []})];
            K when K =< 8 -> [call(Writer, Server, Sender, Number, Id, read, "-", {get, "beam:" ++ Id})];
            _ -> pair(Writer, Server, Sender, Number, Id, Value)
        end,
        case lists:all(fun(One) -> One end, Known) of
            true -> session(Writer, Server, Sender, Ids, Number + length(Known));
            false -> unknown
        end
    end.

call(Writer, Server, Sender, Number, Id, Kind, Value, Request) ->
    Begin = now_us(),
    Answer = try gen_server:call(Server, Request, ?PATIENCE)
             catch exit:{{nodedown, _}, _} -> timer:sleep(50), {error, nodedown};
                   exit:{Reason, _} -> timer:sleep(10), {error, Reason}
             end,
    record(Writer, Sender, Number, Id, Kind, Value, Begin, Answer).

%% A write and a read behind it, as plain messages, before either is answered.
pair(Writer, Server, Sender, Number, Id, Value) ->
    Set = make_ref(),
    Get = make_ref(),
    Watch = erlang:monitor(process, Server),
    First = now_us(),
    Server ! {s, "beam:" ++ Id, Value, self(), Set},
    Second = now_us(),
    Server ! {g, true, "beam:" ++ Id, self(), Get},
    Known = [record(Writer, Sender, Number, Id, write, Value, First, answer(Set, Watch)),
             record(Writer, Sender, Number + 1, Id, read, "-", Second, answer(Get, Watch))],
    erlang:demonitor(Watch, [flush]),
    Known.

answer(Tag, Watch) ->
    receive
        {Tag, Answer} -> Answer;
        {'DOWN', Watch, _, _, _} = Down ->
            self() ! Down, % for the next answer
            {error, down}
    after ?PATIENCE -> {error, silence}
    end.

record(Writer, Sender, Number, Id, Kind, Value, Begin, Answer) ->
    End = now_us(),
    {Told, Until, Said} = case {Kind, Answer} of
        {read, {ok, Read}} -> {Read, integer_to_list(End), "ok"};
        {read, ko} -> {"-", integer_to_list(End), "ok"};
        {Kind, ok} when Kind =/= read -> {Value, integer_to_list(End), "ok"};
        {_, {error, Reason}} -> {Value, "-", io_lib:format("~0p", [Reason])}
    end,
    Line = io_lib:format("H|~s|~s|~s|~b|~s|~s|~b|~s~n", [Id, Kind, Told, Begin, Until, Sender, Number, Said]),
    Writer ! {line, Line},
    Until =/= "-".

now_us() -> erlang:convert_time_unit(os:perf_counter(), perf_counter, microsecond).

flush() -> receive {_, _} -> flush() after 0 -> ok end.
