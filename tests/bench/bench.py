#!/usr/bin/env python3
"""This server beside the frozen floor and its peers, in one run: bench.py BUILD

Server on one CPU, generator on another; rounds of all servers alternate. Time ratios depend on the
machine (below 3 %, or 10 % for c1000 and 1m, a difference means nothing); counts do not.
QUICK=1: at most three minutes. SERVER_CPU, GEN_CPU, ROUNDS, SECONDS_EACH override what is chosen. Prints
tables, and writes BUILD/bench/report.md, report.json and, if gnuplot is there, pictures. Exit status 1:
an alarm.
"""
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import measure
import report
from measure import Server, alternate, generate, median, ratio, redis_benchmark

quick = bool(os.environ.get("QUICK"))
here = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("ROUNDS", 5 if quick else 11))
SECONDS = float(os.environ.get("SECONDS_EACH", 0.5 if quick else 1.0))
PEER_ROUNDS = 3
SERIES_ROUNDS, SERIES_SECONDS = (1, 0.25) if quick else (3, 0.4)
LATENCY_ROUNDS = 1 if quick else 3
SPREADS = 1 if quick else 5
PING_REQUESTS = 200000 if quick else 1000000
ALARM = 0.85
IDLE_MOST = 2.4  # bytes of an idle connection, by the floor's: 192 to 80

# name, what, generator's arguments, batches a connection for the counts, wanted floor/ours
WORKLOADS = [
    ("d1", "64 connections, 64 B", ["-c", "64"], 200, 0.97),
    ("d16", "the same, depth 16", ["-c", "64", "-d", "16"], 50, 0.97),
    ("c1000", "1000 connections, 64 B", ["-c", "1000"], 10, 0.95),
    ("16k", "32 connections, 16 KiB", ["-c", "32", "-s", "16384"], 50, 0.97),
    ("1m", "4 connections, 1 MiB", ["-c", "4", "-s", "1048576"], 10, 1.00),
    ("churn", "connect, one message, close", ["-c", "64", "-C"], 50, 0.97),
]
# name, what must be installed, command, generator's arguments
PEERS = [
    ("Redis ECHO", "redis-server", [f"{here}/peers/redis.sh"], ["-R"]),
    ("Python asyncio", "python3", [f"{here}/peers/asyncio_echo.py"], []),
]
SERIES = [  # name, axis, values, generator's arguments
    ("depth", "messages at once on each of 64 connections (64 B)", [1, 2, 4, 8, 16, 32, 64, 128],
     lambda v: ["-c", "64", "-d", str(v)]),
    ("size", "bytes of a message, 16 connections",
     [16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576], lambda v: ["-c", "16", "-s", str(v)]),
    ("connections", "connections (64 B)", [1, 4, 16, 64, 256, 1000, 4000],
     lambda v: ["-c", str(v)]),
]
SPREAD = [("64 at once", ["-n", "64", "-f", "64"]), ("1000 at once", ["-n", "1000", "-f", "1000"]),
          ("200 slowly", ["-n", "200", "-f", "1", "-w", "5"]),
          ("2000 one by one", ["-n", "2000", "-f", "1"]),
          ("8000 churn", ["-n", "8000", "-f", "64", "-C"])]
data = {"quick": quick}  # what report.json holds


