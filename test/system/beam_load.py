"""Load from real Erlang nodes, one beside each member (beam_load.erl), and the verdict over what they were told.

    load = BeamLoad(tmp_path, cluster)
    with load: ...                    # the faults
    load.check()
"""
import collections
import os
import pathlib
import subprocess

from harness import COOKIE, die_with_parent, wait_until
from history import History

SOURCE = pathlib.Path(__file__).with_suffix(".erl")


class BeamLoad:
    def __init__(self, directory, cluster, processes=3, ids=12, history=None):
        self.directory, self.members, self.processes, self.ids = directory, list(cluster.members), processes, ids
        self.history = history or History()
        self.before = len(self.history.operations)
        self.running = []                      # (member, process, log)
        self.answered = collections.Counter()  # by member: operations with a known outcome
        self.refused = collections.Counter()   # by (member, what was said)

    def __enter__(self):
        subprocess.run(["erlc", "-o", str(self.directory), str(SOURCE)], check=True, timeout=60)
        try:
            for number, member in enumerate(self.members):
                self.running.append(self.start(member, f"beam{self.before}x{number}"))
            for member, process, log in self.running:
                wait_until(lambda one=log, of=process: "READY" in one.read_text() or of.poll() is not None, 30,
                           f"the Erlang node beside {member}")
                assert process.poll() is None, log.read_text()
        except BaseException:
            self.kill()
            raise
        return self

    def start(self, member, name):
        log = self.directory / f"{name}.log"
        names = "-name" if member.host else "-sname"
        command = [*member.prefix, "erl", "-noshell", "-boot", "start_clean", "-hidden", "-pa", str(self.directory), names,
                   f"{name}@{member.name.partition('@')[2]}", "-setcookie", COOKIE, "-start_epmd", "false",
                   "-eval", f'beam_load:main(["{member.name}", "{name}", "{self.processes}", "{self.ids}"]), halt().']
        environment = {**os.environ, "HOME": str(self.directory), "ERL_EPMD_PORT": str(member.epmd.port),
                       "ERL_CRASH_DUMP_SECONDS": "0"}
        with open(log, "wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                                       env=environment, cwd=self.directory, preexec_fn=die_with_parent)
        return member, process, log

    def __exit__(self, kind, *_):
        try:
            for _, process, _ in self.running:
                process.stdin.close()
            for member, process, log in self.running:
                assert process.wait(30) == 0 and "DONE" in log.read_text(), (member, log.read_text()[-3000:])
                self.read(member, log.read_text())
        finally:
            self.kill()

    def kill(self):
        for _, process, _ in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()

    def read(self, member, text):
        for line in text.splitlines():
            if not line.startswith("H|"):
                continue
            _, id, kind, value, begin, end, sender, number, said = line.split("|")
            one = self.history.begin(id.encode(), kind, sender, None if value == "-" else value, member.name)
            one.number, one.begin = int(number), int(begin) / 1e6
            if end == "-":
                one.outcome = said
                self.refused[member.name, said] += 1
            else:
                one.end = int(end) / 1e6
                self.answered[member.name] += 1

    def errors(self, member):
        return {said: count for (name, said), count in self.refused.items() if name == member.name}

    def check(self):
        self.history.check()

    def summary(self):
        return (f"{len(self.history.operations) - self.before} operations of real Erlang clients, answered "
                f"{dict(self.answered)}, refused {dict(self.refused)}")
