"""scripts/scale in small: it runs, nothing is lost, and it leaves nothing behind. How fast anything is, no test says."""
import json
import os
import signal
import subprocess

import pytest

from harness import BUILD, ROOT, SANITIZER_OPTIONS, die_with_parent, wait_until


@pytest.fixture
def scale(tmp_path):
    """scale(words...) -> the running script; its clusters are in tmp_path."""
    running = []

    def start(*words):
        environment = {**os.environ, **SANITIZER_OPTIONS, "BRAIN_BENCH_BUILD": str(BUILD), "TMPDIR": str(tmp_path)}
        running.append(subprocess.Popen([ROOT / "scripts" / "scale", *map(str, words)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                                        preexec_fn=die_with_parent, text=True))
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def finish(process, seconds=280):
    output = process.communicate(timeout=seconds)[0]
    assert "Traceback" not in output, output
    return process.returncode, output


def test_a_small_cluster(scale, tmp_path):
    figures_path = tmp_path / "figures.json"
    status, output = finish(scale("--nodes", "2,6", "--rate", 200, "--large", 40, "--seconds", 3, "--idle", 1,
                                  "--small-objects", 300, "--large-objects", 30, "--json", figures_path))
    assert status == 0, output
    assert output.count("every request was answered, and right; no view changed") == 2, output
    for figures in json.loads(figures_path.read_text()):
        load, idle = figures["load"], figures["idle"]
        assert load["problem"] is None and load["troubles"] == {}
        for size in "small", "large":
            part = load["report"][size]
            assert part["all"]["count"] == part["sent"] > 0
            assert part["get"]["count"] > part["set"]["count"] > 0
        # Each request reached a node, and about one in so many the owner.
        assert load["requests"] >= sum(load["report"][size]["all"]["count"] for size in ("small", "large"))
        assert 0 < load["forwarded"] < load["requests"]
        assert idle["links"] >= figures["nodes"] - 1 and idle["descriptors"] > idle["links"]
    assert list(tmp_path.glob("brain-scale.*")) == []


def test_moves(scale, tmp_path):
    figures_path = tmp_path / "figures.json"
    status, output = finish(scale("--moves", "--nodes", 2, "--dirty", 100, "--each", 200, "--probes", 300,
                                  "--json", figures_path))
    assert status == 0, output
    rows = json.loads(figures_path.read_text())
    assert [row["change"] for row in rows] == ["join", "drain", "death"]
    for row in rows:
        assert row["problem"] is None, output
        assert row["calm_ms"] and row["another_home"] > 0
    join, drain, death = rows
    assert join["another_owner"] == 0 and 0 < drain["another_owner"] <= 200 and 0 < death["another_owner"] <= 200
    assert death["leavers_dirty"]["count"] > 0


def test_interrupted(scale, tmp_path):
    process = scale("--nodes", 3, "--rate", 10, "--large", 2, "--seconds", 500, "--idle", 0, "--small-objects", 30,
                    "--large-objects", 3)
    wait_until(lambda: list(tmp_path.glob("brain-scale.*/of3/member3/*.log")), 30, "the nodes")
    process.send_signal(signal.SIGINT)
    status, output = finish(process)
    assert status == 130 and "scale: stopped" in output, output
    assert list(tmp_path.glob("brain-scale.*")) == []
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], stdout=subprocess.PIPE, text=True, check=False).stdout
    assert left == "", left
