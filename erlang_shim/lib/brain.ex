defmodule Brain do
  @moduledoc """
  Client of Brain, the object store that is an Erlang node.

      iex> Brain.put("user:1", %{name: "Ann"})
      :ok
      iex> Brain.get("user:1")
      {:ok, %{name: "Ann"}}

  There is nothing to start and nothing to pool. Every function takes the options `:node`,
  `:name`, `:timeout` and, for reads, `:consistency`, as a keyword list; see the Erlang module
  `:brain` for what they mean. The node can be configured once:

      config :brain, node: :"brain@localhost"

  Results are those of `:brain`: `{:ok, value}`, `:ok`, `:ko` when there is no such object,
  `{:error, reason}`.
  """

  @type id :: binary | charlist | atom | integer
  @type reason :: atom

  @doc "Reads an object."
  @spec get(id, keyword) :: {:ok, term} | :ko | {:error, reason}
  def get(id, options \\ []), do: :brain.get(id, Map.new(options))

  @doc "Reads an object; raises `KeyError` when there is none and `RuntimeError` on an error."
  @spec fetch!(id, keyword) :: term
  def fetch!(id, options \\ []) do
    case get(id, options) do
      {:ok, value} -> value
      :ko -> raise KeyError, key: id, term: __MODULE__
      {:error, reason} -> raise "Brain could not read #{inspect(id)}: #{inspect(reason)}"
    end
  end

  @doc "Creates or replaces an object."
  @spec put(id, term, keyword) :: :ok | {:error, reason}
  def put(id, value, options \\ []), do: :brain.put(id, value, Map.new(options))

  @doc "Writes an object to the warehouse now and releases it from RAM."
  @spec persist(id, keyword) :: :ok | {:error, reason}
  def persist(id, options \\ []), do: :brain.persist(id, Map.new(options))

  @doc "Deletes an object, in RAM and in the warehouse."
  @spec delete(id, keyword) :: :ok | {:error, reason}
  def delete(id, options \\ []), do: :brain.delete(id, Map.new(options))

  @doc "What the node says of itself."
  @spec info(keyword) :: map | {:error, reason}
  def info(options \\ []), do: :brain.info(Map.new(options))
end
