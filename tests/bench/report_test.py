#!/usr/bin/env python3
"""What decides about an alarm, and how wide tables are: of report.py, without a benchmark."""
import contextlib
import io
import sys

sys.dont_write_bytecode = True
import report


class Alarms:
    def __init__(self):
        self.texts = []

    def alarm(self, text):
        self.texts.append(text)


def alarms_of(name, over, reads=1.0, writes=1.0):
    out = Alarms()
    report.gate_calls(out, name, {"reads": reads, "writes": writes}, over)
    return out.texts


# As it was on a disturbed machine: 8.11 calls per connection where the floor has 8.05.
assert not alarms_of("churn", {"reads": 1, "writes": 1, "all": 8.11 / 8.05})
assert "1.10" in alarms_of("churn", {"reads": 1, "writes": 1, "all": 1.1})[0]
assert not alarms_of("d1", {"reads": 1, "writes": 1.01, "all": 1.5})
assert len(alarms_of("d1", {"reads": 2, "writes": 1.5, "all": 1})) == 2
assert alarms_of("d16", {}, reads=1, writes=2)

text = io.StringIO()
with contextlib.redirect_stdout(text):
    report.show("A title " * 20, ["name", *(f"column {i}" for i in range(20))],
                [["row", *("value" * (i % 5 + 1) for i in range(20))]], "A note " * 30)
lines = text.getvalue().split("\n")
assert all(len(line) <= 100 for line in lines), max(lines, key=len)
assert all(f"column {i}" in text.getvalue() for i in range(20))
assert sum(line.split()[:1] == ["row"] for line in lines) > 1
