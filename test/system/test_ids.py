"""Ids: what is one object, and what is none."""


def test_binary_charlist_atom_and_integer_are_one_object(server, erl):
    erl(r"""
    One = [<<"user:1">>, "user:1", 'user:1'],
    [begin
        ok = call({set, Write, {by, Write}}),
        [{ok, {by, Write}} = call({get, Read}) || Read <- One],
        [{ok, {by, Write}} = read(Read) || Read <- One],
        ok = call({persist, Write}),
        [{ok, {by, Write}} = call({get, Read}) || Read <- One],
        1 = metric(object, objects)
     end || Write <- One],
    ok = call({delete, "user:1"}),
    Numbers = [42, <<"42">>, "42", '42'],
    [begin
        ok = call({set, Write, Write}),
        [{ok, Write} = call({get, Read}) || Read <- Numbers]
     end || Write <- Numbers],
    1 = metric(object, objects)""")


def test_unicode_ids(server, erl):
    erl(r"""
    Utf8 = <<104, 195, 169>>,
    Forms = ["hé", 'hé', Utf8, [104, 195, 169]],
    [begin
        ok = call({set, Write, Write}),
        [{ok, Write} = call({get, Read}) || Read <- Forms]
     end || Write <- Forms],
    1 = metric(object, objects),
    Gothic = [16#10348, $a],
    ok = call({set, Gothic, gothic}),
    {ok, gothic} = call({get, unicode:characters_to_binary(Gothic)}),
    {ok, gothic} = call({get, list_to_atom(Gothic)}),
    Japanese = "利用者",
    ok = call({set, Japanese, japanese}),
    {ok, japanese} = call({get, unicode:characters_to_binary(Japanese)}),
    ok = call({persist, Japanese}),
    {ok, japanese} = call({get, list_to_atom(Japanese)})""")


def test_integers_by_value_and_any_bytes(server, erl):
    erl(r"""
    [begin
        ok = call({set, I, I}),
        {ok, I} = call({get, integer_to_binary(I)}),
        ok = call({persist, integer_to_list(I)}),
        {ok, I} = call({get, I})
     end || I <- [0, 1, 255, 256, -1, -7, 1 bsl 31, 1 bsl 63, -(1 bsl 64), 1 bsl 70]],
    [begin
        ok = call({set, Id, Id}), {ok, Id} = call({get, Id}),
        ok = call({persist, Id}), {ok, Id} = call({get, Id})
     end || Id <- [<<255, 0, 1>>, <<0>>, <<"a/b\\c%d~">>, binary:copy(<<"x">>, 1024),
                   binary:copy(<<0>>, 1024)]]""")


def test_what_is_no_id_is_refused(server, erl):
    erl(r"""
    Bad = [<<>>, "", '', {a}, {}, 1.5, #{}, binary:copy(<<"x">>, 1025), lists:duplicate(1025, $x),
           [a], ["nested"], [1 | 2], <<1:1>>, make_ref(), self(), fun erlang:node/0, [16#110000], [16#D800], [-1]],
    [begin
        {error, bad_id} = call({get, Id}),
        {error, bad_id} = call({set, Id, 1}),
        {error, bad_id} = call({persist, Id}),
        {error, bad_id} = call({delete, Id}),
        {error, bad_id} = call({owner, Id}),
        {error, bad_id} = tagged({g, true, Id}),
        {error, bad_id} = tagged({s, Id, 1})
     end || Id <- Bad],
    Before = metric(command, refused_ids),
    [begin send({s, Id, 1}), send({p, Id}), send({d, Id}), send({g, true, Id, self(), null}) end || Id <- Bad],
    Count = 4 * length(Bad),
    Count = metric(command, refused_ids) - Before,
    receive Any -> error({unexpected, Any}) after 300 -> ok end,
    0 = metric(object, objects)""")
