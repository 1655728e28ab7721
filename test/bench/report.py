"""The results in words and tables: docs/benchmarks.md and what the terminal shows. Pure, but for
`write`."""
import pathlib
import re

import rows
import servers
import verdicts

BEGIN = "<!-- from here on written by scripts/bench: do not edit -->"
END = "<!-- up to here written by scripts/bench -->"

TEMPLATE = f"""# Benchmarks

How fast Brain is beside Redis, memcached, an Erlang node and a plain `ei` program, on one machine and in
one run. `scripts/bench` does all of it: it installs the rivals, runs them, and writes this page.

{BEGIN}
{END}

## What is missed, and why

"""

METRICS = {
    "throughput": ("operations/s", "throughput"),
    "gigabytes": ("GB/s", "bytes moved"),
    "p50": ("p50", "median latency"),
    "p99": ("p99", "p99 latency"),
    "server_cpu": ("server CPU per operation", "server CPU"),
    "bytes_per_object": ("bytes per object", "bytes per object"),
    "idle_percent": ("% of a core", "% of a core"),
    "port_open": ("port open after", "port open"),
    "first_answer": ("first get answered after", "first answer, seconds"),
}
# Above this share of a core, what is busy sets the pace.
SATURATED = 0.93
# Other programs that take more than this share of a core disturb a measurement.
DISTURBED = 0.05


# ---- numbers ------------------------------------------------------------------------------------


def number(value, digits=3):
    """With so many significant digits, without an exponent."""
    if value is None:
        return "–"
    text = f"{value:.{digits}g}"
    if "e" in text or abs(value) >= 10 ** digits:
        text = f"{value:.0f}"
    return text


