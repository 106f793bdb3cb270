"""What kustomize renders, read strictly, and the questions that checks ask of it."""

import base64
import re
import subprocess

import yaml


class Broken(Exception):
    """The manifests cannot even be rendered or read."""


class Strict(yaml.SafeLoader):
    """A key given twice is an error; YAML would keep the last one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise Broken(f"line {key.start_mark.line + 1}: the key {key.value} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text):
    try:
        return [d for d in yaml.load_all(text, Strict) if d is not None]
    except yaml.YAMLError as why:
        raise Broken(str(why)) from why


def render(kustomize, directory):
    done = subprocess.run([kustomize, "build", directory], capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or "Warning" in done.stderr:
        raise Broken(done.stderr.strip())
    return parse(done.stdout)


def title(doc):
    return f"{doc.get('kind')} {doc.get('metadata', {}).get('name')}"


class Workload:
    """A Deployment's or a CronJob's pod template."""

    def __init__(self, doc):
        self.doc, self.title, self.spec = doc, title(doc), doc["spec"]
        self.job = self.spec["jobTemplate"]["spec"] if doc["kind"] == "CronJob" else None
        template = (self.job or self.spec)["template"]
        self.labels = template["metadata"].get("labels", {})
        self.pod = template["spec"]
        self.container = self.pod["containers"][0]
        self.program = self.container.get("command", [""])[0]

    def volumes(self):
        return {v["name"]: v for v in self.pod.get("volumes", [])}

    def mount_of(self, path):
        """The volume and the mount that a path lies on; (None, None) on the image's own file system."""
        best = None
        for m in self.container.get("volumeMounts", []):
            at = m["mountPath"].rstrip("/")
            if (path == at or path.startswith(at + "/")) and (not best or len(at) > len(best["mountPath"])):
                best = m
        return (self.volumes().get(best["name"]), best) if best else (None, None)


class Manifests:
    """docs as rendered; outside: Secrets that somebody else brings."""

    def __init__(self, docs, outside=()):
        self.docs = docs
        self.workloads = [Workload(d) for d in docs if d["kind"] in ("Deployment", "StatefulSet", "CronJob")]
        self.outside = [d for d in outside if title(d) not in map(title, docs)]

    def of_kind(self, kind):
        return [d for d in self.docs if d["kind"] == kind]

    def values(self, kind, name):
        """A ConfigMap's or a Secret's keys and values; None when there is none of that name."""
        for doc in self.docs + self.outside:
            if doc["kind"] == kind and doc["metadata"]["name"] == name:
                coded = {k: base64.b64decode(v).decode() for k, v in doc.get("data", {}).items()} \
                    if kind == "Secret" else doc.get("data", {})
                return {**coded, **doc.get("stringData", {})}
        return None

    def environment(self, workload):
        """(variables as the container will see them, what is wrong). A field of the pod is its path in <>; a Secret
        that is filled elsewhere has a stand-in."""
        env, wrong = {}, []
        for item in workload.container.get("env", []):
            name, source = item["name"], item.get("valueFrom", {})
            if name in env:
                wrong.append(f"{workload.title}: {name} is set twice")
            if "fieldRef" in source:
                env[name] = f"<{source['fieldRef']['fieldPath']}>"
                continue
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in source:
                    ref = source[field]
                    have = self.values(kind, ref["name"])
                    if have is None:
                        wrong.append(f"{workload.title}: {name} is from {kind} {ref['name']}, which does not exist")
                    elif ref["key"] not in have:
                        wrong.append(f"{workload.title}: {name} is from key {ref['key']} of {kind} {ref['name']}, "
                                     f"which has {', '.join(sorted(have)) or 'none'}")
                    else:
                        env[name] = have[ref["key"]] or "stand-in"
                    break
            else:
                text = item.get("value", "")
                for used in re.findall(r"\$\((\w+)\)", text):
                    if used not in env:
                        wrong.append(f"{workload.title}: {name} uses $({used}), which is not set before it")
                env[name] = re.sub(r"\$\((\w+)\)", lambda m: env.get(m[1], m[0]), text)
        return env, wrong