def time_workloads(out, ours, floor, peers):
    rows, peer_rows = [], []
    for name, what, args, _, target in WORKLOADS:
        samples = alternate([floor, ours], ROUNDS, lambda s: generate(s, SECONDS, "-w", "0.2", *args))
        samples |= alternate(peers, PEER_ROUNDS, lambda s: generate(s, SECONDS, "-w", "0.2", *args))
        cpu = ratio(samples["floor"], samples["ours"], "cpu_ns")
        rate = ratio(samples["ours"], samples["floor"], "rate")
        both = samples["ours"] + samples["floor"]
        data.setdefault("workloads", {})[name] = {
            "samples": samples, "floor_over_ours": cpu, "rate_over_floor": rate, "target": target}
        rows.append([name, what, report.number(median(samples["ours"], "cpu_ns")),
                     report.number(median(samples["floor"], "cpu_ns")), f"{cpu['median']:.2f}",
                     f"{cpu['low']:.2f}-{cpu['high']:.2f}",
                     f"{target:.2f} {'met' if cpu['median'] >= target - 0.005 else 'missed'}",
                     report.number(median(samples["ours"], "rate")), f"{rate['median']:.2f}",
                     f"{sum(s['disturbed'] for s in both)}/{len(both)}"])
        if cpu["median"] < ALARM:
            out.alarm(f"{name} costs far more than the floor")
        names = ["ours", "floor", *(p.name for p in peers)]
        cost = {n: median(samples[n], "cpu_ns") for n in names}
        peer_rows.append([name, *(f"{cost[n] / cost['ours']:.2f}" for n in names[1:]),
                          *(report.number(1e9 / cost[n]) for n in names)])
    out.table(f"CPU of the server a message, ns: medians of {ROUNDS} rounds of {SECONDS} s",
              ["", "", "ours", "floor", "floor/ours", "quartiles", "target", "messages/s", "/floor",
               "disturbed"], rows,
              "A round is disturbed if server or generator waited for a CPU, or the hypervisor took it, "
              f"for more than {measure.DISTURBED:.0%} of its time; ratios leave such rounds out if three "
              "others are left.")
    others = ["floor", *(p.name for p in peers)]
    out.table("Peers: messages per second of the server's CPU (more is better); first, ours / theirs",
              ["", *(f"/ {n}" for n in others), "ours", *others], peer_rows,
              "1.20 is 20 % more than they serve with the same CPU time.")


def time_series(ours, floor):
    for name, axis, values, args in SERIES:
        data.setdefault("series", {})[name] = {"axis": axis, "points": [
            {"at": v} | {n: median(s, "cpu_ns") for n, s in alternate(
                [floor, ours], SERIES_ROUNDS,
                lambda s: generate(s, SERIES_SECONDS, "-w", "0.1", *args(v))).items()}
            for v in values]}


def table_of_series(out):
    for name, series in data["series"].items():
        out.table(f"CPU per message, ns, by {series['axis']}",
                  ["", *(report.short(p["at"]) for p in series["points"])],
                  [[n, *(report.number(p[n]) for p in series["points"])] for n in ("ours", "floor")]
                  + [["floor/ours", *(f"{p['floor'] / p['ours']:.2f}" for p in series["points"])]])


PERCENTILES = ["p50", "p90", "p99", "p99.9", "max"]


def latency(out, ours, floor):
    rows = []
    for name, what, args, _, _ in WORKLOADS:
        samples = alternate([floor, ours], LATENCY_ROUNDS, lambda s: measure.client_bench(
            s, SECONDS, *measure.client_args(args)))
        for server in ("ours", "floor"):
            ms = {p: statistics.median(s["latency_ms"][p] for s in samples[server])
                  for p in samples[server][0]["latency_ms"]}
            data.setdefault("latency_ms", {}).setdefault(name, {})[server] = ms
            rows.append([name, server, *(f"{ms[p]:.3f}" for p in PERCENTILES)])
    out.table("Latency, ms, by percentile, closed loop at full load (echo-client bench)",
              ["", "", *PERCENTILES], rows)


def count_calls(out, ours, floor):
    trace = measure.PerfTrace if measure.has_perf() else measure.Strace
    rows = []
    for name, what, args, batches, _ in WORKLOADS:
        n = {s.name: measure.count_calls(s, trace, batches, args) for s in (ours, floor)}
        over = {k: n["ours"][k] / n["floor"][k] for k in ("reads", "writes", "all") if n["floor"][k]}
        data.setdefault("calls", {})[name] = n | {"ours_over_floor": over}
        for s in (ours, floor):
            rows.append([name, s.name, *(f"{n[s.name][k]:.2f}" for k in ("reads", "writes", "waits", "all")),
                         f"{over['all']:.3f}" if s is ours else "1"])
        report.gate_calls(out, name, n["ours"], over)
    out.table(f"System calls a message (by {trace.__name__})",
              ["", "", "reads", "writes", "epoll_waits", "all", "all/floor"], rows,
              "Alarms, by the floor's: " + "; ".join(
                  f"{name}: {', '.join(f'{k} above {v}' for k, v in most.items())}"
                  for name, most in report.CALLS_MOST.items()))


