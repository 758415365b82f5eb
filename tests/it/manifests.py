#!/usr/bin/python3
"""The files of conf/container against the programs: manifests.py BUILD [DIRECTORY]

Names each number and word that does not fit the others; exits 1 then, 77 if YAML cannot be read here.
"""
import os
import re
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    print("skipped: there is no python3-yaml")
    sys.exit(77)

build, where = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "conf/container"
problems = []


def must(is_right, text):
    if not is_right:
        problems.append(text)


def read(name):
    with open(os.path.join(where, name), encoding="utf-8") as f:
        return f.read()


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def seconds(text):
    return float(text[:-1]) if str(text).endswith("s") else float(text)


def settings(name, text, *words):
    """What the server makes of a configuration and more words: key to value."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write(text)
        f.flush()
        shown = run(build + "/echo-arbiter", "-T", "-c", f.name, *words)
    must(shown.returncode == 0, f"{name}: {shown.stderr.strip()}")
    values, group = {}, ""
    for line in shown.stdout.splitlines():
        opened = re.match(r"(\w+)\s*[:=]\s*\{?$", line.strip())
        value = re.match(r"(\w+)\s*=\s*(.*?);", line.strip())
        if value:
            values[f"{group}.{value[1]}"] = value[2].strip('"')
        elif opened:
            group = opened[1]
    return values


def port_of(config):
    return int(re.search(r":(\d+)\W*$", config["server.bind"])[1])


def must_be_seen(name, probe, ports, config):
    address = config["status.bind"]
    must(probe["path"] == "/health/ready", f"{name}: {probe['path']} is not /health/ready")
    must({"name": probe["port"], "containerPort": int(address.rpartition(":")[2])} in ports,
         f"{name}: port {probe['port']} is not that of status.bind, {address}")


def must_have_time(name, grace, config):
    need = float(config["arbiter.stop_delay"]) + float(config["arbiter.exit_timeout"]) + 1
    must(grace >= need, f"{name}: {grace:g} s of grace, stop_delay + exit_timeout + 1 s are {need:g} s")


def must_be_probe(name, words):
    must(words[0] == "echo-client", f"{name}: {words[0]} is not in the image")
    nowhere = ["-a", "unix:/nonexistent/echo"] if "ping" in words else ["-C", "/nonexistent/control"]
    tried = run(build + "/echo-client", *words[1:], *nowhere, "--timeout", "1")
    must(tried.returncode in (1, 69), f"{name}: {' '.join(words)}: {tried.stderr.strip()}")


docker = read("Dockerfile")
image = settings("echo.conf", read("echo.conf"))
port = port_of(image)
user = re.search(r"^USER (\d+):(\d+)$", docker, re.M)
check = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", docker, re.M)
volume = re.search(r"RUNTIME_DIRECTORY=(\S+)", docker)[1]
must(user and int(user[1]) > 0, "Dockerfile: USER is no number above 0")
must(re.search(r"^STOPSIGNAL SIGTERM$", docker, re.M), "Dockerfile: no STOPSIGNAL SIGTERM")
must(f"EXPOSE {port}\n" in docker, f"Dockerfile: port {port} is not exposed")
must(f"/image{volume}\n" in docker, f"Dockerfile: no directory {volume}")
must_have_time("docker stop", 10, image)
must_be_probe("Dockerfile", yaml.safe_load(check[1]))

echo = yaml.safe_load(read("compose.yaml"))["services"]["echo"]
must(echo["read_only"] is True, "compose: the root can be written")
must(echo["user"] == f"{user[1]}:{user[2]}", "compose: another user than in the Dockerfile")
must(echo["cap_drop"] == ["ALL"], "compose: capabilities are left")
must("no-new-privileges:true" in echo["security_opt"], "compose: new privileges")
must([t.split(":")[0] for t in echo["tmpfs"]] == [volume], f"compose: no tmpfs at {volume}")
must(echo["ports"] == [f"{port}:{port}"], f"compose: not port {port}")
must(echo["healthcheck"]["test"][0] == "CMD", "compose: there is no shell for the health check")
must_be_probe("compose", echo["healthcheck"]["test"][1:])
must(echo["command"][:2] == yaml.safe_load(re.search(r"^CMD (\[.*\])$", docker, re.M)[1]), "compose: another file")
must_have_time("compose", seconds(echo["stop_grace_period"]),
               settings("compose", read("echo.conf"), *echo["command"][2:]))

objects = {o["kind"]: o for o in yaml.safe_load_all(read("kubernetes.yaml"))}
pod = objects["Deployment"]["spec"]["template"]
spec, served = pod["spec"], pod["spec"]["containers"][0]
config = settings("kubernetes", objects["ConfigMap"]["data"]["echo.conf"])
ready, live = served["readinessProbe"], served["livenessProbe"]
secure, contained = spec["securityContext"], served["securityContext"]
must(secure["runAsNonRoot"] is True and secure["runAsUser"] == int(user[1]), "kubernetes: the user")
must(secure["seccompProfile"]["type"] == "RuntimeDefault", "kubernetes: no seccomp profile")
must(contained["readOnlyRootFilesystem"] is True, "kubernetes: the root can be written")
must(contained["allowPrivilegeEscalation"] is False, "kubernetes: privileges may be gained")
must(contained["capabilities"] == {"drop": ["ALL"]}, "kubernetes: capabilities are left")
must(served["ports"][0]["containerPort"] == port_of(config), "kubernetes: the port")
must(objects["Service"]["spec"]["ports"][0]["targetPort"] == served["ports"][0]["name"], "kubernetes: no such port")
must(objects["Service"]["spec"]["selector"].items() <= pod["metadata"]["labels"].items(), "kubernetes: no such pod")
must({m["name"] for m in served["volumeMounts"]} == {v["name"] for v in spec["volumes"]}, "kubernetes: volumes")
must(volume in [m["mountPath"] for m in served["volumeMounts"]], f"kubernetes: nothing at {volume}")
must(served["args"][1].startswith(served["volumeMounts"][0]["mountPath"] + "/"), "kubernetes: the configuration is elsewhere")
must_be_seen("kubernetes: readiness", ready["httpGet"], served["ports"], config)
must_be_probe("kubernetes: liveness", live["exec"]["command"])
must_have_time("kubernetes", spec["terminationGracePeriodSeconds"], config)
seen = ready["periodSeconds"] * ready["failureThreshold"] + ready["timeoutSeconds"]
must(seen < float(config["arbiter.stop_delay"]), f"kubernetes: it takes {seen} s to see that it is not ready")
boots = live["initialDelaySeconds"]
must(boots > float(config["arbiter.boot_timeout"]), f"kubernetes: alive after {boots} s, boot_timeout is longer")

for problem in problems:
    print(problem)
sys.exit(1 if problems else 0)
