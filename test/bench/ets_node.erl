%% The object store that an Erlang programmer writes first: one registered process that owns a public
%% ETS table. It answers the same messages as Brain, so that the same load can be put on both.
%%
%%     erl -sname ets@localhost -noshell -s ets_node
%%
%% Prints "ready" when the process is registered.
-module(ets_node).
-export([start/0]).

start() ->
    Table = ets:new(objects, [set, public]),
    Server = spawn(fun() -> serve(Table) end),
    ets:give_away(Table, Server, none),
    register(brain, Server),
    io:put_chars("ready\n").

serve(Table) ->
    receive
        {g, _, Id, Client, Tag} ->
            answer(Client, Tag, read(Table, Id));
        {s, Id, Value} ->
            ets:insert(Table, {Id, Value});
        {s, Id, Value, Client, Tag} ->
            ets:insert(Table, {Id, Value}),
            answer(Client, Tag, ok);
        {d, Id} ->
            ets:delete(Table, Id);
        {d, Id, Client, Tag} ->
            ets:delete(Table, Id),
            answer(Client, Tag, ok);
        _ ->
            ignored
    end,
    serve(Table).

read(Table, Id) ->
    case ets:lookup(Table, Id) of
        [{_, Value}] -> {ok, Value};
        [] -> ko
    end.

answer(Client, Tag, Answer) when Tag =:= null; Tag =:= nil; Tag =:= undefined ->
    Client ! Answer;
answer(Client, Tag, Answer) ->
    Client ! {Tag, Answer}.
