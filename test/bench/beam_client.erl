%% The load of a real Erlang node: many processes that ask one server over the one connection that two
%% nodes have. Every answer is checked. Prints one line of JSON, in the form of brain-bench.
%%
%%     erl -sname client@localhost -noshell -s beam_client -extra key=value ...
%%
%%     server=NAME@HOST  pid=PID                 the server; PID to know what CPU it takes
%%     work=get|set      processes=P             each has one request under way
%%     work=beside_sets|beside_replies|beside_values
%%                                               one small get each 10 ms, beside bulk traffic by P other
%%                                               processes: sets or gets of 300 kB, sets of 30 MB
%%     size=BYTES keys=N seconds=S warmup=S      of the values; how many; how long (may be fractions)
-module(beam_client).
-export([start/0]).

-define(BULK_BYTES, 300000).
-define(HUGE_BYTES, 30000000).
-define(SMALL_BYTES, 100).
-define(SMALL_EVERY_MS, 10).
-define(ANSWER_MS, 20000).
%% Latencies are counted in buckets of 1/32 of a power of two of nanoseconds: 3 % wide at most.
-define(STEPS, 32).
-define(BUCKETS, ?STEPS * 50).

start() ->
    Status =
        try
            io:put_chars([run(options()), $\n]),
            0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "beam_client: ~p: ~p~n~p~n", [Class, Reason, Stack]),
                1
        end,
    halt(Status).

options() ->
    maps:from_list([
        list_to_tuple(string:split(Text, "="))
     || Text <- init:get_plain_arguments()
    ]).

text(Key, Options) -> maps:get(Key, Options).
whole(Key, Options) -> list_to_integer(text(Key, Options)).

milliseconds(Key, Options) ->
    Text = text(Key, Options),
    Seconds =
        case string:to_float(Text) of
            {error, no_float} -> list_to_integer(Text);
            {Float, _} -> Float
        end,
    round(Seconds * 1000).

%% ---- one run ------------------------------------------------------------------------------------

run(Options) ->
    Node = list_to_atom(text("server", Options)),
    true = net_kernel:connect_node(Node),
    put_objects({brain, Node}, Options),
    Work = text("work", Options),
    Run = #{
        server => {brain, Node},
        keys => whole("keys", Options),
        counts => counters:new(?BUCKETS, []),
        totals => counters:new(2, []),
        phase => atomics:new(1, [])
    },
    Before = processes_of(Work, whole("processes", Options), Run),
    timer:sleep(milliseconds("warmup", Options)),
    Start = reading(Options),
    atomics:put(maps:get(phase, Run), 1, 1),
    timer:sleep(milliseconds("seconds", Options)),
    atomics:put(maps:get(phase, Run), 1, 2),
    End = reading(Options),
    lists:foreach(fun await/1, Before),
    report(Work, Options, Run, Start, End).

%% The processes check in each answer whether they still warm up (0), count (1) or end (2).
processes_of("get", Count, Run) ->
    spawn_all(Count, fun(Seed) -> loop(get, Seed, Run, true) end);
processes_of("set", Count, Run) ->
    spawn_all(Count, fun(Seed) -> loop(set, Seed, Run, true) end);
processes_of("beside_sets", Count, Run) ->
    Value = value(0, ?BULK_BYTES),
    small_gets(Run) ++ spawn_all(Count, fun(_) -> pour(Value, Run) end);
processes_of("beside_replies", Count, Run) ->
    small_gets(Run) ++ spawn_all(Count, fun(Seed) -> loop(get, Seed, Run, false) end);
processes_of("beside_values", Count, Run) ->
    Value = value(0, ?HUGE_BYTES),
    small_gets(Run) ++ spawn_all(Count, fun(_) -> pour(Value, Run) end).

spawn_all(Count, Fun) ->
    [spawn_monitor(fun() -> Fun(Seed) end) || Seed <- lists:seq(1, Count)].

await({_, Monitor}) ->
    receive
        {'DOWN', Monitor, process, _, Reason} -> normal = Reason
    after ?ANSWER_MS * 2 -> error(client_process_hangs)
    end.