def amount(value):
    """1.72 M, 162 k, 58."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{number(value / size)} {unit}"
    return number(value)


def duration(microseconds):
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= 0.9995 * size:
            return f"{number(microseconds / size)} {unit}"
    return f"{number(microseconds)} µs"


def percent(share):
    share = abs(share)
    return f"{share:.1%}".replace("%", " %") if share < 0.0995 else f"{share:.0%}".replace("%", " %")


def shown(metric, value):
    if value is None:
        return "–"
    if metric in ("p50", "p99", "server_cpu"):
        return duration(value)
    if metric in ("port_open", "first_answer"):
        return duration(value * 1e6)
    if metric == "throughput":
        return amount(value)
    return number(value)


# ---- verdicts -------------------------------------------------------------------------------------


def asked(target):
    if target.relation is None:
        return "–"
    sign = {">=": "≥", "<=": "≤"}[target.relation]
    return f"{sign} {number(target.factor)}" + (" ×" if target.against else "")


def subject(verdict, row):
    """What is compared: `throughput, redis`."""
    target = verdict.target
    judged = f", {servers.KINDS[target.judged].title}" if target.judged else ""
    return METRICS[target.metric][1] + (f" : {servers.KINDS[target.against].title}" if target.against else judged)


def measured(verdict):
    if verdict.value is None:
        return "–"
    unit = " ×" if verdict.target.against else ""
    around = f" ({number(verdict.low)}–{number(verdict.high)})" if verdict.low != verdict.high else ""
    return number(verdict.value) + unit + around


def verdict_words(verdict):
    if verdict.reason:
        return f"**not measured**: {verdict.reason}"
    if verdict.met is None:
        return "–"
    rounds = ", not in every round" if verdict.is_close and verdict.low != verdict.high else ""
    if verdict.met:
        return f"met{rounds}"
    return f"**missed** by {percent(verdict.gap)}{rounds}"


def table(head, lines):
    """A Markdown table; columns after the first whose head ends in ':' are numbers."""
    titles = [title.rstrip(":") for title in head]
    marks = ["--:" if title.endswith(":") else "---" for title in head]
    body = [titles, marks, *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in body) + "\n"


def verdict_table(results):
    lines = []
    for row in measured_rows(results):
        title = row.title
        for verdict in verdicts.judge_row(row, results["rows"][row.name]):
            lines.append([title, subject(verdict, row), asked(verdict.target), measured(verdict),
                          verdict_words(verdict)])
            title = ""
    return table(["work", "brain-server : rival", "asked", "measured", "verdict"], lines)


def measured_rows(results):
    return [row for row in rows.ROWS if row.name in results["rows"]]


def counts(results):
    """(met, missed, not measured)."""
    found = [verdict for row in measured_rows(results)
             for verdict in verdicts.judge_row(row, results["rows"][row.name])]
    return (sum(verdict.met is True for verdict in found), sum(verdict.met is False for verdict in found),
            sum(verdict.reason is not None for verdict in found))


# ---- figures --------------------------------------------------------------------------------------


def busy(runs, who):
    """The share of its core that the server or the generator used."""
    shares = [run["throughput"] * run[who] / 1e6 for run in runs if run.get(who) and run.get("throughput")]
    return verdicts.median(shares)


def figures_table(row, measured_row):
    shows_load = row.driver in ("load", "beam") and "server_cpu" in row.figures
    head = ["server", *(METRICS[metric][0] + ":" for metric in row.figures)]
    head += ["server busy:", "generator busy:", "spread:"] if shows_load else ["spread:"]
    lines = []
    for name in row.servers:
        runs = measured_row["runs"].get(name, [])
        line = [servers.KINDS[name].title]
        if not runs:
            lines.append(line + ["–"] * (len(head) - 1))
            continue
        line += [shown(metric, verdicts.median(verdicts.figures(runs, metric))) for metric in row.figures]
        if shows_load:
            line += [percent(share) if share else "–"
                     for share in (busy(runs, "server_cpu"), busy(runs, "client_cpu"))]
        around = verdicts.spread(verdicts.figures(runs, row.figures[0]))
        lines.append(line + [f"± {percent(around)}" if around and len(runs) > 1 else "–"])
    return table(head, lines)


def figures_sections(results):
    parts = []
    group = None
    for row in measured_rows(results):
        if row.group != group:
            group = row.group
            heading = rows.GROUPS[group]
            parts.append(f"### {heading[0].upper()}{heading[1:]}\n")
        parts.append(f"**{row.title[0].upper()}{row.title[1:]}**\n")
        parts.append(figures_table(row, results["rows"][row.name]))
    return "\n".join(parts)


# ---- prose ----------------------------------------------------------------------------------------


def machine_text(results):
    machine, settings = results["machine"], results["settings"]
    versions = machine["versions"]
    generator, server = machine["cores"]
    same = "" if generator != server else " The machine has no other core: generator and server shared one."
    keys = f" with at most {amount(settings['keys_limit'])} objects" if settings.get("keys_limit") else ""
    return (
        f"{machine['date']}: {machine['processor']}, {machine['processors']} processors, {machine['memory_gb']} GB, "
        f"{machine['kernel']}. brain-server {versions['brain'] or 'of unknown revision'} as `scripts/run` builds it, "
        f"redis {versions['redis']}, memcached {versions['memcached']}, Erlang/OTP {versions['erlang']}. "
        f"{settings['rounds']} round{'s' * (settings['rounds'] > 1)} of {number(settings['seconds'])} s{keys}; "
        f"{number(results['duration'] / 60, 2)} minutes in all.{same}\n")


METHOD = """Every server is pinned to one core, the load generator to another, both on this machine over loopback. The
servers of a row run at the same time and are loaded in turn, A B C D, A B C D, ..., each for a moment; a
ratio is taken within a round, and the median of the rounds counts, with the lowest and the highest beside it. So
what disturbs the machine for a while disturbs all of them. Trust the ratios and the CPU figures; absolute rates
are those of this machine at that time. CPU is user and system time of all threads of the server.

