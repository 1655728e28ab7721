# ExUnit tests of the Elixir module against the server that BRAIN_NODE names.
ExUnit.start(autorun: false)

defmodule BrainTest do
  use ExUnit.Case

  setup_all do
    Application.put_env(:brain, :node, String.to_atom(System.get_env("BRAIN_NODE", "brain@localhost")))
  end

  test "a value comes back as it was" do
    for value <- [%{name: "Ann", tags: ["a", :b]}, 1.5, "héllo", 'charlist', {:a, nil}, ~D[2026-11-21]] do
      assert Brain.put("elixir:1", value) == :ok
      assert Brain.get("elixir:1") == {:ok, value}
      assert Brain.fetch!("elixir:1") == value
    end
  end

  test "what is not there" do
    assert Brain.get("elixir:none") == :ko
    assert_raise KeyError, fn -> Brain.fetch!("elixir:none") end
    assert_raise RuntimeError, fn -> Brain.fetch!("") end
  end

  test "delete and persist" do
    assert Brain.put(:elixir_2, 2) == :ok
    assert Brain.persist("elixir_2") == :ok
    assert Brain.get('elixir_2', consistency: false) == {:ok, 2}
    assert Brain.delete("elixir_2") == :ok
    assert Brain.get("elixir_2") == :ko
  end

  test "a node that is not there is an error" do
    assert Brain.get("x", node: :nobody_is_here@localhost) == {:error, :nodedown}
  end

  test "info is a map" do
    assert %{state: :running, object: %{objects: _}} = Brain.info()
  end
end
