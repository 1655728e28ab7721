"""A real Erlang node talks to the server as to any other node."""
import etf


def test_ping_answers_pong_and_the_node_is_hidden(server, erl):
    erl(r"""
    Node = ?NODE,
    pong = net_adm:ping(Node),
    [] = nodes(),
    [Node] = nodes(hidden),
    pong = net_adm:ping(?NODE)""")


def test_every_operation_as_a_call(server, erl):
    erl(r"""
    Id = <<"call:1">>,
    ko = call({get, Id}),
    ok = call({set, Id, #{a => 1}}),
    {ok, #{a := 1}} = call({get, Id}),
    {ok, #{a := 1}} = call({get, Id, []}),
    {ok, #{a := 1}} = call({get, Id, [{consistency, true}]}),
    {ok, #{a := 1}} = call({get, Id, [{consistency, false}]}),
    ok = call({set, Id, 2, [{ack, memory}]}),
    {ok, 2} = call({get, Id}),
    Node = ?NODE,
    {ok, Node} = call({owner, Id}),
    ok = call({persist, Id}),
    0 = metric(object, objects),
    {ok, 2} = call({get, Id}),
    1 = metric(object, objects),
    ok = call({delete, Id}),
    ko = call({get, Id}),
    ok = call({delete, Id}),
    ok = call({persist, Id})""")


def test_info_is_a_map_of_what_happened(server, erl):
    erl(r"""
    ok = call({set, a, 1}),
    {ok, 1} = call({get, a}),
    Node = ?NODE,
    #{node := Node, state := running, uptime_ms := Up, memory_bytes := Memory} = info(),
    true = Up >= 0, true = Memory > 1000000,
    1 = metric(object, objects), 1 = metric(object, dirty), 1 = metric(command, sets),
    1 = metric(command, gets), 1 = metric(dist, connections)""")


def test_cast(server, erl):
    erl(r"""
    ok = gen_server:cast(?BRAIN, {set, c, [1, 2]}),
    {ok, [1, 2]} = call({get, c}),
    ok = gen_server:cast(?BRAIN, {delete, c}),
    ko = call({get, c}),
    ok = gen_server:cast(?BRAIN, {unknown, c}),
    ok = gen_server:cast(?BRAIN, {get, c}),
    receive Any -> error({unexpected, Any}) after 300 -> ok end,
    1 = metric(command, refused_requests)""")


def test_plain_messages_of_a_shell(server, erl):
    erl(r"""
    send({s, <<"p">>, {value, 1}}),
    {ok, {value, 1}} = read(<<"p">>),
    send({s, <<"p">>, {value, 2}}),
    {ok, {value, 2}} = read(<<"p">>),
    send({p, <<"p">>}),
    {ok, {value, 2}} = read(<<"p">>),
    send({d, <<"p">>}),
    ko = read(<<"p">>),
    receive Any -> error({more_than_one_answer, Any}) after 300 -> ok end""")


def test_tagged_messages_are_acknowledged(server, erl):
    erl(r"""
    ok = tagged({s, t, 1}),
    {ok, 1} = tagged({g, true, t}),
    {ok, 1} = tagged({g, true, t}, {any, "tag", #{}}),
    ok = tagged({p, t}),
    0 = metric(object, objects),
    {ok, 1} = tagged({g, false, t}, 17),
    ok = tagged({d, t}),
    ko = tagged({g, true, t}),
    receive Any -> error({more_than_one_answer, Any}) after 300 -> ok end""")


def test_consistency_true_and_false_in_every_form(server, erl):
    erl(r"""
    ok = call({set, k, v}),
    [begin
        {ok, v} = read(C, k),
        ko = read(C, absent),
        {ok, v} = tagged({g, C, k}),
        ko = tagged({g, C, absent}),
        {ok, v} = call({get, k, [{consistency, C}]}),
        ko = call({get, absent, [{consistency, C}]}),
        [begin
            send({g, C, k, self(), None}),
            receive {ok, v} -> ok after 5000 -> error({no_answer, C, None}) end
         end || None <- [null, nil, undefined]]
     end || C <- [true, false]]""")


