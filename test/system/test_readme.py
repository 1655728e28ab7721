"""README's Erlang and Elixir code is executed as written.

Every block fenced as ```erlang or ```elixir runs, in the order of the file, each language in one
session of its own. What stands behind `%=>` (Elixir: `#=>`), on the line of an expression or below
it, is the result that the expression must have: a value, or a pattern."""
import re

from harness import ROOT

ERLANG_RUNNER = r"""
%% One statement after the other, with the shell's bindings and its flush().
run([], _) -> ok;
run([{Text, Expected} | Rest], Bindings) ->
    io:format("> ~ts~n", [Text]),
    {value, Value, Next} = eval(Text, Bindings),
    io:format("~tp~n", [Value]),
    check(Text, Expected, Value, Next),
    run(Rest, Next).

parse(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    case erl_parse:parse_exprs(Tokens) of
        {ok, Exprs} -> Exprs;
        {error, Reason} -> error({syntax, Text, Reason})
    end.

eval(Text, Bindings) ->
    erl_eval:exprs(parse(Text), Bindings, {value, fun local/2}).

local(flush, []) -> receive Any -> io:format("Shell got ~tp~n", [Any]), local(flush, []) after 100 -> ok end;
local(f, _) -> ok.

check(_, none, _, _) -> ok;
check(Text, Expected, Value, Bindings) ->
    %% A value that can be evaluated, or else a pattern to match.
    Same = try erl_eval:exprs(parse(Expected), Bindings) of
        {value, Value, _} -> true;
        _ -> false
    catch _:_ -> false end,
    Same orelse try
        Matched = erl_eval:add_binding('README value', Value, Bindings),
        Tokens = case erl_scan:string(Expected) of {ok, T, _} -> T end,
        Match = Tokens ++ [{'=', 1}, {var, 1, 'README value'}, {dot, 1}],
        {ok, Exprs} = erl_parse:parse_exprs(Match),
        {value, _, _} = erl_eval:exprs(Exprs, Matched)
    catch _:_ -> error({readme_says, Expected, but, Text, gives, Value}) end.
"""

ELIXIR_RUNNER = r'''
{statements, _} = Code.eval_string(File.read!(hd(System.argv())))
Enum.reduce(statements, {[], __ENV__}, fn {text, expected}, {bindings, env} ->
  IO.puts("> " <> text)
  {value, bindings, env} = Code.eval_string(text, bindings, env) |> then(fn {v, b} -> {v, b, env} end)
  IO.inspect(value)
  if expected != nil do
    same =
      try do
        {wanted, _} = Code.eval_string(expected, bindings, env)
        wanted === value
      rescue
        _ -> false
      end
    unless same do
      try do
        Code.eval_string("(" <> expected <> ") = readme_value", [{:readme_value, value} | bindings], env)
      rescue
        _ -> raise "README says #{expected}, but #{text} gives #{inspect(value)}"
      end
    end
  end
  {bindings, env}
end)
IO.puts("\nDONE")
'''


def blocks(language):
    text = (ROOT / "README.md").read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no ```{language} block"
    return found


def expected_of(line, sign):
    """(code, expected result or None) of one line."""
    code, mark, result = line.partition(f"{sign}=>")
    return code, result.strip() if mark else None


def erlang_statements(text):
    """[(expression, expected)]: an expression ends with a full stop at the end of a line."""
    statements, current = [], []
    for line in text.splitlines():
        code, result = expected_of(line, "%")
        if not code.strip() and result is not None and not current:
            statements[-1] = (statements[-1][0], result)  # the result stands below its expression
            continue
        code = re.sub(r"(^|\s)%.*$", "", code).rstrip()
        if not code.strip():
            continue
        current.append(code)
        if code.endswith("."):
            statements.append(("\n".join(current)[:-1], result))
            current = []
    assert not current, f"README.md: an expression has no full stop: {current}"
    return statements


def elixir_statements(text):
    """[(expression, expected)]: an expression ends where the next one begins: a line that is not
    indented, is no `end`, `after`, `|>` or closing bracket, and follows a complete one."""
    statements, current = [], []

    def close(result=None):
        if current:
            statements.append(("\n".join(current), result))
            current.clear()

    for line in text.splitlines():
        code, result = expected_of(line, "#")
        if not code.strip():
            if result is not None:
                if current:
                    close(result)
                else:
                    statements[-1] = (statements[-1][0], result)
            else:
                close()
            continue
        if code.lstrip().startswith("#"):
            continue
        goes_on = re.match(r"\s|end\b|after\b|else\b|rescue\b|catch\b|\|>|[\])}]", code)
        if not goes_on:
            close()
        current.append(code.rstrip())
        if result is not None:
            close(result)
    close()
    return statements


def erlang_text(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_readme_erlang(server, beam):
    statements = [statement for block in blocks("erlang") for statement in erlang_statements(block)]
    assert any(expected for _, expected in statements), "README.md shows no result of its Erlang"
    listed = ",\n".join(f"{{{erlang_text(text)}, {erlang_text(expected) if expected else 'none'}}}"
                        for text, expected in statements)
    beam.environment["ERL_LIBS"] = str(ROOT)
    beam.erl(f"    run([{listed}], erl_eval:new_bindings())", ERLANG_RUNNER,
             flags=f"-pa {ROOT}/erlang_shim/ebin")


def test_readme_elixir(server, beam, tmp_path):
    statements = [statement for block in blocks("elixir") for statement in elixir_statements(block)]
    assert any(expected for _, expected in statements), "README.md shows no result of its Elixir"

    def quote(text):
        return 'nil' if text is None else '"' + (text.replace("\\", "\\\\").replace('"', '\\"').replace("#{", "\\#{")
                                                  .replace("\n", "\\n")) + '"'
    (tmp_path / "statements.exs").write_text(
        "[" + ",\n".join(f"{{{quote(text)}, {quote(expected)}}}" for text, expected in statements) + "]")
    (tmp_path / "readme.exs").write_text(ELIXIR_RUNNER)
    beam.run(["elixir", "--sname", "readme@localhost", "--cookie", beam.cookie, "--erl", "-start_epmd false",
              "-pa", f"{ROOT}/erlang_shim/ebin", str(tmp_path / "readme.exs"), str(tmp_path / "statements.exs")],
             timeout=60, expect_success=True)
