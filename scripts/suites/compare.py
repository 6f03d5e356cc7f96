# SPDX-License-Identifier: BSD-2-Clause
"""Compares what a suite's tests gave over our module with what they gave over
upstream's: compare.py RESULTS REASONS, each line of RESULTS a form, a test and
its outcome (passed, failed, skipped, missing), separated by tabs; the form
"upstream" is the baseline. A difference needs a line in REASONS:

    SUITE.FORM TEST BASELINE OURS REASON

where * and ? match as in file names. Exits with 1 where one has none.
"""

import sys
from collections import Counter, defaultdict
from fnmatch import fnmatchcase

suite, results, reasons = sys.argv[1:]
outcomes = defaultdict(dict)
for line in open(results):
    form, test, outcome = line.rstrip("\n").split("\t")
    outcomes[form][test] = outcome
known = [
    line.split(None, 4)
    for line in open(reasons)
    if line.strip() and not line.startswith("#")
]

baseline = outcomes.pop("upstream", {})
if not baseline:
    sys.exit(f"{suite}: there is no baseline")


def show(form, tests):
    count = Counter(tests.values())
    told = ", ".join(f"{count[o]:4} {o}" for o in ("passed", "failed", "skipped"))
    print(f"{suite + ' ' + form:28} {told}")


def reason(form, test, theirs, ours):
    for forms, tests, was, now, why in known:
        if (was, now) == (theirs, ours) and fnmatchcase(test, tests):
            if fnmatchcase(f"{suite}.{form}", forms):
                return why.strip()
    return None


show("upstream", baseline)
unexplained = 0
for form, tests in outcomes.items():
    show(form, tests)
    for test in sorted(set(baseline) | set(tests)):
        theirs, ours = (o.get(test, "missing") for o in (baseline, tests))
        if theirs == ours:
            continue
        why = reason(form, test, theirs, ours)
        # More than the baseline does needs no excuse.
        if why is None and ours == "passed":
            why = "more than over upstream's module"
        if why is None:
            unexplained += 1
        print(f"    {test}: {theirs} -> {ours}: {why or 'UNEXPLAINED'}")
sys.exit(unexplained > 0)
