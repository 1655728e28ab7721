defmodule Brain.MixProject do
  use Mix.Project

  # One application in two languages: src/ is Erlang, lib/ is Elixir. No dependencies.
  def project do
    [
      app: :brain,
      version: "0.1.0",
      description: "Client of Brain, the object store that is an Erlang node",
      elixir: "~> 1.12",
      erlc_paths: ["src"],
      elixirc_paths: ["lib"],
      deps: []
    ]
  end

  def application do
    [extra_applications: [], env: [node: :brain@localhost, timeout: 10_000]]
  end
end