def count_instructions(out, ours, floor):
    rows, bare = [], None
    if not shutil.which("valgrind"):
        out.text("User instructions per message", "not counted: valgrind is not installed\n")
        return
    if not quick:
        subprocess.run(["make", "--no-print-directory", f"B={measure.build}/bare",
                        "CPPFLAGS=-include tests/bench/no_counters.h",
                        f"{measure.build}/bare/echo-arbiter"], check=True, stdout=subprocess.DEVNULL)
        bare = Server("bare", [f"{measure.build}/bare/echo-arbiter"])
    for name, _, args, _, _ in [("c1", "", ["-c", "1"], 0, 0), *WORKLOADS[:2]]:
        n = {s.name: measure.instructions(s, args) for s in (ours, floor, bare) if s}
        data.setdefault("instructions", {})[name] = n
        without = ["-"] * 3
        if bare:
            cost = n["ours"] - n["bare"]
            ns = median(data["workloads"]["d16" if name == "d16" else "d1"]["samples"]["ours"], "cpu_ns")
            without = [f"{n['bare']:.1f}", f"{cost:.1f}", f"{cost * 0.5 / ns:.2%}"]
        rows.append([name, f"{n['ours']:.1f}", f"{n['floor']:.1f}", *without])
    out.table("User instructions per message (callgrind)",
              ["", "ours", "floor", "without scoreboard", "its cost", "of all CPU"], rows,
              "c1 is one connection: a turn of the loop a message. "
              + ("Without the scoreboard: not with QUICK=1." if quick else
                 "Of all CPU: if an instruction takes half a ns."))


