"""A value comes back bit for bit as the term that was stored: from RAM, from the warehouse, and
after a restart."""
import struct

import pytest

import etf
from etf import Atom, Raw

TERMS = r"""
terms() ->
    [{small, 1}, {negative, -1}, {int32, 2147483647}, {int33, 2147483648}, {int64, 1 bsl 63},
     {big, 1 bsl 200}, {negative_big, -(1 bsl 200)}, {huge, 1 bsl 5000}, {boundary, 134217728},
     {float, 1.5}, {tiny, 5.0e-324}, {negative_zero, -0.0}, {max_float, 1.7976931348623157e308},
     {atom, atom}, {empty_atom, ''}, {unicode_atom, 'åß∂ƒ'}, {long_atom, list_to_atom(lists:duplicate(255, $a))},
     {true, true}, {null, null}, {undefined, undefined}, {nil, nil},
     {empty_list, []}, {string, "hello"}, {latin, "hé"}, {unicode, [16#10348, $a]},
     {bytes, lists:seq(0, 255)}, {improper, [a | b]}, {improper_string, [1, 2 | 3]},
     {nested, [[], [[]], [[[1]]]]}, {long_string, lists:duplicate(65535, $x)},
     {longer_string, lists:duplicate(65536, $x)},
     {binary, <<"hello">>}, {empty_binary, <<>>}, {all_bytes, list_to_binary(lists:seq(0, 255))},
     {bits, <<5:3>>}, {long_bits, <<1:1001>>}, {sub_binary, binary:part(<<0:10000>>, 3, 500)},
     {empty_tuple, {}}, {tuple, {1, {2, {3, []}}}}, {big_tuple, list_to_tuple(lists:seq(1, 300))},
     {empty_map, #{}}, {map, #{a => 1, <<"b">> => [2], "c" => #{d => {}}, 1.5 => x, {k} => y}},
     {big_map, maps:from_list([{I, integer_to_binary(I)} || I <- lists:seq(1, 1000)])},
     {export, fun erlang:node/0}, {pid, self()}, {reference, make_ref()},
     {port, hd(erlang:ports())}, {alias_reference, erlang:alias()},
     {deep_list, lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, 3000))},
     {deep_tuple, lists:foldl(fun(_, Acc) -> {Acc, x} end, {}, lists:seq(1, 3000))},
     {deep_map, lists:foldl(fun(_, Acc) -> #{k => Acc} end, #{}, lists:seq(1, 3000))}].

same(Name, Stored, Read) ->
    Stored =:= Read orelse error({different, Name}),
    term_to_binary(Stored) =:= term_to_binary(Read) orelse error({different_bytes, Name}).
"""


def test_every_kind_of_term_from_ram_and_from_the_warehouse(server, erl):
    erl(r"""
    Terms = terms(),
    [begin
        ok = call({set, Name, Term}),
        {ok, FromCall} = call({get, Name}), same(Name, Term, FromCall),
        {ok, FromSend} = read(Name), same(Name, Term, FromSend)
     end || {Name, Term} <- Terms],
    [ok = call({persist, Name}) || {Name, _} <- Terms],
    0 = metric(object, objects),
    [begin {ok, Read} = call({get, Name}), same(Name, Term, Read) end || {Name, Term} <- Terms]""", TERMS)


def test_funs_come_back_callable(server, erl):
    erl(r"""
    Captured = lists:seq(1, 100),
    Fun = fun(X) -> X + lists:sum(Captured) end,
    send({s, f, Fun}), {ok, Same} = read(f),
    true = Same =:= Fun, 5051 = Same(1),
    ok = call({persist, f}),
    {ok, Again} = call({get, f}),
    true = Again =:= Fun, 5052 = Again(2)""")


def test_plain_values_that_look_like_answers(server, erl):
    erl(r"""
    [begin
        send({s, v, V}), {ok, V} = read(v),
        {ok, V} = tagged({g, true, v}),
        {ok, V} = call({get, v})
     end || V <- [ko, ok, {ok, ko}, {error, x}, {s, v, 1}, {g, true, v, self(), null}, '$gen_call', null]]""")


