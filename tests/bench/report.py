"""What a bench run says: tables on the terminal, report.md, report.json, pictures. Used by bench.py, and by pairs.py."""
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap

parse = json.loads


def number(value):
    """Four digits are enough: 12 340, not 12 337.8."""
    if value < 1000:
        return f"{value:.0f}"
    digits = len(str(int(value)))
    return f"{round(value, 4 - digits):,.0f}".replace(",", " ")


def short(value):
    """For an axis: 64, 1Ki, 1Mi."""
    for unit, name in ((2**20, "Mi"), (2**10, "Ki")):
        if value >= unit and value % unit == 0:
            return f"{value // unit}{name}"
    return str(value)


def command_line(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True).stdout
    except OSError:
        return ""


def machine():
    """Neutral words: no names, no paths."""
    cpu = command_line("lscpu")
    field = lambda name: (re.search(rf"^{name}:\s*(.*)$", cpu, re.M) or [0, ""])[1]
    memory = int(re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read())[1]) / 2**20
    return {
        "cpus": os.cpu_count(), "model": field("Model name"), "hypervisor": field("Hypervisor vendor"),
        "l2": field("L2 cache"), "memory_gib": round(memory, 1),
        "kernel": re.match(r"[\d.]*", os.uname().release)[0],
        "compiler": command_line("cc", "--version").split("\n")[0],
    }


# What may be made of the floor's system calls in the same run: what disturbs one disturbs both, but the waits
# of a connection that comes and goes are a matter of luck.
CALLS_MOST = {"d1": {"reads": 1.02, "writes": 1.02}, "churn": {"all": 1.05}}


def gate_calls(out, name, ours, over):
    """Alarms on what is more than the floor makes. @over: ours by the floor's."""
    for k, most in CALLS_MOST.get(name, {}).items():
        if over[k] > most:
            out.alarm(f"{name}: {k}: {over[k]:.3f} times the system calls of the floor, at most {most}")
    if name == "d16" and ours["writes"] > ours["reads"] * 1.005:
        out.alarm("d16: more than one write a read")


WIDTH = 100  # columns of the terminal


def parts(width):
    """The first column with as many of the others as fit; then again with those that follow."""
    at = 1
    while True:
        end, used = at, 2 + width[0]
        while end < len(width) and (end == at or used + 2 + width[end] <= WIDTH):
            used += 2 + width[end]
            end += 1
        yield [0, *range(at, end)]
        at = end
        if at >= len(width):
            return


def fold(text):
    return "\n".join(textwrap.wrap(text, WIDTH))


def show(title, head, rows, note=""):
    """A table on the terminal, in parts if it is too wide."""
    width = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    print(f"\n{fold(title)}")
    for part in parts(width):
        for r in [head, *rows]:
            print("  " + "  ".join(r[i].rjust(width[i]) if head[i] else r[i].ljust(width[i])
                                   for i in part).rstrip())
    if note:
        print(fold(note))
    sys.stdout.flush()