def test_monitors_and_links_on_unknown_names_and_pids_get_noproc_at_once(server, erl):
    erl(r"""
    process_flag(trap_exit, true),
    pong = net_adm:ping(?NODE),
    Name = {nosuch, ?NODE},
    R = erlang:monitor(process, Name),
    receive {'DOWN', R, process, Name, noproc} -> ok after 2000 -> error(no_down) end,
    Text = atom_to_binary(?NODE),
    Stranger = binary_to_term(<<131, 88, 119, (byte_size(Text)), Text/binary, 4711:32, 0:32, 77:32>>),
    link(Stranger),
    receive {'EXIT', Stranger, noproc} -> ok after 2000 -> error(no_exit) end,
    M = erlang:monitor(process, Stranger),
    receive {'DOWN', M, process, Stranger, noproc} -> ok after 2000 -> error(no_down) end,
    {'EXIT', {noproc, _}} = quickly(2000, fun() -> catch gen_server:call(Name, hello, 20000) end),
    Alive = erlang:monitor(process, ?BRAIN),
    receive {'DOWN', Alive, _, _, _} = Down -> error(Down) after 500 -> ok end,
    true = erlang:demonitor(Alive),
    eventually(fun() -> metric(dist, monitors) =:= 1 end)""")  # the call's own


def test_a_monitor_hears_of_the_shutdown(server, erl):
    erl(r"""
    R = erlang:monitor(process, ?BRAIN),
    ok = call({set, a, 1}),
    ok = call(shutdown),
    receive {'DOWN', R, process, _, shutdown} -> ok after 20000 -> error(no_down) end""")
    assert server.wait() == 0


def test_nobody_hangs_on_requests_that_are_not_served(server, erl):
    erl(r"""
    process_flag(trap_exit, true),
    N = ?NODE,
    pong = net_adm:ping(N),
    {badrpc, _} = quickly(2000, fun() -> rpc:call(N, erlang, node, []) end),
    {badrpc, _} = quickly(2000, fun() -> rpc:block_call(N, erlang, node, []) end),
    {_, _} = quickly(2000, fun() -> rpc:multicall([N], erlang, node, []) end),
    {error, {erpc, _}} = quickly(2000, fun() -> erpc:call(N, erlang, node, []) end),
    true = quickly(2000, fun() -> rpc:cast(N, erlang, node, []) end),
    Pid = quickly(2000, fun() -> spawn_link(N, erlang, node, []) end),
    receive {'EXIT', Pid, notsup} -> ok after 2000 -> error(no_exit) end,
    Plain = quickly(2000, fun() -> spawn(N, erlang, node, []) end),
    true = is_pid(Plain),
    Request = spawn_request(N, erlang, node, []),
    receive {spawn_reply, Request, error, notsup} -> ok after 2000 -> error(no_spawn_reply) end,
    quickly(2000, fun() -> sys:get_status(?BRAIN, 20000) end),
    quickly(2000, fun() -> sys:get_state(?BRAIN, 20000) end),
    quickly(2000, fun() -> gen_event:call(?BRAIN, handler, request, 20000) end),
    {error, _} = quickly(2000, fun() -> gen_server:call(?BRAIN, what_is_this, 20000) end),
    Io = make_ref(),
    send({io_request, self(), Io, {put_chars, unicode, "x"}}),
    receive {io_reply, Io, {error, _}} -> ok after 2000 -> error(no_io_reply) end,
    {rex, N} ! {self(), {call, erlang, node, [], user}},
    receive {rex, {badrpc, _}} -> ok after 2000 -> error(no_rex_answer) end,
    ok = call({set, still, alive}),
    {ok, alive} = call({get, still})""")


def test_multi_call_and_the_other_tag_shapes(server, erl):
    erl(r"""
    N = ?NODE,
    ok = call({set, k, v}),
    {[{N, {ok, v}}], []} = gen_server:multi_call([N], brain, {get, k}, 5000),
    Request = gen_server:send_request(?BRAIN, {get, k}),
    {reply, {ok, v}} = gen_server:wait_response(Request, 5000),
    {ok, v} = gen_statem:call(?BRAIN, {get, k}, 5000),
    Ref = make_ref(),
    send({'$gen_call', {self(), Ref}, {get, k}}),
    receive {Ref, {ok, v}} -> ok after 5000 -> error(no_answer) end""")


def test_a_late_answer_does_not_reach_the_mailbox(server, erl):
    """The caller gave up: the alias it asked with is dead, whatever comes is dropped."""
    erl(r"""
    Big = binary:copy(<<1, 2, 3, 4>>, 5000000),
    ok = call({set, big, Big}),
    ok = call({persist, big}),
    _ = (catch call({get, big}, 1)),
    {ok, Big} = call({get, big}),
    timer:sleep(500),
    {messages, []} = process_info(self(), messages)""")


