"""The real programs, asked what they make of a container's arguments, environment and config file."""

import os
import re
import subprocess
import tempfile

# Read by the registry itself, whichever program opens it (models/redis.h).
READ_BY_THE_REGISTRY = {"redis-password"}


def rows(text):
    return set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M))


class Programs:
    def __init__(self, worker, trainer):
        self.paths = {"rubric-worker": os.path.abspath(worker), "rubric-trainer": os.path.abspath(trainer)}
        said = subprocess.run([worker, "run", "--print-docs"], capture_output=True, text=True, check=True).stdout
        self.worker_options = rows(said)
        said = subprocess.run([trainer, "--print-docs"], capture_output=True, text=True, check=True).stdout
        self.answers = {}
        self.trainer_verbs = {s.split()[0]: rows(s) for s in re.split(r"^## ", said, flags=re.M)[1:]}

    def options(self, program, verb):
        """Names of a verb's options; None when there is no such verb."""
        if program == "rubric-worker":
            return self.worker_options | READ_BY_THE_REGISTRY if verb == "run" else None
        return self.trainer_verbs[verb] | READ_BY_THE_REGISTRY if verb in self.trainer_verbs else None

    def statuses(self, verb):
        """Exit statuses of a trainer's verb that its help explains, errors (64 and up) and success left out."""
        if verb not in self.trainer_verbs:
            return set()
        said = subprocess.run([self.paths["rubric-trainer"], verb, "--help"], capture_output=True, text=True, check=True)
        return {int(n) for n in re.findall(r"^  (\d+)  +\S", said.stdout.partition("exit status")[2], re.M) if 0 < int(n) < 64}

    def effective(self, workload, env, manifests):
        """(options as the container would run with, None), or (None, why the program refuses them). Mounted ConfigMaps
        become files; the verb becomes check-config."""
        args, files = workload.container.get("args", []), {}
        for m in workload.container.get("volumeMounts", []):
            volume = workload.volumes().get(m["name"], {})
            for key, value in (manifests.values("ConfigMap", volume.get("configMap", {}).get("name")) or {}).items():
                files[os.path.join(m["mountPath"], key)] = value
        asked = repr((workload.program, args, env, files))
        if asked not in self.answers:
            with tempfile.TemporaryDirectory() as root:
                for path, text in files.items():
                    os.makedirs(os.path.dirname(root + path), exist_ok=True)
                    with open(root + path, "w", encoding="utf-8") as f:
                        f.write(text)
                args = [root + a if a in files else a for a in args]
                self.answers[asked] = self.ask(workload.program, args, env, root)
        return self.answers[asked]

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
        status, said, why = call([verb] + args[1:] + ["--print-config"])
        if status != 0:
            return None, f"{program} {verb} exits {status}: {why}"
        return dict(line.split(" = ", 1) for line in said.splitlines() if " = " in line), None
