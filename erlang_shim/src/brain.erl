%% @doc Client of Brain, the object store that is an Erlang node.
%%
%% There is nothing to start and nothing to pool: every function is one `gen_server:call' to the
%% process `brain' of a Brain node, over the distribution connection that this node has anyway.
%%
%% ```
%% 1> brain:put("user:1", #{name => "Ann"}).
%% ok
%% 2> brain:get("user:1").
%% {ok,#{name => "Ann"}}
%% '''
%%
%% An id is a binary, a string, an atom or an integer; `"user:1"', `<<"user:1">>' and
%% <code>'user:1'</code> name the same object. A value is any term and comes back as it was.
%%
%% Which node is asked: the option `node', else the environment variable `node' of the application
%% `brain', else `brain@localhost'. A function returns `{error, Reason}' and never exits because of
%% the store: `{error, nodedown}' when the node is out of reach, `{error, timeout}' when no answer
%% came in time (a write may then have happened or not).
-module(brain).

-export([get/1, get/2, put/2, put/3, persist/1, persist/2, delete/1, delete/2, info/0, info/1]).
-export_type([id/0, options/0, reason/0]).

-define(NODE, 'brain@localhost').
-define(TIMEOUT, 10000).
-define(NAME, brain).

-type id() :: binary() | string() | atom() | integer().
%% 1 to 1024 bytes in UTF-8.

-type options() :: #{node => node(),
                     name => atom(),
                     timeout => timeout(),
                     consistency => boolean()}.
%% `node': which Brain node to ask. `name': its registered process, default `brain'. `timeout': in
%% milliseconds, default 10000. `consistency': for {@link get/2}; `true' (the default) sees the last
%% acknowledged write, `false' takes whatever the asked node has.

-type reason() :: nodedown | timeout | noproc | bad_id | bad_request | bad_term | too_big | too_deep
                | too_many_elements | warehouse | corrupt | conflict | shutdown | memory | notsup
                | atom().
%% Why something was not done; docs/protocol.md explains each.

%% @equiv get(Id, #{})
-spec get(id()) -> {ok, term()} | ko | {error, reason()}.
get(Id) -> get(Id, #{}).

%% @doc Reads an object. `ko' when there is none.
-spec get(id(), options()) -> {ok, term()} | ko | {error, reason()}.
get(Id, #{consistency := Consistency} = Options) ->
    call({get, Id, [{consistency, Consistency}]}, Options);
get(Id, Options) ->
    call({get, Id}, Options).

%% @equiv put(Id, Value, #{})
-spec put(id(), term()) -> ok | {error, reason()}.
put(Id, Value) -> put(Id, Value, #{}).

%% @doc Creates or replaces an object.
-spec put(id(), term(), options()) -> ok | {error, reason()}.
put(Id, Value, Options) ->
    call({set, Id, Value}, Options).

%% @equiv persist(Id, #{})
-spec persist(id()) -> ok | {error, reason()}.
persist(Id) -> persist(Id, #{}).

%% @doc Writes the object to the warehouse now and releases it from RAM. The next access brings it
%% back.
-spec persist(id(), options()) -> ok | {error, reason()}.
persist(Id, Options) ->
    call({persist, Id}, Options).

%% @equiv delete(Id, #{})
-spec delete(id()) -> ok | {error, reason()}.
delete(Id) -> delete(Id, #{}).

%% @doc Deletes the object, in RAM and in the warehouse.
-spec delete(id(), options()) -> ok | {error, reason()}.
delete(Id, Options) ->
    call({delete, Id}, Options).

%% @equiv info(#{})
-spec info() -> map() | {error, reason()}.
info() -> info(#{}).

%% @doc What the node says of itself: name, version, memory, and the numbers of each part.
-spec info(options() | node()) -> map() | {error, reason()}.
info(Node) when is_atom(Node) -> info(#{node => Node});
info(Options) -> call(info, Options).

call(Request, Options) ->
    Node = maps:get(node, Options, setting(node, ?NODE)),
    Name = maps:get(name, Options, ?NAME),
    Timeout = maps:get(timeout, Options, setting(timeout, ?TIMEOUT)),
    try
        gen_server:call({Name, Node}, Request, Timeout)
    catch
        exit:{{nodedown, _}, _} -> {error, nodedown};
        exit:{noconnection, _} -> {error, nodedown};
        exit:{timeout, _} -> {error, timeout};
        exit:{noproc, _} -> {error, noproc};
        %% The node left while it was asked.
        exit:{Reason, _} when Reason =:= normal; Reason =:= shutdown -> {error, nodedown}
    end.

setting(Key, Default) -> application:get_env(brain, Key, Default).
