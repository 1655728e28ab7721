"""Tests that need what not every machine allows are skipped where it is not there, and that is told: one line for each
reason, at the end of pytest's output and of scripts/test's. Any other skip counts as a failure there."""
import collections

import pytest

NOT_RUN = "needs "  # how the reasons begin; scripts/test knows it


def needs(possible, what):
    """For a test, or as `pytestmark` for a file. `what`: what is needed, and how to get it."""
    return pytest.mark.skipif(not possible, reason=NOT_RUN + what)


def not_run_lines(reports):
    """Of pytest's reports of skipped tests."""
    reasons = collections.Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    return [f"NOT RUN: {count} tests: {reason}" for reason, count in sorted(reasons.items())]
