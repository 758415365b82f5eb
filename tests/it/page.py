#!/usr/bin/python3
"""The status page in a browser without a screen: page.py URL ECHO_ADDRESS [DIRECTORY]

Looks at it in four sizes and both colour schemes, clicks through it, and has messages sent to ECHO_ADDRESS (host:port)
that it must show. The server has had a crash, a change and a note with markup. Pictures go to DIRECTORY. Names what is
wrong and exits 1 then; 77 if there is no chromium.
The browser is spoken to over a pair of pipes (--remote-debugging-pipe): JSON, each ended by a NUL.
"""
import base64
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request

LOOKS = [("wide", 1280, 900, "light"), ("tablet", 820, 1100, "dark"), ("phone", 360, 740, "light"), ("narrow", 320, 640, "dark")]
WAIT_S = 8
problems = []


def must(is_right, text):
    if not is_right:
        problems.append(text)


class Browser:
    """One page in one browser."""

    def __init__(self, home):
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if not program:
            print("skipped: there is no chromium here; apt-get install chromium")
            sys.exit(77)
        self.said, self.last, self.rest, self.session = [], 0, b"", None
        to_read, self.to_write = os.pipe()
        self.to_read, to_write = os.pipe()
        # The browser has them as 3 and 4: out of the way of these.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]
        options = ["--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + home, "--disable-gpu", "--no-first-run",
                   "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
                   "--disable-component-update", "--disable-sync", "--mute-audio", "--hide-scrollbars", "about:blank"]
        if os.geteuid() == 0:
            options.insert(0, "--no-sandbox")
        command = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]} {ends[0]}<&- {ends[1]}>&-'
        self.process = subprocess.Popen(["bash", "-c", command, program] + options, pass_fds=ends,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env=dict(os.environ, HOME=home), start_new_session=True)
        for end in ends + [to_read, to_write]:
            os.close(end)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
        except (BrokenPipeError, EOFError):
            print(f"skipped: {program} does not start here, perhaps since it may not make its sandbox")
            sys.exit(77)
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in "Runtime", "Log", "Page", "Network":
            self.call(domain + ".enable")

    def message(self):
        while b"\0" not in self.rest:
            more = os.read(self.to_read, 1 << 20)
            if not more:
                raise EOFError("the browser has ended")
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.last += 1
        request = {"id": self.last, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to_write, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.last:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']['message']}")
                return answer["result"]
            name, p = answer.get("method", ""), answer.get("params", {})
            if name == "Runtime.exceptionThrown":
                self.said.append(p["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            elif name == "Runtime.consoleAPICalled":
                self.said.append(str([a.get("value") for a in p["args"]]))
            elif name == "Log.entryAdded":
                self.said.append(p["entry"]["text"])

    def ask(self, expression):
        """The value of an expression; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition, what):
        """Until it holds: asked anew with each frame."""
        is_so = self.ask("new Promise(done => { const end = performance.now() + %d; const look = () => {"
                         " if (%s) done(true); else if (performance.now() > end) done(false); else setTimeout(look, 20); };"
                         " look(); })" % (1000 * WAIT_S, condition))
        must(is_so, what)
        return is_so

    def click(self, selector):
        x, y = self.ask("(() => { const e = document.querySelector(%s); e.scrollIntoView({block: 'center'});"
                        " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
                        % json.dumps(selector))
        for kind in "mousePressed", "mouseReleased":
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=False)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def end(self):
        try:
            os.write(self.to_write, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            self.process.wait(WAIT_S)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


# What sticks out of the window, is cut off, or can hardly be read against what is behind it.
FAULTS = """(() => {
    const faults = [], width = document.documentElement.clientWidth;
    const colour = text => text.match(/[\\d.]+/g).map(Number);
    const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                         return .2126 * r + .7152 * g + .0722 * b; };
    if (document.documentElement.scrollWidth > width) faults.push("the page is wider than the window");
    for (const e of document.body.querySelectorAll("*")) {
        const r = e.getBoundingClientRect(), style = getComputedStyle(e);
        const own = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("").trim();
        if (!own || r.width === 0 || e.closest("script, style, noscript")) continue;
        const range = document.createRange();
        range.selectNodeContents(e);
        const t = range.getBoundingClientRect();
        if (t.right > width + 1 || t.left < -1) faults.push("sticks out: " + own.slice(0, 40));
        if (e.scrollWidth > e.clientWidth + 1 && style.display !== "inline" && style.overflow !== "visible") faults.push("is cut off: " + own.slice(0, 40));
        let back = e;
        while (back && colour(getComputedStyle(back).backgroundColor)[3] === 0) back = back.parentElement;
        const a = light(colour(style.color).slice(0, 3)), b = light(colour(getComputedStyle(back || document.body).backgroundColor).slice(0, 3));
        if ((Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5) faults.push("is pale: " + own.slice(0, 40));
    }
    const tiles = [...document.querySelectorAll(".tile")].map(e => e.getBoundingClientRect());
    tiles.forEach((a, i) => tiles.slice(i + 1).forEach(b => {
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) faults.push("tiles overlap"); }));
    return [...new Set(faults)];
})()"""


def send(address, messages):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as s:
        for _ in range(messages):
            s.sendall(b"from the test of the page\r\n\r\n")
            if not s.recv(4096):
                sys.exit("the server does not echo")


def look_around(b, directory):
    backs = {}
    for name, width, height, scheme in LOOKS:
        b.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for fault in b.ask(FAULTS):
            must(False, f"{name}, {scheme}: {fault}")
        back = b.ask("getComputedStyle(document.body).backgroundColor")
        must(backs.setdefault(scheme, back) == back, f"{name}: another {scheme} background")
        if directory:
            for at in "top", "end":
                b.ask(f"scrollTo(0, {0 if at == 'top' else 'document.body.scrollHeight'})")
                b.picture(os.path.join(directory, f"page-{name}-{scheme}-{at}.png"))
    must(len(set(backs.values())) == 2, "light and dark have one background")


def click_through(b, address):
    total = "document.querySelector('#t-msgs').children[2].textContent"
    asked = "performance.getEntriesByType('resource').length"
    before = b.ask(total)
    send(address, 3)
    b.wait(f"{total} !== {json.dumps(before)}", "messages that are sent do not show")
    b.click("#pause")
    b.wait("document.querySelector('#pause').textContent === 'Go on' && !asking", "Pause does not pause")
    at, before = b.ask(asked), b.ask(total)
    send(address, 3)
    b.ask("new Promise(done => setTimeout(done, 1.2 * EVERY_MS))")
    must(b.ask(asked) == at and b.ask(total) == before, "it asks although it is paused")
    b.click("#pause")
    b.wait(f"{total} !== {json.dumps(before)}", "it does not go on")
    for name in "more", "setup":
        must(not b.ask(f"document.querySelector('#{name}').open"), f"{name} is open from the start")
        b.click(f"#{name} summary")
        must(b.ask(f"document.querySelector('#{name}').open"), f"{name} does not open")
    must(b.ask("document.querySelectorAll('#counters tbody tr').length") > 20, "the counters are missing")
    must(b.ask("document.querySelectorAll('#server dd').length") > 5, "the server's own values are missing")


def go_offline(b, directory):
    """A console that says that nothing could be loaded is right then."""
    b.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    b.wait("document.body.classList.contains('stale') && /No answer/.test(document.querySelector('#notes').textContent)",
           "it does not say that the server is gone")
    if directory:
        b.ask("scrollTo(0, 0)")
        b.picture(os.path.join(directory, "page-offline.png"))
    b.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    must(b.ask("document.querySelector('#state').textContent") == "no answer", "it goes on to say that the server is ready")
    b.wait("!document.body.classList.contains('stale') && document.querySelector('#state').textContent === 'ready'", "it does not come back")


def main():
    url, address = sys.argv[1:3]
    directory = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        b = Browser(home)
        try:
            with urllib.request.urlopen(url, timeout=WAIT_S) as page:
                policy = page.headers.get("Content-Security-Policy", "")
            must("default-src 'none'" in policy and "unsafe" not in policy, f"the policy of the page: {policy!r}")
            b.call("Page.navigate", url=url + "#0.25")
            if b.wait("typeof before !== 'undefined' && before && rates.requests !== undefined",
                      "nothing comes to the page"):
                must(b.ask("document.querySelectorAll('img, iframe, object').length") == 0, "a text has become an element")
                must(b.ask("document.querySelector('#notes').textContent.includes('<img')"), "the note is not shown as it is")
                for name in "workers", "actors", "crashes", "changes":
                    must(b.ask(f"document.querySelectorAll('#{name} tbody tr').length") > 0, f"there are no {name}")
                click_through(b, address)
                look_around(b, directory)
            for line in b.said:
                must(False, f"the console: {line}")
            go_offline(b, directory)
        finally:
            b.end()
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


main()