class Report:
    def __init__(self, folder, data):
        self.folder, self.data, self.alarms, self.markdown = folder, data, [], []
        os.makedirs(folder, exist_ok=True)
        data["machine"] = m = machine()
        data["date"] = datetime.date.today().isoformat()
        self.head = (f"{m['cpus']} CPUs ({m['model']}, {m['l2']} L2)"
                     + (f", {m['hypervisor']} guest" if m["hypervisor"] else "")
                     + f", {m['memory_gib']} GiB, Linux {m['kernel']}, {m['compiler']}")
        print(self.head, flush=True)

    def table(self, title, head, rows, note=""):
        rows = [[str(c) for c in r] for r in rows]
        is_left = [not h for h in head]
        show(title, head, rows, note)
        self.markdown += [f"## {title}", "", "| " + " | ".join(head) + " |",
                          "|" + "|".join("---" if left else "--:" for left in is_left) + "|",
                          *("| " + " | ".join(r) + " |" for r in rows), "", *([note, ""] if note else [])]

    def text(self, title, text):
        print(f"\n{title}", *text.splitlines(), sep="\n  ", flush=True)
        self.markdown += [f"## {title}", "", "```", text.rstrip(), "```", ""]

    def alarm(self, text):
        print(fold(f"  ALARM: {text}"), flush=True)
        self.alarms.append(text)

    def finish(self, seconds):
        pictures = draw(self.folder, self.data)
        self.write(seconds, pictures)
        print(f"\n{len(self.alarms)} alarms, {seconds:.0f} s; {self.folder}/report.md"
              + ("" if pictures else " (no pictures: gnuplot is not installed)"))
        return 1 if self.alarms else 0

    def write(self, seconds, pictures=()):
        self.data["alarms"] = self.alarms
        alarms = "".join(f"* ALARM: {a}\n" for a in self.alarms)
        head = [f"# Benchmark, {self.data['date']}", "", self.head + ".", "",
                f"`make bench{' QUICK=1' if self.data['quick'] else ''}`, {seconds:.0f} s. The floor is a raw "
                "epoll loop that frames messages (`floor.c`).", alarms]
        with open(os.path.join(self.folder, "report.md"), "w") as f:
            f.write("\n".join([*head, *self.markdown, *(f"![{p}]({p})" for p in pictures)]).rstrip() + "\n")
        with open(os.path.join(self.folder, "report.json"), "w") as f:
            json.dump(self.data, f, indent=1)


# ---- pictures ----

def plot(folder, name, title, settings, columns, rows, style="linespoints"):
    """One SVG; the first column of @rows is the label on the x axis."""
    block = "\n".join(" ".join(f'"{c}"' if i == 0 else str(c) for i, c in enumerate(r)) for r in rows)
    plots = ", ".join(f"$d using {i + 2}:xtic(1) title '{c}' with {style}" for i, c in enumerate(columns))
    script = (f"set terminal svg size 720,400 font 'sans,11' background 'white'\n"
              f"set output '{name}.svg'\nset title '{title}'\nset grid ytics\nset key below horizontal\n"
              f"{settings}\n$d << EOD\n{block}\nEOD\nplot {plots}\n")
    subprocess.run(["gnuplot"], input=script, text=True, cwd=folder, check=True)
    return f"{name}.svg"


def draw(folder, data):
    if not shutil.which("gnuplot"):
        return []
    log = "set logscale y; set ylabel 'CPU per message, ns'"
    work = data["workloads"]
    names = list(next(iter(work.values()))["samples"])
    middle = lambda s: sorted(x["cpu_ns"] for x in s)[len(s) // 2]
    out = [plot(folder, "workloads", "CPU per message by workload",
                log + "; set style fill solid 0.8; set style data histogram", names,
                [[w, *(middle(d["samples"][n]) for n in names)] for w, d in work.items()], "histogram")]
    for name, s in data["series"].items():
        out.append(plot(folder, name, "CPU per message by " + s["axis"], log, ["ours", "floor"],
                        [[short(p["at"]), p["ours"], p["floor"]] for p in s["points"]]))
    percents = ["p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max"]
    lines = [(w, s) for w in ("d1", "d16", "c1000") for s in ("ours", "floor")]
    out.append(plot(folder, "latency", "Latency at full load",
                    "set logscale y; set ylabel 'ms'; set xlabel 'percentile'",
                    [f"{w}, {s}" for w, s in lines],
                    [[p, *(data["latency_ms"][w][s][p] for w, s in lines)] for p in percents]))
    stall = data["reload_ms"]
    out.append(plot(folder, "reload", "Latency during reloads, 5000 messages/s",
                    "set logscale y; set ylabel 'ms'; set xlabel 'percentile'", list(stall),
                    [[p, *(s[p] for s in stall.values())] for p in percents]))
    return out