def idle(out, ours, floor):
    n = min(10000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    got = {}
    for s in (ours, floor):
        with s.start():
            got[s.name] = measure.resident(s, n)
    data["idle_bytes"] = got
    over = got["ours"] / got["floor"]
    out.table(f"Resident bytes per connection, {n} idle ones", ["ours", "floor", "ours/floor", "at most"],
              [[f"{got['ours']:.0f}", f"{got['floor']:.0f}", f"{over:.2f}", f"{IDLE_MOST:.2f}"]])
    if over > IDLE_MOST:
        out.alarm(f"an idle connection holds {over:.2f} times what it does at the floor")


def reload_stall(out):
    rows, seconds = [], 2 if quick else 5
    conf = os.path.join(measure.tmp.name, "echo.conf")
    with open(conf, "w") as f:
        f.write("log: { level = \"info\"; };\n")  # a file without a key is refused
    ours = Server("ours", [f"{measure.build}/echo-arbiter"], options=["-c", conf])
    for name, pause in (("steady", None), ("reload every 250 ms", 0.25)):
        with ours.start(workers=2):
            load = subprocess.Popen(
                [f"{measure.build}/echo-client", "-a", ours.address, "bench", "--json", "--rate", "5000",
                 "-t", str(seconds + 0.5)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True,
                preexec_fn=measure.on_cpus(measure.gen_cpu))
            n = 0
            while pause and load.poll() is None:
                time.sleep(pause)
                ours.process.send_signal(signal.SIGHUP)
                n += 1
            got = report.parse(load.communicate()[0])
        lost = sum(got[k] for k in ("unanswered", "unsent", "closed", "reset", "timeout", "wrong", "refused"))
        data.setdefault("reload_ms", {})[name] = got["latency_ms"] | {"lost": lost, "reloads": n}
        rows.append([name, *(f"{got['latency_ms'][p]:.2f}" for p in PERCENTILES), n, lost,
                     got["late"]])
        if lost:
            out.alarm("messages were lost")
    out.table("Latency, ms, at 5000 messages/s on 64 connections, 2 workers on one CPU",
              ["", *PERCENTILES, "reloads", "lost",
               "generator late"], rows,
              "Timed from when each message was due, so that a stall cannot hide itself. Where the "
              "generator was late (of 5000 a second), other load has disturbed it.")


def spread(out, ours):
    rows = []
    with ours.start(workers=4, cpus=measure.available):
        for name, args in SPREAD:
            runs = []
            for _ in range(SPREADS):
                time.sleep(0.3)  # the accept gate remembers closes for 100 ms: begin rested
                runs.append(measure.spread(ours, args))
            ratios = [most / max(least, 1) for most, least, _ in runs]
            ms = statistics.median(r[2] for r in runs)
            rows.append([name, *(["-", "-"] if "-C" in args else
                                 [f"{statistics.median(ratios):.2f}", f"{max(ratios):.2f}"]),
                         f"{ms:.0f}"])
    data["spread"] = rows
    out.table(f"Most by least loaded of 4 workers, {SPREADS} runs",
              ["", "median", "worst", "ms"], rows, "Aim: 1.15.")


def pubsub_beside_redis(out):
    title = "pubsub beside Redis"
    missing = [p for p in ("redis-server", "redis-benchmark") if not shutil.which(p)]
    if missing:
        out.text(title, f"not measured: {' and '.join(missing)} not installed\n")
        return
    rows = []
    with Server("pubsub", [f"{measure.build}/test/pubsub"]).start() as ours, \
            Server("Redis", [f"{here}/peers/redis.sh"]).start() as redis:
        for test in ("ping_inline", "ping_mbulk"):
            samples = alternate([redis, ours], ROUNDS, lambda s: redis_benchmark(s, test, PING_REQUESTS))
            cpu = ratio(samples["pubsub"], samples["Redis"], "cpu_ns")
            data.setdefault("pubsub", {})[test] = {"samples": samples, "ours_over_redis": cpu}
            rows.append([test, *(report.number(median(samples[n], "cpu_ns")) for n in ("pubsub", "Redis")),
                         f"{cpu['median']:.2f}", f"{cpu['low']:.2f}-{cpu['high']:.2f}",
                         f"0.90 {'met' if cpu['median'] <= 0.905 else 'missed'}"])
    out.table(f"{title}: CPU of the server per request, ns, by redis-benchmark -P 16 -c 50",
              ["", "pubsub", "Redis", "pubsub/Redis", "quartiles", "aim"], rows,
              f"One worker; {ROUNDS} rounds of {PING_REQUESTS} requests, in turn.")


def other_programs(out):
    for name in ("bench_move", "bench_frame"):
        text = subprocess.run([measure.program(name)], capture_output=True, text=True, check=True,
                              preexec_fn=measure.on_cpus(*([measure.server_cpu] if name == "bench_frame"
                                                           else measure.available)))
        out.text(name, text.stdout)


def beside_each_other(out, ours, floor, peers):
    running = [ours, floor, *peers]
    try:
        for s in running:
            s.start()
        time_workloads(out, ours, floor, peers)
        count_calls(out, ours, floor)
        latency(out, ours, floor)
        time_series(ours, floor)
        table_of_series(out)
    finally:
        for s in running:
            s.stop()


def one_by_one(out, ours, floor):
    try:
        idle(out, ours, floor)
        count_instructions(out, ours, floor)
        reload_stall(out)
        spread(out, ours)
        pubsub_beside_redis(out)
        other_programs(out)
    finally:
        ours.stop()
        floor.stop()


def main():
    measure.build = sys.argv[1]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    began = time.monotonic()
    out = report.Report(os.path.join(measure.build, "bench"), data)
    ours = Server("ours", [f"{measure.build}/echo-arbiter"])
    floor = Server("floor", [measure.program("floor")])
    peers = [Server(n, argv, args) for n, needs, argv, args in PEERS if shutil.which(needs)]
    missing = [n for n, needs, _, _ in PEERS if not shutil.which(needs)]
    if missing:
        out.text("Peers that are not installed", ", ".join(missing) + "\n")
    try:
        beside_each_other(out, ours, floor, peers)
        one_by_one(out, ours, floor)
    except BaseException:
        out.alarm("ended early: the rest is not measured")
        out.write(time.monotonic() - began)
        raise
    return out.finish(time.monotonic() - began)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    sys.exit(main())
