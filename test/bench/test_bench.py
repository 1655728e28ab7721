"""What scripts/bench does with figures once it has them: ratios, verdicts, the page, the plot."""
import json
import pathlib
import sys
import unittest
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import drivers  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import servers  # noqa: E402
import verdicts  # noqa: E402
from verdicts import Target  # noqa: E402

ROW = rows.Row("trial", "load", "get something", "load", ("brain", "redis"), {"in-flight": 1}, ())


def figures(throughput, cpu=1.0):
    return {"throughput": throughput, "p50": 20.0, "p99": 50.0, "server_cpu": cpu, "client_cpu": 0.3, "gigabytes": 2.0,
            "bytes_per_object": 150.0, "idle_percent": 0.2, "port_open": 0.01, "first_answer": 0.02,
            "others": 0.01, "stolen": 0.0}


def judged(relation, factor, ours, theirs, errors=None, against="redis"):
    measured = {"runs": {"brain": [figures(value) for value in ours], "redis": [figures(value) for value in theirs]},
                "errors": errors or {}}
    return verdicts.judge(Target("throughput", relation, factor, against, None), ROW, measured)


def whole_run():
    """Results of every row, as a run leaves them: brain-server's are twice its rivals'."""
    measured = {}
    for row in rows.ROWS:
        runs = {name: [figures(2e6 * (1 if name == row.judged else 0.5) * noise, 0.5 if name == row.judged else 1.5)
                       for noise in (0.98, 1.0, 1.03)] for name in row.servers}
        measured[row.name] = {"runs": runs, "errors": {}}
    versions = {"brain": "abc1234", "redis": "7", "memcached": "1.6", "erlang": "25"}
    described = {"date": "2024-01-02", "processor": "A & B", "processors": 2, "memory_gb": 8, "kernel": "Linux 6",
                 "cores": [0, 1], "versions": versions}
    # Through JSON, as scripts/bench --report gets it.
    return json.loads(json.dumps({"machine": described, "settings": vars(drivers.Settings()), "rows": measured,
                                  "duration": 600.0}))


class Verdicts(unittest.TestCase):
    def test_the_median_of_the_rounds_ratios_counts(self):
        verdict = judged(">=", 2.0, [30, 24, 20], [10, 10, 10])
        self.assertEqual((verdict.value, verdict.low, verdict.high), (2.4, 2.0, 3.0))
        self.assertTrue(verdict.met)
        self.assertAlmostEqual(verdict.gap, 0.2)

    def test_a_ratio_is_of_one_round(self):
        # Both are ten times as slow in the second round: the ratio is the same.
        verdict = judged(">=", 2.0, [300, 30], [100, 10])
        self.assertEqual((verdict.low, verdict.high), (3.0, 3.0))

    def test_missed_says_by_how_much(self):
        verdict = judged(">=", 4.0, [30], [10])
        self.assertFalse(verdict.met)
        self.assertAlmostEqual(verdict.gap, -0.25)
        self.assertEqual(report.verdict_words(verdict), "**missed** by 25 %")

    def test_at_most(self):
        self.assertTrue(judged("<=", 0.5, [4], [10]).met)
        verdict = judged("<=", 0.5, [6], [10])
        self.assertFalse(verdict.met)
        self.assertAlmostEqual(verdict.gap, -0.2)

    def test_equal_is_met(self):
        self.assertTrue(judged(">=", 2.0, [20], [10]).met)
        self.assertTrue(judged("<=", 2.0, [20], [10]).met)

    def test_a_target_among_the_rounds_is_told(self):
        verdict = judged(">=", 2.0, [19, 21, 22], [10, 10, 10])
        self.assertTrue(verdict.met)
        self.assertEqual(report.verdict_words(verdict), "met, not in every round")
        self.assertEqual(report.verdict_words(judged(">=", 2.0, [21, 22], [10, 10])), "met")

    def test_a_server_that_failed_is_not_judged(self):
        for errors in ({"redis": "it ended"}, {"brain": "it ended"}):
            verdict = judged(">=", 2.0, [30], [10], errors)
            self.assertIsNone(verdict.met)
            self.assertIn("it ended", report.verdict_words(verdict))

    def test_nothing_measured_is_not_met(self):
        verdict = judged(">=", 2.0, [], [])
        self.assertIsNone(verdict.met)
        self.assertEqual(verdict.reason, "not measured")

    def test_without_a_rival_the_figure_itself_counts(self):
        self.assertTrue(judged("<=", 160, [150], [], against=None).met)
        self.assertFalse(judged("<=", 160, [170], [], against=None).met)

    def test_a_note_asks_nothing(self):
        verdict = judged(None, None, [30], [10])
        self.assertEqual((verdict.value, verdict.met, verdict.reason), (3.0, None, None))

    def test_spread(self):
        self.assertAlmostEqual(verdicts.spread([9, 10, 12]), 0.15)


