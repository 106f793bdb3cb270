"""The real programs, asked what they make of a container's arguments, environment and config file."""

import os
import re
import subprocess
import tempfile

# Said by the manifests before the programs know them; once a program does, its own word counts.
COMING_OPTIONS = {"cache", "registry-password"}
COMING_VERBS = {"retrain": {"config", "registry", "name", "data"}}


def rows(text):
    return set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M))


class Programs:
    def __init__(self, worker, trainer):
        self.paths = {"rubric-worker": os.path.abspath(worker), "rubric-trainer": os.path.abspath(trainer)}
        said = subprocess.run([worker, "run", "--print-docs"], capture_output=True, text=True, check=True).stdout
        self.worker_options = rows(said)
        said = subprocess.run([trainer, "--print-docs"], capture_output=True, text=True, check=True).stdout
        self.trainer_verbs = {s.split()[0]: rows(s) for s in re.split(r"^## ", said, flags=re.M)[1:]}

    def options(self, program, verb):
        """Names of a verb's options; None when there is no such verb."""
        if program == "rubric-worker":
            return self.worker_options | COMING_OPTIONS if verb == "run" else None
        known = self.trainer_verbs.get(verb, COMING_VERBS.get(verb))
        return known and known | COMING_OPTIONS

    def effective(self, workload, env, manifests):
        """(options as the container would run with, None), or (None, why the program refuses them). Mounted ConfigMaps
        become files; the verb becomes check-config."""
        args = workload.container.get("args", [])
        with tempfile.TemporaryDirectory() as root:
            for m in workload.container.get("volumeMounts", []):
                volume = workload.volumes().get(m["name"], {})
                if "configMap" not in volume:
                    continue
                os.makedirs(root + m["mountPath"])
                for key, value in (manifests.values("ConfigMap", volume["configMap"]["name"]) or {}).items():
                    with open(os.path.join(root + m["mountPath"], key), "w", encoding="utf-8") as f:
                        f.write(value)
                args = [a.replace(m["mountPath"] + "/", root + m["mountPath"] + "/") for a in args]
            return self.ask(workload.program, args, env, root)

    def ask(self, program, args, env, root):
        def call(words):
            done = subprocess.run([self.paths[program]] + words, env={**env, "PATH": "/usr/bin:/bin"}, timeout=60,
                                  capture_output=True, text=True, cwd=root)
            return done.returncode, done.stdout, (done.stderr or done.stdout).replace(root, "").strip()

        verb = args[0] if args else ""
        if program == "rubric-worker":
            status, _, why = call(["check-config"] + args[1:])
            if status != 0:
                return None, f"{program} check-config exits {status}: {why}"
        elif verb in COMING_VERBS and verb not in self.trainer_verbs:
            return {}, None
        status, said, why = call([verb] + args[1:] + ["--print-config"])
        if status != 0:
            return None, f"{program} {verb} exits {status}: {why}"
        return dict(line.split(" = ", 1) for line in said.splitlines() if " = " in line), None
