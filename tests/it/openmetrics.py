#!/usr/bin/python3
"""Answers of /metrics as OpenMetrics, by the parser of python3-prometheus-client: openmetrics.py FILE

The file has them one after the other, each with a NUL behind it. Names the first that is wrong and exits 1 then, else
prints how many there were; 77 if the parser cannot be had.
"""
import sys

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
except ImportError:
    print("skipped: there is no python3-prometheus-client here; make check-status installs it")
    sys.exit(77)

with open(sys.argv[1], encoding="utf-8") as f:
    texts = f.read().split("\0")
if texts.pop():
    sys.exit("the last answer has no end")
for text in texts:
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        sys.exit(f"{error} in:\n{text}")
    if not any(family.name == "arbiter_requests" and family.type == "counter" for family in families):
        sys.exit(f"arbiter_requests is missing in:\n{text}")
print(len(texts))
