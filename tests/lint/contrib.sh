#!/bin/bash
# contrib against what a server says: each metric that a rule, a test of one or the dashboard names stands in
# the manual, whose list is that of the code (tests/unit/test_status_metrics.c). Rules, and expressions of the
# dashboard, by promtool, if it is there.
set -u
manual=man/echo-arbiter-metrics.7
bad=0

known()
{
    sed -n 's/^\.It Va \(arbiter_[a-z_]*\) .*/\1/p' "$manual"
    sed -n 's/^\.It Va \(arbiter_[a-z_]*\) Pq histogram/\1_bucket\n\1_sum\n\1_count/p' "$manual"
}
for file in contrib/prometheus/*.yml contrib/grafana/*.json; do
    unknown=$(grep -oE '\barbiter_[a-z_]+' "$file" | sort -u | comm -23 - <(known | sort))
    [ -z "$unknown" ] || { echo "$file: $manual does not have" $unknown; bad=1; }
done
python=$(command -v /usr/bin/python3 python3 | head -n 1)

# The expressions of a dashboard as rules, which promtool can read.
as_rules()
{
    "$python" -c '
import json, sys
board = json.load(open(sys.argv[1]))
expressions = [t["expr"] for p in board["panels"] for t in p["targets"]] + [a["expr"] for a in board["annotations"]["list"]]
rules = [{"record": "dashboard:" + str(i), "expr": e.replace("$__rate_interval", "5m").replace("$instance", ".*")}
         for i, e in enumerate(expressions)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, open(sys.argv[2], "w"))' "$1" "$2"
}

rules=$(mktemp)
trap 'rm -f "$rules"' EXIT
for file in ${python:+contrib/grafana/*.json}; do
    as_rules "$file" "$rules" || { echo "$file: not as Grafana has it"; bad=1; continue; }
    ! command -v promtool >/dev/null || said=$(promtool check rules "$rules" 2>&1) || { echo "$file: $said"; bad=1; }
done
if command -v promtool >/dev/null; then
    said=$(cd contrib/prometheus && promtool check rules ./*.rules.yml 2>&1 && promtool test rules ./*.test.yml 2>&1) ||
        { printf '%s\n' "$said"; bad=1; }
else
    echo 'rules are not checked: there is no promtool; apt-get install prometheus'
fi
exit $bad
