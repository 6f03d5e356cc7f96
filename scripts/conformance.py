# SPDX-License-Identifier: BSD-2-Clause
"""Makes tables of what tcti-check found: conformance.py DOCUMENT FILE.json...

The tables go between the marks in DOCUMENT, or to standard output if that is empty.
"""

import json
import re
import sys

BEGIN, END = "<!-- by make conformance -->\n", "<!-- end -->\n"


def name(report):
    """The module and the transport alone: a peer's address is no part of it."""
    text = report["subject"].removeprefix("rusttcti:")
    word = text.split(":")[0]
    if word == "rm":
        word = "rm:swtpm"
    ours = report["subject"].startswith("rusttcti:")
    return f"rusttcti:{word}" if ours else word


def plain(detail):
    """What was observed, without numbers that differ from run to run."""
    detail = re.sub(r"\d+(\.\d+)?ms", "some ms", detail)
    return re.sub(r"(descriptor) \d+", r"a \1", detail).replace("|", "\\|")


def tables(reports):
    lines = ["| module | passed | failed | not applicable |", "| --- | ---: | ---: | ---: |"]
    for report in reports:
        outcomes = [check["outcome"] for check in report["checks"]]
        counts = " | ".join(str(outcomes.count(word)) for word in ("pass", "fail", "n/a"))
        lines.append(f"| `{name(report)}` | {counts} |")
    for report in reports:
        failed = [check for check in report["checks"] if check["outcome"] == "fail"]
        if not failed:
            continue
        lines += ["", f"### `{name(report)}`", "", "| check | promise | observed |", "| --- | --- | --- |"]
        for check in failed:
            promise = check["promise"].replace("|", "\\|")
            lines.append(f"| `{check['name']}` | {promise} | {plain(check['detail'])} |")
    return "\n".join(lines) + "\n"


def main(document, *files):
    reports = []
    for file in files:
        with open(file, encoding="utf-8") as report:
            reports.append(json.load(report))
    text = tables(reports)
    if not document:
        print(text, end="")
        return
    with open(document, encoding="utf-8") as old:
        head, rest = old.read().split(BEGIN)
    tail = rest.split(END)[1]
    with open(document, "w", encoding="utf-8") as new:
        new.write(f"{head}{BEGIN}\n{text}\n{END}{tail}")


main(*sys.argv[1:])
