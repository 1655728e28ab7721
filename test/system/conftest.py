"""Fixtures: every test has a directory, an epmd and servers of its own."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cluster import Cluster  # noqa: E402
from harness import Beam, Epmd, Server  # noqa: E402
from needs import not_run_lines  # noqa: E402
from nodes import Node  # noqa: E402
from radosgw import Radosgw  # noqa: E402


def pytest_collection_modifyitems(items):
    """The longest first: side by side with all others, they do not trail behind."""
    items.sort(key=lambda item: "test_volume" not in item.nodeid)


def pytest_terminal_summary(terminalreporter):
    for line in not_run_lines(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)


@pytest.fixture
def epmd():
    daemon = Epmd()
    yield daemon
    daemon.stop()


@pytest.fixture
def new_server(epmd, tmp_path):
    """new_server(key=value, ...) starts a server; all are stopped, and checked, at the end."""
    servers = []

    def start(wait=True, build=None, arguments=(), environment=None, node="brain@localhost",
              directory=None, **options):
        made = Server(directory or tmp_path, epmd.port, options, build, arguments, environment, node)
        servers.append(made)
        return made.start(wait)

    yield start
    problems = []
    for made in servers:
        try:
            made.finish()
        except Exception as problem:  # every server is stopped before the first problem is told
            problems.append(problem)
    for made in servers:
        print(f"--- {made.log_path.name}\n{made.log[-3000:] if made.log_path.exists() else ''}")
    if problems:
        raise problems[0]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Fixtures can ask whether their test failed."""
    outcome = yield
    item.failed = getattr(item, "failed", False) or (call.when == "call" and outcome.get_result().failed)


@pytest.fixture
def new_cluster(tmp_path, request):
    """new_cluster(count, ...) starts etcd, a warehouse and members; all are stopped, and checked, at the end."""
    clusters = []

    def make(count, **arguments):
        clusters.append(Cluster(tmp_path / f"cluster{len(clusters)}", count, **arguments))
        return clusters[-1]

    yield make
    for cluster in clusters:
        # After a failure how they would end says nothing new.
        cluster.finish(failed=getattr(request.node, "failed", False))


@pytest.fixture
def new_node(epmd, tmp_path):
    """new_node(name, ...) makes a node that is killed and comes back as often as the test likes."""
    nodes = []

    def make(name="node", **options):
        nodes.append(Node(tmp_path / name, epmd, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.finish()


@pytest.fixture
def server(new_server):
    return new_server()


@pytest.fixture
def witness(server):
    """Another client, that must never notice anything."""
    with server.client() as client:
        assert client.set(b"witness", b"here") == "ok"
        yield client
        assert client.get(b"witness") == ("ok", b"here")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    made = Radosgw(tmp_path_factory.mktemp("radosgw"))
    yield made
    made.stop()


@pytest.fixture
def beam(epmd, tmp_path):
    return Beam(tmp_path, epmd.port)


@pytest.fixture
def erl(beam):
    return beam.erl


@pytest.fixture
def elixir(beam):
    return beam.elixir
