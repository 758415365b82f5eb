#!/usr/bin/env python3
"""Two configurations of this server in pairs, beside the noise of one against itself: pairs.py BUILD

Three servers on one CPU, the generator on another: with, without, and once more without; their rounds
alternate. CPU is that of workers and keepers together. ON='...' OFF='...', texts of configurations, make a
pair of your own; else all in PAIRS are measured. QUICK=1: three rounds. SERVER_CPU, GEN_CPU, ROUNDS,
SECONDS_EACH override what is chosen. Prints tables; decides nothing.
"""
import os
import resource
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
import measure
import report
from measure import Server, alternate, generate, median, ratio

quick = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", 3 if quick else 11))
SECONDS = float(os.environ.get("SECONDS_EACH", 0.5 if quick else 1.0))

WORKLOADS = [  # name, generator's arguments
    ("d1", ["-c", "64"]),
    ("d16", ["-c", "64", "-d", "16"]),
    ("c1000", ["-c", "1000"]),
    ("churn", ["-c", "64", "-C"]),
]
PAIRS = [  # title, with, without
    ("keepers, at once: all connections are kept", "arbiter: { keep_after = 0; };", "arbiter: { keepers = false; };"),
    ("keepers, after a second: those of churn are not", "arbiter: { keepers = true; };",
     "arbiter: { keepers = false; };"),
    ("sandbox", 'arbiter: { sandbox = "auto"; };', 'arbiter: { sandbox = "off"; };'),
]


def configure(name, text):
    path = os.path.join(measure.tmp.name, name + ".conf")
    with open(path, "w") as f:
        f.write(text + "\n")
    return path


def refusal(path):
    """Why the program does not take it; "" = it does."""
    out = subprocess.run([f"{measure.build}/echo-arbiter", "-t", "-c", path], capture_output=True, text=True)
    return out.stderr.strip() if out.returncode else ""


def measure_pair(title, on, off):
    texts = {"with": on, "without": off, "again": off}
    paths = {name: configure(name, text) for name, text in texts.items()}
    refused = refusal(paths["with"]) or refusal(paths["without"])
    if refused:
        print(f"\n{title}\n  left out: {refused}")
        return
    servers = [Server(name, [f"{measure.build}/echo-arbiter"], options=["-c", path])
               for name, path in paths.items()]
    rows = []
    try:
        for s in servers:
            s.start(kinds=("worker.", "keeper."))
        for name, args in WORKLOADS:
            samples = alternate(servers, ROUNDS, lambda s: generate(s, SECONDS, "-w", "0.3", *args))
            cost = ratio(samples["with"], samples["without"], "cpu_ns")
            noise = ratio(samples["again"], samples["without"], "cpu_ns")
            every = [sample for s in samples.values() for sample in s]
            rows.append([name, *(report.number(median(samples[n], "cpu_ns")) for n in ("with", "without")),
                         *(t for r in (cost, noise) for t in (f"{r['median']:.3f}", f"{r['low']:.3f}-{r['high']:.3f}")),
                         f"{sum(s['disturbed'] for s in every)}/{len(every)}"])
    finally:
        for s in servers:
            s.stop()
    report.show(f"{title}: CPU per message, ns: {ROUNDS} rounds of {SECONDS} s",
                ["", "with", "without", "with/without", "quartiles", "noise", "quartiles", "disturbed"], rows,
                f"With: {on} Without: {off} Noise: without/without.")


def main():
    measure.build = sys.argv[1]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    own = [("ON and OFF", os.environ["ON"], os.environ.get("OFF", ""))] if os.environ.get("ON") else PAIRS
    for pair in own:
        measure_pair(*pair)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    main()