%% ---- objects ------------------------------------------------------------------------------------

%% Ids and values are made before the clock runs, and shared by all processes.
put_objects(Server, Options) ->
    Work = text("work", Options),
    Size =
        case Work of
            "beside_replies" -> ?BULK_BYTES;
            _ -> whole("size", Options)
        end,
    Keys = whole("keys", Options),
    persistent_term:put(ids, list_to_tuple([id(N) || N <- lists:seq(1, Keys)])),
    persistent_term:put(values, list_to_tuple([value(N, Size) || N <- lists:seq(1, Keys)])),
    Small = {<<"small">>, value(0, ?SMALL_BYTES)},
    persistent_term:put(small, Small),
    [set(Server, element(N, persistent_term:get(ids)), element(N, persistent_term:get(values)))
     || N <- lists:seq(1, Keys)],
    {SmallId, SmallValue} = Small,
    set(Server, SmallId, SmallValue).

id(N) -> iolist_to_binary(io_lib:format("object:~13..0b", [N])).

value(N, Size) ->
    Head = <<N:64, Size:64>>,
    Bytes = binary:copy(Head, Size div byte_size(Head) + 1),
    binary:copy(binary:part(Bytes, 0, Size)).

get(Server, Id, Value) ->
    Tag = erlang:unique_integer(),
    Server ! {g, true, Id, self(), Tag},
    receive
        {Tag, {ok, Value}} -> ok;
        {Tag, Other} -> error({wrong_answer, Id, shortened(Other)})
    after ?ANSWER_MS -> error({no_answer, Id})
    end.

set(Server, Id, Value) ->
    Tag = erlang:unique_integer(),
    Server ! {s, Id, Value, self(), Tag},
    receive
        {Tag, ok} -> ok;
        {Tag, Other} -> error({wrong_answer, Id, shortened(Other)})
    after ?ANSWER_MS -> error({no_answer, Id})
    end.

shortened(Term) -> lists:flatten(io_lib:format("~P", [Term, 12])).

%% ---- what the processes do ----------------------------------------------------------------------

loop(Verb, Seed, Run, Counted) ->
    rand:seed(exsss, Seed),
    loop(Verb, Run, Counted).