Redis, memcached, echo and the nodes are loaded by the same program, `brain-bench`: one thread, one loop,
requests kept in flight on each connection, every answer compared with what was stored. A set without an answer
is followed by a get each 16 sets, which counts as an operation. The rows from an Erlang node have a real one
as their client (`test/bench/beam_client.erl`), whose processes share the one connection that two nodes have and
have one request each under way. Redis and memcached run with one thread, Redis without snapshots, the Erlang
node with one scheduler and without busy waiting (`test/bench/ets_node.erl`), the `ei` program
with a thread per connection (`test/bench/ei_node.c`). brain-server answers from memory and keeps no journal, as its
rivals do, except where a row says so. The echo server (`test/bench/echo_server.c`) sends back what it gets and does
nothing else: what it costs is the kernel's.
"""


def limits_text(results):
    """Who set the pace, from the shares of the cores."""
    by_generator, by_neither = [], []
    for row in measured_rows(results):
        runs = results["rows"][row.name]["runs"].get(row.judged, [])
        server, generator = busy(runs, "server_cpu"), busy(runs, "client_cpu")
        if server is None or generator is None or row.group == "beside":
            continue
        if server < SATURATED:
            (by_generator if generator >= SATURATED else by_neither).append(row.title)
    text = []
    if by_generator:
        text.append("The generator, not brain-server, set the pace of: " + "; ".join(by_generator) +
                    ". What is said there of throughput is said of the generator too: the ratios are nearer to 1 "
                    "than the servers alone would make them, the CPU figures hold.")
    if by_neither:
        text.append("Neither had its core to capacity in: " + "; ".join(by_neither) +
                    ". There the two take turns, and the time of waking up and the way through the kernel count.")
    for row in measured_rows(results):
        runs = results["rows"][row.name]["runs"]
        if "echo" in runs and row.options.get("in-flight") == 1:
            echo, ours = (verdicts.median(verdicts.figures(runs.get(name, []), "server_cpu"))
                          for name in ("echo", row.judged))
            if echo and ours:
                text.append(f"An echo server takes {duration(echo)} for {row.title}, brain-server {duration(ours)}: "
                            f"{duration(max(ours - echo, 0))} above the kernel's floor.")
    return "\n\n".join(text) + "\n" if text else ""


def disturbance_text(results):
    runs = [run for row in results["rows"].values() for several in row["runs"].values() for run in several
            if "others" in run]
    disturbed = [run for run in runs if run["others"] + run["stolen"] > DISTURBED]
    if not disturbed:
        return ""
    worst = max(run["others"] + run["stolen"] for run in disturbed)
    return (f"Not all was quiet: in {len(disturbed)} of {len(runs)} measurements other programs, or the host of the "
            f"virtual machine, took more than {percent(DISTURBED)} of a core, {percent(worst)} at worst.\n")


def errors_text(results):
    lines = [f"- {row.title}, {servers.KINDS[name].title}: {why}" for row in measured_rows(results)
             for name, why in results["rows"][row.name]["errors"].items()]
    return "Not everything could be measured:\n\n" + "\n".join(lines) + "\n" if lines else ""


def summary(results):
    met, missed, unknown = counts(results)
    return f"{met} met, {missed} missed" + (f", {unknown} not measured" if unknown else "")


def markdown(results):
    """The generated part."""
    parts = [machine_text(results), f"## Targets: {summary(results)}\n",
             "A figure is brain-server's divided by the rival's, median and range of the rounds.\n",
             verdict_table(results), "![Throughput and CPU beside each rival](benchmarks.svg)\n", "## Method\n", METHOD]
    parts += [text for text in (limits_text(results), disturbance_text(results), errors_text(results)) if text]
    parts += ["## Figures\n", "Medians of the rounds; the spread is that of the first figure.\n",
              figures_sections(results)]
    return "\n".join(parts)


def merged(page, generated):
    """The page with its generated part replaced; what stands around it is kept."""
    page = page or TEMPLATE
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise servers.Failure("benchmarks.md has lost the two lines between which scripts/bench writes")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{generated.strip()}\n\n{END}{after}"


def write(path, results):
    path = pathlib.Path(path)
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(merged(page, markdown(results)), encoding="utf-8")


# ---- the terminal -----------------------------------------------------------------------------------


def plain(text):
    return re.sub(r"\*\*|`", "", text)


def aligned(markdown_table):
    """A Markdown table with its columns under each other."""
    lines = [[plain(cell.strip()) for cell in line.strip("|").split(" | ")]
             for line in markdown_table.strip().splitlines()]
    marks = lines.pop(1)
    widths = [max(len(line[column]) for line in lines) for column in range(len(marks))]
    out = []
    for line in lines:
        cells = [cell.rjust(width) if mark.startswith("--:") else cell.ljust(width)
                 for cell, width, mark in zip(line, widths, marks)]
        out.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(out)


def terminal_row(row, measured_row):
    """One row as it is finished."""
    lines = [f"{row.name}: {row.title}", aligned(figures_table(row, measured_row))]
    lines += [f"  {servers.KINDS[name].title}: {why}" for name, why in measured_row["errors"].items()]
    for verdict in verdicts.judge_row(row, measured_row):
        lines.append(plain(f"  {subject(verdict, row)}: {measured(verdict)}, asked {asked(verdict.target)}: "
                           f"{verdict_words(verdict)}"))
    return "\n".join(lines)
