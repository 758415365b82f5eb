"""How things are measured: servers on one CPU, generators on another. Used by bench.py and pairs.py."""
import json
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import tempfile
import time

DISTURBED = 0.03  # of a window: waited for a CPU, or stolen by the hypervisor
STARVED = (3, 75)  # exit status of gen, of echo-client bench, when no message came back
READS = {"read", "readv", "recvfrom", "recvmsg"}
WRITES = {"write", "writev", "sendto", "sendmsg"}
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}

available = sorted(os.sched_getaffinity(0))
server_cpu = int(os.environ.get("SERVER_CPU", available[0]))
gen_cpu = int(os.environ.get("GEN_CPU", available[1 % len(available)]))
tmp = tempfile.TemporaryDirectory(prefix="bench.")
build = None  # set by who uses this


def on_cpus(*cpus):
    return lambda: os.sched_setaffinity(0, cpus)


def program(name):
    return os.path.join(build, "tests/bench", name)


def actor_pids(control, kinds):
    """Those whose ids begin with one of @kinds. The arbiter has other children, too."""
    out = subprocess.run([f"{build}/echo-client", "-C", control, "--timeout", "60", "--json", "actors"],
                         stdout=subprocess.PIPE, check=True)
    return [a["pid"] for a in json.loads(out.stdout) if a["id"].startswith(kinds)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A process that serves. Ours says on a descriptor that it is ready; others get a port."""

    def __init__(self, name, argv, gen_args=(), options=()):
        self.name, self.argv, self.gen_args, self.options = name, argv, gen_args, options
        self.process = None

    def is_ours(self):
        return os.path.basename(self.argv[-1]) in ("echo-arbiter", "pubsub")

    def start(self, workers=1, cpus=None, wrapper=(), patience=20, kinds=("worker.",)):
        run = tempfile.mkdtemp(dir=tmp.name)
        options = {"preexec_fn": on_cpus(*(cpus or [server_cpu])), "stdout": subprocess.DEVNULL,
                   "env": dict(os.environ, RUNTIME_DIRECTORY=run)}
        if self.is_ours():
            r, w = os.pipe()
            self.process = subprocess.Popen(
                [*wrapper, *self.argv, *self.options, "-b", "127.0.0.1:0", "-w", str(workers), "-l", "warning",
                 "--ready-fd", str(w)], pass_fds=[w], **options)
            os.close(w)
            line = os.read(r, 4096).decode() if select.select([r], [], [], patience)[0] else ""
            os.close(r)
            self.address = re.search(r"127\.0\.0\.1:\d+", line)[0]
            self.pids = actor_pids(os.path.join(run, "control"), kinds)
        else:
            port = free_port()
            self.process = subprocess.Popen([*wrapper, *self.argv, str(port)], **options)
            self.address, self.pids = f"127.0.0.1:{port}", [self.process.pid]
            self.wait_listening(port, patience)
        return self

    def wait_listening(self, port, patience):
        end = time.monotonic() + patience
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"bench: {self.name} does not start")
            time.sleep(0.02)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def unstarved(argv):
    """What it prints. Other load may starve a short window: then another one."""
    for _ in range(5):
        out = subprocess.run(argv, stdout=subprocess.PIPE, preexec_fn=on_cpus(gen_cpu))
        if out.returncode not in STARVED:
            break
    out.check_returncode()
    return out.stdout


def generate(server, seconds, *args):
    """One window of the bare generator."""
    argv = [program("gen"), "-a", server.address, "-p", ",".join(map(str, server.pids)),
            "-t", str(seconds), *args, *server.gen_args]
    messages, elapsed, cpu_ns, wait_ns, stolen_ns = map(float, unstarved(argv).split())
    return {"cpu_ns": cpu_ns / messages, "rate": messages / elapsed,
            "disturbed": max(wait_ns, stolen_ns) > DISTURBED * elapsed * 1e9}


def schedstat(pids):
    """Nanoseconds on a CPU and waiting for one."""
    fields = [open(f"/proc/{pid}/schedstat").read().split() for pid in pids]
    return [sum(int(f[i]) for f in fields) for i in (0, 1)]


def redis_benchmark(server, test, requests):
    """One run of redis-benchmark: 50 connections, 16 commands at once."""
    cpu_ns, wait_ns = schedstat(server.pids)
    began = time.monotonic()
    subprocess.run(["redis-benchmark", "-p", server.address.split(":")[1], "-t", test, "-P", "16", "-c", "50",
                    "-n", str(requests), "-q"], stdout=subprocess.DEVNULL, preexec_fn=on_cpus(gen_cpu),
                   check=True)
    elapsed = time.monotonic() - began
    after = schedstat(server.pids)
    return {"cpu_ns": (after[0] - cpu_ns) / requests, "rate": requests / elapsed,
            "disturbed": after[1] - wait_ns > DISTURBED * elapsed * 1e9}


def client_args(args):
    """The same load for echo-client bench, whose sizes do not count the separator."""
    out, it = [], iter(args)
    for a in it:
        out += ["--churn", "1"] if a == "-C" else [a, str(int(next(it)) - 4 * (a == "-s"))]
    return out if "-s" in args else [*out, "-s", "60"]


def client_bench(server, seconds, *args):
    """One window of echo-client bench: rate and latency percentiles."""
    argv = [os.path.join(build, "echo-client"), "-a", server.address, "bench", "--json",
            "--warmup", "300ms", "-t", str(seconds + 0.3), *args]
    return json.loads(unstarved(argv))


def alternate(servers, rounds, once):
    """once(server) for each in turn; every second round backwards. {name: [sample, ...]}"""
    samples = {s.name: [] for s in servers}
    for i in range(rounds):
        for s in servers if i % 2 == 0 else reversed(servers):
            samples[s.name].append(once(s))
    return samples


def median(samples, key):
    return statistics.median(s[key] for s in samples)


def ratio(over, under, key):
    """Median and quartiles of the rounds' own ratios; undisturbed rounds only, if three are left."""
    pairs = list(zip(over, under))
    clean = [p for p in pairs if not (p[0].get("disturbed") or p[1].get("disturbed"))]
    values = [a[key] / b[key] for a, b in (clean if len(clean) >= 3 else pairs)]
    low, mid, high = (statistics.quantiles(values, n=4, method="inclusive")
                      if len(values) > 1 else values * 3)
    return {"median": mid, "low": low, "high": high, "rounds": len(values)}


# ---- counts ----

def exactly(server, messages, args):
    """The generator with so many messages."""
    subprocess.run([program("gen"), "-a", server.address, "-n", str(messages), *args, *server.gen_args],
                   stdout=subprocess.DEVNULL, preexec_fn=on_cpus(gen_cpu), check=True)


def connections_of(args):
    return int(args[args.index("-c") + 1])


def depth_of(args):
    return int(args[args.index("-d") + 1]) if "-d" in args else 1


def perf_events():
    names = [n for n in READS | WRITES | WAITS
             if os.path.exists(f"/sys/kernel/tracing/events/syscalls/sys_enter_{n}")]
    return ",".join(["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{n}" for n in sorted(names))])