loop(Verb, #{server := Server, keys := Keys} = Run, Counted) ->
    Number = rand:uniform(Keys),
    Id = element(Number, persistent_term:get(ids)),
    Value = element(Number, persistent_term:get(values)),
    Start = erlang:monotonic_time(nanosecond),
    case Verb of
        get -> get(Server, Id, Value);
        set -> set(Server, Id, Value)
    end,
    case count(Run, Start, Counted, byte_size(Value)) of
        ended -> ok;
        goes_on -> loop(Verb, Run, Counted)
    end.

%% Plain sets, as fast as the connection takes them. A read after each 60 MB bounds what is under way,
%% and shows that what is counted has arrived.
pour(Value, #{server := Server} = Run) ->
    Id = <<"poured">>,
    Burst = 60000000 div byte_size(Value),
    [Server ! {s, Id, Value} || _ <- lists:seq(1, Burst)],
    Tag = erlang:unique_integer(),
    Server ! {g, true, <<"small">>, self(), Tag},
    receive
        {Tag, {ok, _}} -> ok
    after ?ANSWER_MS -> error(no_answer)
    end,
    case count(Run, 0, false, Burst * byte_size(Value)) of
        ended -> ok;
        goes_on -> pour(Value, Run)
    end.

%% One process per get, so that a slow answer does not keep the next request from being sent.
small_gets(Run) ->
    spawn_all(1, fun(_) ->
        process_flag(priority, high),
        small_gets(Run, erlang:monotonic_time(millisecond), [])
    end).

small_gets(#{phase := Phase, server := Server} = Run, Due, Before) ->
    case atomics:get(Phase, 1) of
        2 ->
            lists:foreach(fun await/1, Before);
        _ ->
            {Id, Value} = persistent_term:get(small),
            Getter = spawn_opt(
                fun() ->
                    Start = erlang:monotonic_time(nanosecond),
                    get(Server, Id, Value),
                    count(Run, Start, true, 0)
                end,
                [monitor, {priority, high}]
            ),
            Next = Due + ?SMALL_EVERY_MS,
            timer:sleep(max(0, Next - erlang:monotonic_time(millisecond))),
            small_gets(Run, Next, [Getter | Before])
    end.

%% ---- counting -----------------------------------------------------------------------------------

%% `Counted`: is this the latency that is asked for?
count(#{phase := Phase, counts := Counts, totals := Totals}, Start, Counted, Bytes) ->
    case atomics:get(Phase, 1) of
        0 ->
            goes_on;
        1 ->
            counters:add(Totals, 1, Bytes),
            case Counted of
                true ->
                    Latency = erlang:monotonic_time(nanosecond) - Start,
                    counters:add(Totals, 2, Latency),
                    counters:add(Counts, bucket(Latency), 1);
                false ->
                    ok
            end,
            goes_on;
        2 ->
            ended
    end.

bucket(Latency) ->
    min(?BUCKETS, 1 + trunc(math:log2(max(1, Latency)) * ?STEPS)).

microseconds(Bucket) -> math:pow(2, (Bucket - 0.5) / ?STEPS) / 1000.

%% The latency below which `Share` of all lie.
percentile(Counts, Total, Share) -> walk(Counts, 1, max(1, ceil(Total * Share))).

walk(Counts, Bucket, Rest) ->
    case counters:get(Counts, Bucket) of
        Count when Count >= Rest; Bucket =:= ?BUCKETS -> microseconds(Bucket);
        Count -> walk(Counts, Bucket + 1, Rest - Count)
    end.

%% ---- the report ---------------------------------------------------------------------------------

reading(Options) ->
    Server = text("pid", Options),
    #{
        time => erlang:monotonic_time(nanosecond),
        server => cpu_us(Server),
        client => cpu_us(os:getpid())
    }.

%% User and system time of all threads; the kernel counts it in hundredths of a second.
cpu_us(Pid) ->
    {ok, Stat} = file:read_file(["/proc/", Pid, "/stat"]),
    [_, Fields] = string:split(Stat, ") ", trailing),
    Numbers = string:split(Fields, " ", all),
    Ticks = [binary_to_integer(lists:nth(N, Numbers)) || N <- [12, 13]],
    lists:sum(Ticks) * 10000.

resident_bytes(Pid) ->
    {ok, Status} = file:read_file(["/proc/", Pid, "/status"]),
    {match, [Kilobytes]} = re:run(Status, "VmRSS:\\s*(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kilobytes) * 1024.

report(Work, Options, #{counts := Counts, totals := Totals}, Start, End) ->
    Seconds = (maps:get(time, End) - maps:get(time, Start)) / 1.0e9,
    Operations = lists:sum([counters:get(Counts, Bucket) || Bucket <- lists:seq(1, ?BUCKETS)]),
    true = Operations > 0,
    PerOperation = fun(Who) -> (maps:get(Who, End) - maps:get(Who, Start)) / Operations end,
    At = fun(Share) -> percentile(Counts, Operations, Share) end,
    io_lib:format(
        "{\"protocol\":\"beam\",\"work\":\"~s\",\"processes\":~s,\"size\":~s,\"keys\":~s,"
        "\"seconds\":~.6f,\"operations\":~b,\"throughput\":~.1f,\"errors\":0,"
        "\"latency_us\":{\"mean\":~.2f,\"p50\":~.2f,\"p90\":~.2f,\"p99\":~.2f,\"max\":~.2f},"
        "\"client_cpu_us\":~.4f,\"server_cpu_us\":~.4f,\"server_rss_bytes\":~b,\"bytes_per_second\":~.1f}",
        [
            Work, text("processes", Options), text("size", Options), text("keys", Options),
            Seconds, Operations, Operations / Seconds,
            counters:get(Totals, 2) / Operations / 1000, At(0.5), At(0.9), At(0.99), At(1.0),
            PerOperation(client), PerOperation(server), resident_bytes(text("pid", Options)),
            counters:get(Totals, 1) / Seconds
        ]
    ).
