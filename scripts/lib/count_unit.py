"""Reads meson's testlog.json; prints one line per test program and writes `passed failed` for all
checks together to the file named second. A program without a Check summary (it crashed, or a
sanitizer ended it) counts as one failure more than the checks it says failed."""
import json
import re
import sys

CHECKS = re.compile(r"(\d+)%: Checks: (\d+), Failures: (\d+), Errors: (\d+)")


def main(log_path, totals_path):
    passed = failed = 0
    for line in open(log_path, encoding="utf-8", errors="replace"):
        test = json.loads(line)
        output = test.get("stdout", "") + test.get("stderr", "")
        checks = wrong = 0
        for match in CHECKS.finditer(output):
            checks += int(match[2])
            wrong += int(match[3]) + int(match[4])
        good = test["result"] in ("OK", "EXPECTEDFAIL")
        if not good and wrong == 0:
            wrong, checks = 1, checks + 1
        if good and checks == 0:
            checks = 1  # a program without Check: it is one test
        passed += checks - wrong
        failed += wrong
        print(f"{'ok  ' if good else 'FAIL'} {test['name']}: {checks - wrong} passed, {wrong} failed")
        if not good:
            print(f"     {test['result']}, exit status {test.get('returncode')}")
            print("\n".join("     " + text for text in output.splitlines()[-200:]))
    with open(totals_path, "w", encoding="utf-8") as totals:
        totals.write(f"{passed} {failed}\n")


main(*sys.argv[1:3])
