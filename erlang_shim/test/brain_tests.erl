%% EUnit tests of the client against a real server: the environment variable BRAIN_NODE names it,
%% and this node runs with its cookie (run-tests starts both).
-module(brain_tests).

-include_lib("eunit/include/eunit.hrl").

node_under_test() -> list_to_atom(os:getenv("BRAIN_NODE", "brain@localhost")).

brain_test_() ->
    {setup,
     fun() -> application:set_env(brain, node, node_under_test()) end,
     fun(_) -> application:unset_env(brain, node) end,
     [{"a value comes back as it was", fun round_trip/0},
      {"an id has one object, however it is written", fun one_object_per_id/0},
      {"ko for what is not there", fun absent/0},
      {"delete", fun delete/0},
      {"persist releases from RAM and the object comes back", fun persist/0},
      {"read options", fun consistency/0},
      {"info is a map", fun info/0},
      {"a bad id is an error, not an exit", fun bad_id/0},
      {"a node that is not there is an error, not an exit", fun nodedown/0},
      {"a name that is not there is an error, not an exit", fun noproc/0}]}.

round_trip() ->
    Values = [#{name => "Ann", langs => [erlang, c]}, 1 bsl 200, -1.5, <<1:3>>, self(), make_ref(),
              fun(X) -> X + 1 end, [], {}, "text", <<"binary">>, [a | b], binary:copy(<<7>>, 300000)],
    [begin
         ?assertEqual(ok, brain:put("shim:value", V)),
         ?assertEqual({ok, V}, brain:get("shim:value"))
     end || V <- Values].

one_object_per_id() ->
    ok = brain:put("shim:id", 1),
    [?assertEqual({ok, 1}, brain:get(Id)) || Id <- ["shim:id", <<"shim:id">>, 'shim:id']],
    ok = brain:put(42, forty_two),
    ?assertEqual({ok, forty_two}, brain:get("42")).

absent() ->
    ?assertEqual(ko, brain:get("shim:never stored")).

delete() ->
    ok = brain:put("shim:gone", 1),
    ?assertEqual(ok, brain:delete("shim:gone")),
    ?assertEqual(ko, brain:get("shim:gone")),
    ?assertEqual(ok, brain:delete("shim:gone")).

persist() ->
    ok = brain:put("shim:cold", {some, value}),
    #{object := #{dropped_persist := Before}} = brain:info(),
    ?assertEqual(ok, brain:persist("shim:cold")),
    #{object := #{dropped_persist := After}} = brain:info(),
    ?assertEqual(Before + 1, After),
    ?assertEqual({ok, {some, value}}, brain:get("shim:cold")).

consistency() ->
    ok = brain:put("shim:weak", 7),
    ?assertEqual({ok, 7}, brain:get("shim:weak", #{consistency => false})),
    ?assertEqual({ok, 7}, brain:get("shim:weak", #{consistency => true})),
    ?assertEqual({error, bad_request}, brain:get("shim:weak", #{consistency => maybe_so})).

info() ->
    Node = node_under_test(),
    ?assertMatch(#{node := Node, state := running, object := #{}}, brain:info()),
    ?assertMatch(#{node := Node}, brain:info(Node)),
    ?assertMatch(#{node := Node}, brain:info(#{node => Node, timeout => 1000})).

bad_id() ->
    ?assertEqual({error, bad_id}, brain:put({not_an_id}, 1)),
    ?assertEqual({error, bad_id}, brain:get("")),
    ?assertEqual({error, bad_id}, brain:get(binary:copy(<<"x">>, 1025))).

nodedown() ->
    ?assertEqual({error, nodedown}, brain:get("x", #{node => 'nobody_is_here@localhost'})).

noproc() ->
    ?assertEqual({error, noproc}, brain:get("x", #{name => no_such_name})).
