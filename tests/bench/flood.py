#!/usr/bin/env python3
"""What one client that connects as fast as it can does to the others: flood.py BUILD [RUNS]

An honest client sends a message every 10 ms on each of 20 connections, and every 20 ms it connects anew and
sends one message there. Both are timed without a flood, with a flood on another server of the same machine
(which costs the CPU, but not the place in the queue), and with it on the same server. The flood connects and
resets; or connects, sends a message and reads it before; or connects and stays. Medians of RUNS are printed.
"""
import heapq, os, re, resource, signal, socket, statistics, struct, subprocess, sys, time

SECONDS = 4
MESSAGE = b'x' * 60 + b'\r\n\r\n'
RESET = struct.pack('ii', 1, 0)


def start(build, tmp):
    reader, writer = os.pipe()
    server = subprocess.Popen([build + '/echo-arbiter', '-b', '127.0.0.1:0', '-w', '2', '-l', 'warning', '--ready-fd',
                               str(writer)], pass_fds=[writer], env={**os.environ, 'RUNTIME_DIRECTORY': tmp})
    os.close(writer)
    line = os.read(reader, 4096).decode()
    os.close(reader)
    return server, ('127.0.0.1', int(re.search(r'127\.0\.0\.1:(\d+)', line).group(1)))


def connect(address):
    s = socket.create_connection(address, timeout=10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def echo(s):
    s.sendall(MESSAGE)
    got = 0
    while got < len(MESSAGE):
        n = len(s.recv(len(MESSAGE) - got))
        if n == 0:
            raise OSError('end of file')
        got += n


def flood(address, kind, pipe, source):
    """Runs until it is killed; says each tenth of a second how often it has connected."""
    n, kept, said = 0, [], time.monotonic()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100
    while True:
        now = time.monotonic()
        if now - said >= 0.1:
            os.write(pipe, b'%d\n' % n)
            n, said = 0, now
        s = socket.socket()
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            s.settimeout(5)
            s.bind((source, 0))
            s.connect(address)
            n += 1
            if kind == 'message':
                echo(s)
            elif kind == 'stay':
                kept.append(s)
                if len(kept) == most:
                    kept.clear()
                continue
        except OSError:
            pass
        s.close()


def percentiles(samples):
    samples.sort()
    return [1e3 * samples[len(samples) // 2], 1e3 * samples[len(samples) * 99 // 100]]


def honest(address):
    """Timed from when it was due, so that what waits behind a late one counts as late, too."""
    lasting = [connect(address) for _ in range(20)]
    messages, connects, failed = [], [], 0
    begin = time.monotonic()
    due = [(begin + i * 0.0005, i) for i in range(20)] + [(begin, -1)]
    heapq.heapify(due)
    while due[0][0] < begin + SECONDS:
        at, who = heapq.heappop(due)
        time.sleep(max(0, at - time.monotonic()))
        try:
            if who >= 0:
                echo(lasting[who])
                messages.append(time.monotonic() - at)
            else:
                with connect(address) as s:
                    echo(s)
                connects.append(time.monotonic() - at)
        except OSError:
            failed += 1
        heapq.heappush(due, (at + (0.01 if who >= 0 else 0.02), who))
    for s in lasting:
        s.close()
    return percentiles(messages) + percentiles(connects) + [failed]


def run(kind, flooded, measured):
    """Figures of the honest client, and the connects per second of the flood."""
    reader, writer = os.pipe()
    pids = []
    for i in range(2 if kind else 0):
        pid = os.fork()
        if pid == 0:
            flood(flooded, kind, writer, '127.0.0.%d' % (2 + i))
        pids.append(pid)
    os.close(writer)
    time.sleep(1 if kind else 0) # let it get going
    figures = honest(measured)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with os.fdopen(reader) as f:
        rates = [int(line) for line in f if line.strip()]
    return figures + [sum(rates) / max(1, len(rates)) * 10 * len(pids)]


def main():
    build, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    tmp = subprocess.check_output(['mktemp', '-d'], text=True).strip()
    os.mkdir(tmp + '/a'), os.mkdir(tmp + '/b')
    one, address = start(build, tmp + '/a')
    other, elsewhere = start(build, tmp + '/b')
    try:
        print('%-34s %22s %22s %7s %10s' % ('', 'message: 50 %, 99 % ms', 'connect: 50 %, 99 % ms', 'failed', 'flood 1/s'))
        for title, kind, flooded in [('no flood', None, None)] + [
                ('%s, %s' % (kind, where), kind, to) for kind in ('reset', 'message', 'stay')
                for where, to in (('on another server', elsewhere), ('on this server', address))]:
            all_runs = [run(kind, flooded, address) for _ in range(runs)]
            m = [statistics.median(column) for column in zip(*all_runs)]
            print('%-34s %10.2f %11.2f %10.2f %11.2f %7d %10d' % (title, *m), flush=True)
    finally:
        for server in (one, other):
            server.terminate()
            server.wait()
        subprocess.run(['rm', '-rf', tmp], check=False)


main()