def test_five_hundred_processes_at_once(server, erl):
    erl(r"""
    Self = self(),
    Work = fun(I) ->
        [begin
            Id = <<"w", (integer_to_binary(I))/binary, ":", (integer_to_binary(K))/binary>>,
            Value = {I, K, lists:seq(1, K)},
            send({s, Id, Value}),
            {ok, Value} = read(Id),
            {ok, Value} = call({get, Id}),
            ok = tagged({s, Id, {again, Value}}),
            {ok, {again, Value}} = tagged({g, true, Id}),
            K rem 2 =:= 0 andalso begin ok = call({persist, Id}), {ok, {again, Value}} = read(Id) end
         end || K <- lists:seq(1, 6)]
    end,
    Pids = [spawn_monitor(fun() -> Work(I), Self ! {finished, I} end) || I <- lists:seq(1, 500)],
    [receive {'DOWN', R, process, P, Reason} -> normal = Reason end || {P, R} <- Pids],
    500 = length([I || I <- lists:seq(1, 500), receive {finished, I} -> true after 0 -> false end]),
    3000 = metric(object, objects)""")


def test_messages_of_one_process_for_one_id_keep_their_order(server, erl):
    erl(r"""
    [begin
        send({s, o, I}),
        send({g, true, o, self(), {seen, I}})
     end || I <- lists:seq(1, 2000)],
    [receive {{seen, I}, Answer} -> {ok, I} = Answer after 10000 -> error({no_answer, I}) end
     || I <- lists:seq(1, 2000)],
    send({d, o}), send({g, true, o, self(), gone}),
    receive {gone, ko} -> ok after 5000 -> error(no_answer) end""")


def test_order_holds_while_the_object_loads(server, erl):
    erl(r"""
    Ids = lists:seq(1, 300),
    [ok = call({set, I, {old, I}}) || I <- Ids],
    [ok = call({persist, I}) || I <- Ids],
    0 = metric(object, objects),
    [begin
        send({g, true, I, self(), {a, I}}),
        send({s, I, {new, I}}),
        send({g, true, I, self(), {b, I}}),
        send({d, I}),
        send({g, true, I, self(), {c, I}}),
        send({s, I, {last, I}}),
        send({g, true, I, self(), {d, I}})
     end || I <- Ids],
    Take = fun(Tag) -> receive {Tag, A} -> A after 10000 -> error({no_answer, Tag}) end end,
    [begin
        {ok, {old, I}} = Take({a, I}),
        {ok, {new, I}} = Take({b, I}),
        ko = Take({c, I}),
        {ok, {last, I}} = Take({d, I})
     end || I <- Ids]""")


def test_one_load_however_many_wait(server, erl):
    erl(r"""
    ok = call({set, one, 1}), ok = call({persist, one}),
    Before = metric(object, loads_found),
    [send({g, true, one, self(), I}) || I <- lists:seq(1, 500)],
    [receive {I, {ok, 1}} -> ok after 10000 -> error(no_answer) end || I <- lists:seq(1, 500)],
    After = metric(object, loads_found),
    1 = After - Before""")


def test_long_names(new_server, beam):
    new_server(node="brain@127.0.0.1")
    beam.environment["BRAIN_NODE"] = "brain@127.0.0.1"
    beam.erl(r"""
    pong = net_adm:ping('brain@127.0.0.1'),
    ok = call({set, a, 1}),
    {ok, 1} = call({get, a})""", names="name", host="127.0.0.1")


def test_a_name_without_host_and_an_unnamed_node(server, erl):
    """`erl -sname x` as a person types it, and a node that asks us for its name."""
    erl("ok = call({set, a, 1}), {ok, 1} = read(a)", host=None)


def test_a_node_that_asks_for_a_name(server, beam):
    beam.node_flags = lambda names, cookie, host: (
        "dynamic@", f"-sname undefined -setcookie {beam.cookie} -start_epmd false")
    beam.erl(r"""
    true = net_kernel:connect_node(?NODE),
    true = is_alive(),
    ok = call({set, a, 1}),
    {ok, 1} = read(a)""")


def test_another_registered_name(new_server, erl):
    new_server(registered_name="store")
    erl(r"""
    ok = gen_server:call({store, ?NODE}, {set, a, 1}),
    {'EXIT', {noproc, _}} = (catch gen_server:call(?BRAIN, {get, a}, 5000))""")


def test_messages_to_our_pid_mean_the_same(server):
    with server.client() as client:
        assert client.set(b"k", 7) == "ok"
        ours = etf.pid("brain@localhost", 1, 1, client.server_creation)
        message = etf.encode((etf.Atom("g"), True, b"k", client.pid, etf.Atom("t1")))
        client.send_message((2, etf.Atom(""), ours), message)
        assert client.answer(etf.Atom("t1")) == (etf.Atom("ok"), 7)
        message = etf.encode((etf.Atom("g"), True, b"k", client.pid, etf.Atom("t2")))
        client.send_message((22, client.pid, ours), message)
        assert client.answer(etf.Atom("t2")) == (etf.Atom("ok"), 7)