class Rows(unittest.TestCase):
    def test_every_row_can_be_run_and_judged(self):
        self.assertEqual(len({row.name for row in rows.ROWS}), len(rows.ROWS))
        for row in rows.ROWS:
            with self.subTest(row.name):
                self.assertIn(row.driver, drivers.DRIVERS)
                self.assertIn(row.group, rows.GROUPS)
                self.assertTrue(set(row.servers) <= set(servers.KINDS))
                self.assertTrue(row.targets)
                for target in row.targets:
                    self.assertIn(target.metric, row.figures)
                    self.assertIn(target.judged or row.judged, row.servers)
                    self.assertIn(target.against, (*row.servers, None))

    def test_groups_are_together(self):
        groups = [row.group for row in rows.ROWS]
        self.assertEqual(list(dict.fromkeys(groups)), [group for index, group in enumerate(groups)
                                                       if index == 0 or groups[index - 1] != group])

    def test_select(self):
        self.assertEqual(len(rows.select(None)), len(rows.ROWS))
        self.assertEqual([row.name for row in rows.select("^memory$")], ["memory"])


class Report(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual([report.number(value) for value in (0.2345, 2.0, 12.34, 999.6, 123456)],
                         ["0.234", "2", "12.3", "1000", "123456"])
        self.assertEqual([report.amount(value) for value in (58.2, 11600, 999960, 2726000)],
                         ["58.2", "11.6 k", "1 M", "2.73 M"])
        self.assertEqual([report.duration(value) for value in (0.23, 346, 2032, 1.5e6)],
                         ["0.23 µs", "346 µs", "2.03 ms", "1.5 s"])

    def test_all_tables_are_whole(self):
        text = report.markdown(whole_run())
        width = None
        tables = 0
        for line in text.splitlines():
            if not line.startswith("|"):
                width = None
                continue
            tables += width is None
            width = width or line.count("|")
            self.assertEqual(line.count("|"), width, line)
        self.assertEqual(tables, len(rows.ROWS) + 1)

    def test_every_target_has_a_verdict(self):
        results = whole_run()
        asked = sum(target.relation is not None for row in rows.ROWS for target in row.targets)
        self.assertEqual(sum(report.counts(results)), asked)
        table = report.verdict_table(results)
        self.assertEqual(table.count("met |") + table.count("met, not") + table.count("**missed**"), asked)

    def test_the_generator_is_named_when_it_set_the_pace(self):
        results = whole_run()
        for run in results["rows"]["get-deep"]["runs"]["brain"]:
            run.update(throughput=2e6, server_cpu=0.2, client_cpu=0.49)
        self.assertIn("The generator, not brain-server, set the pace of: get 100 B, 1 connection",
                      report.limits_text(results))

    def test_disturbance_and_errors_are_told(self):
        results = whole_run()
        self.assertEqual(report.disturbance_text(results) + report.errors_text(results), "")
        results["rows"]["get-1"]["runs"]["redis"][0]["others"] = 0.4
        results["rows"]["get-1"]["errors"]["ei"] = "it ended"
        self.assertIn("40 % at worst", report.disturbance_text(results))
        self.assertIn("it ended", report.errors_text(results))

    def test_what_was_written_by_hand_is_kept(self):
        first = report.merged("", "one")
        page = first.replace("# Benchmarks\n", "# Benchmarks\n\nBy hand.\n") + "The kernel's.\n"
        second = report.merged(page, "two")
        self.assertIn("By hand.", second)
        self.assertTrue(second.endswith("The kernel's.\n"))
        self.assertIn("\n\ntwo\n\n", second)
        self.assertNotIn("\none\n", second)
        self.assertEqual(report.merged(second, "two"), second)

    def test_a_page_without_its_marks_is_left_alone(self):
        with self.assertRaises(servers.Failure):
            report.merged("# Benchmarks\n", "one")

    def test_the_terminal_shows_every_row(self):
        results = whole_run()
        for row in rows.ROWS:
            text = report.terminal_row(row, results["rows"][row.name])
            self.assertEqual(text.count("asked"), len(row.targets))


class Plot(unittest.TestCase):
    def test_all_dots_lie_in_the_picture(self):
        root = xml.etree.ElementTree.fromstring(plot.svg(whole_run()))
        width, height = float(root.get("width")), float(root.get("height"))
        dots = [node for node in root if node.tag.endswith("circle")]
        shown = [row for row in rows.ROWS if row.group in ("load", "large", "beam")]
        rivals = sum(name in plot.RIVALS for row in shown for name in row.servers[1:])
        legend = len({plot.RIVALS[name][0] for row in shown for name in row.servers[1:] if name in plot.RIVALS})
        self.assertEqual(len(dots), 2 * rivals + legend)
        for dot in dots:
            self.assertTrue(0 < float(dot.get("cx")) < width and 0 < float(dot.get("cy")) < height)

    def test_more_is_further_right(self):
        axis = plot.Axis([0.1, 8], 0, 100)
        self.assertLess(axis.x(0.1), axis.x(1))
        self.assertLess(axis.x(1), axis.x(8))
        self.assertIn(1, axis.ticks())


class Reports(unittest.TestCase):
    def test_what_a_generator_prints_becomes_figures(self):
        found = drivers.flatten({"throughput": 10.0, "latency_us": {"p50": 1, "p99": 2}, "server_cpu_us": None,
                                 "client_cpu_us": 0.2, "bytes_per_second": 3e9, "errors": 0})
        self.assertEqual(found, {"throughput": 10.0, "p50": 1, "p99": 2, "client_cpu": 0.2, "gigabytes": 3.0})


if __name__ == "__main__":
    unittest.main(verbosity=1)
