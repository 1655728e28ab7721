"""The same from a real Elixir node, in Elixir's forms."""

PRELUDE = """
brain = {:brain, :brain@localhost}
"""


def test_ping_send_and_call(server, elixir):
    elixir(PRELUDE + r"""
:pong = Node.ping(:brain@localhost)
send(brain, {:s, "user:1", %{name: "Ada", born: ~D[1815-12-10], tags: ["a", 'b', :c]}})
send(brain, {:g, true, "user:1", self(), nil})
value = receive do
  {:ok, value} -> value
after 5000 -> raise "no answer"
end
^value = %{name: "Ada", born: ~D[1815-12-10], tags: ["a", 'b', :c]}
{:ok, ^value} = GenServer.call(brain, {:get, "user:1"})
{:ok, ^value} = GenServer.call(brain, {:get, :"user:1"})
{:ok, ^value} = GenServer.call(brain, {:get, 'user:1'})
:ok = GenServer.call(brain, {:set, "n", 2 ** 100})
{:ok, 1267650600228229401496703205376} = GenServer.call(brain, {:get, "n"})
:ok = GenServer.cast(brain, {:set, "f", 1.5})
{:ok, 1.5} = GenServer.call(brain, {:get, "f"})
:ok = GenServer.call(brain, {:persist, "f"})
{:ok, 1.5} = GenServer.call(brain, {:get, "f"})
:ok = GenServer.call(brain, {:delete, "f"})
:ko = GenServer.call(brain, {:get, "f"})
%{node: :brain@localhost} = GenServer.call(brain, :info)
""")


def test_refusals_come_at_once(server, elixir):
    elixir(PRELUDE + r"""
:pong = Node.ping(:brain@localhost)
ref = Process.monitor({:nosuch, :brain@localhost})
receive do
  {:DOWN, ^ref, :process, _, :noproc} -> :ok
after 2000 -> raise "no DOWN"
end
{:noproc, _} = catch_exit = try do
  GenServer.call({:nosuch, :brain@localhost}, :hello, 20000)
catch
  :exit, reason -> reason
end
IO.inspect(catch_exit)
{:error, _} = GenServer.call(brain, {:get, fn -> 1 end})
{:error, _} = GenServer.call(brain, {:get, %{}})
{:error, _} = Agent.get(brain, fn state -> state end)
{[{:brain@localhost, :ko}], []} = GenServer.multi_call([:brain@localhost], :brain, {:get, "x"}, 5000)
pid = Node.spawn(:brain@localhost, fn -> :ok end)
true = is_pid(pid)
""")