def test_values_of_300_kilobytes(server, erl):
    erl(r"""
    Values = [{I, crypto:strong_rand_bytes(300000)} || I <- lists:seq(1, 40)],
    [send({s, I, V}) || {I, V} <- Values],
    [{ok, V} = read(I) || {I, V} <- Values],
    [ok = tagged({p, I}) || {I, _} <- Values],
    0 = metric(object, objects),
    [{ok, V} = call({get, I}) || {I, V} <- Values],
    Term = maps:from_list([{I, {I, [I, I]}} || I <- lists:seq(1, 12000)]),
    ok = call({set, term, Term}), {ok, Term} = call({get, term})""")


def test_values_of_20_megabytes(server, erl):
    erl(r"""
    Binary = crypto:strong_rand_bytes(20000000),
    Term = [{I, integer_to_binary(I), I * 1.0} || I <- lists:seq(1, 900000)],
    true = erlang:external_size(Term) > 20000000,
    ok = call({set, binary, Binary}),
    ok = call({set, term, Term}),
    {ok, Binary} = call({get, binary}), {ok, Term} = call({get, term}),
    {ok, Binary} = read(binary), {ok, Term} = read(term),
    ok = call({persist, binary}), ok = call({persist, term}),
    0 = metric(object, objects),
    {ok, Binary} = call({get, binary}), {ok, Term} = call({get, term})""")


def test_a_large_value_does_not_delay_a_small_one(server, erl):
    """While 20 MB travel both ways, another process on the same link goes on being answered."""
    erl(r"""
    Big = binary:copy(<<7>>, 20000000),
    ok = call({set, small, 1}), ok = call({set, big, Big}),
    Self = self(),
    spawn_link(fun() ->
        [begin {ok, Big} = call({get, big}), ok = call({set, big, Big}) end || _ <- lists:seq(1, 5)],
        Self ! finished
    end),
    Loop = fun Loop(N) ->
        receive finished -> N
        after 0 -> {ok, 1} = call({get, small}), Loop(N + 1)
        end
    end,
    Answers = Loop(0),
    io:format("~p small answers~n", [Answers]),
    true = Answers > 20""")


@pytest.mark.parametrize("form", [
    b"b\0\0\0\5",                                    # 5 as INTEGER_EXT
    b"n\1\0\5",                                      # 5 as SMALL_BIG_EXT
    b"n\4\0\0\0\0\x08",                              # 134217728 as ei writes it
    b"o\0\0\0\1\0\5",                                # 5 as LARGE_BIG_EXT
    b"l\0\0\0\2a\1a\2j",                             # [1,2] as LIST_EXT, as PHP writes it
    b"d\0\3abc", b"s\3abc", b"v\0\3abc", b"w\3abc",  # abc as every kind of atom
    b"i\0\0\0\1a\1",                                 # {1} as LARGE_TUPLE_EXT
    b"c1.50000000000000000000e+00\0\0\0\0\0",        # the old FLOAT_EXT
    b"M\0\0\0\2\3\xff\xe0",                          # bits
    b"t\0\0\0\2a\2a\1a\1a\2",                        # a map whose keys are in no order
    b"F" + struct.pack(">Q", 0x7FEFFFFFFFFFFFFF),
], ids=lambda form: form.hex()[:24])
def test_the_bytes_that_were_sent_are_the_bytes_that_come_back(server, form):
    with server.client() as client:
        def read_back():
            client.reg_send((Atom("g"), True, b"raw", client.pid, Atom("t")))
            _, payload = client.receive_raw()
            return payload
        assert client.set(b"raw", Raw(form)) == "ok"
        expected = etf.encode((Atom("t"), (Atom("ok"), Raw(form))))
        assert read_back() == expected
        assert client.call((Atom("persist"), b"raw")) == "ok"
        assert client.info()["object"]["objects"] == 0
        assert read_back() == expected