def has_perf():
    try:
        out = subprocess.run(["perf", "stat", "-x,", "-e", perf_events(), "true"],
                             capture_output=True, text=True)
        return out.returncode == 0 and "<not" not in out.stderr and "raw_syscalls" in out.stderr
    except OSError:
        return False


class PerfTrace:
    """System calls of a process by tracepoints: it runs on undisturbed."""

    def __init__(self, pid):
        control, ours = os.pipe()
        theirs, ack = os.pipe()
        self.process = subprocess.Popen(
            ["perf", "stat", "-x,", "-p", str(pid), "-e", perf_events(), "-D", "-1",
             "--control", f"fd:{control},{ack}"], stderr=subprocess.PIPE, text=True,
            pass_fds=[control, ack])
        os.write(ours, b"enable\n")
        os.read(theirs, 16)
        for fd in (control, ours, theirs, ack):
            os.close(fd)

    def finish(self):
        self.process.send_signal(signal.SIGINT)
        calls = {}
        for line in self.process.communicate()[1].splitlines():
            field = line.split(",")
            if len(field) > 2 and field[0].isdigit():
                calls[re.sub(r".*sys_enter_?", "", field[2]) or "all"] = int(field[0])
        return calls


class Strace:
    """The same where tracepoints are not to be had."""

    def __init__(self, pid):
        self.file = os.path.join(tmp.name, "strace")
        self.process = subprocess.Popen(["strace", "-qq", "-c", "-o", self.file, "-p", str(pid)],
                                        stderr=subprocess.DEVNULL)
        while not re.search(r"TracerPid:\s*[1-9]", open(f"/proc/{pid}/status").read()):
            if self.process.poll() is not None:
                raise SystemExit("bench: strace cannot attach")
            time.sleep(0.01)

    def finish(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        calls = {}
        for line in open(self.file):
            field = line.split()
            if len(field) >= 4 and field[0][0].isdigit():
                name = "all" if field[-1] == "total" else field[-1]
                calls[name] = int(field[3])
        return calls


def count_calls(server, trace, batches, args):
    """System calls a message: reads, writes, epoll_waits, all. Of a long and a short run the
    difference, so that connecting is not counted; with churn a message is a connection."""
    runs = []
    for n in (batches, 3 * batches):
        messages = n * connections_of(args) * depth_of(args)
        tracer = trace(server.pids[0])
        exactly(server, messages, args)
        runs.append((tracer.finish(), messages))
    (calls0, m0), (calls1, m1) = runs
    calls = {name: n - calls0.get(name, 0) for name, n in calls1.items()}
    return {kind: sum(n for name, n in calls.items() if name in names) / (m1 - m0)
            for kind, names in (("reads", READS), ("writes", WRITES), ("waits", WAITS),
                                ("all", {"all"}))}


def instructions(server, args):
    """User instructions per message, by callgrind: the difference of a long and a short run."""
    runs = []
    # A worker that has dropped its rights and is in a sandbox cannot write callgrind's file.
    options = server.options
    if server.is_ours():
        conf = os.path.join(tmp.name, "callgrind.conf")
        user = 'user = "root"; ' if os.geteuid() == 0 else ""
        with open(conf, "w") as f:
            f.write(f'arbiter: {{ {user}sandbox = "off"; }};\n')
        server.options = ["-c", conf]
    for batches in (200, 700):
        messages = batches * connections_of(args) * depth_of(args)
        file = os.path.join(tmp.name, "callgrind.%p")
        with server.start(wrapper=["valgrind", "-q", "--tool=callgrind",
                                   f"--callgrind-out-file={file}"], patience=60):
            pid = server.pids[0]
            exactly(server, messages, args)
        text = open(file.replace("%p", str(pid))).read()
        runs.append((int(re.search(r"^(?:summary|totals): (\d+)", text, re.M)[1]), messages))
    server.options = options
    (i0, m0), (i1, m1) = runs
    return (i1 - i0) / (m1 - m0)


def resident(server, n):
    """Bytes a connection of n idle ones."""
    out = subprocess.run([program("hold"), "-a", server.address, "-p",
                          ",".join(map(str, server.pids)), "-m", "-n", str(n)],
                         stdout=subprocess.PIPE, check=True)
    return float(out.stdout)


def spread(server, args):
    """Most and least loaded worker, and milliseconds."""
    out = subprocess.run([program("hold"), "-a", server.address, "-p",
                          ",".join(map(str, server.pids)), *args],
                         stdout=subprocess.PIPE, check=True)
    return [float(x) for x in out.stdout.split()]
