"""What no schema says: that the manifests fit each other, the programs and the image. Each check yields sentences about
what is wrong."""

import re

SUFFIX = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
FETCHED_MB = 512  # a version that comes in beside the cache
LEAVING_MS = 10000  # beyond the drain: leaving the group, closing connections
TRY_AGAIN = {4}  # retrain: the lock of a run that was killed is still there, or production changed meanwhile
VOLUMES = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI"}


def quantity(text):
    number, suffix = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    return float(number) * SUFFIX[suffix]


def names(m):
    """One namespace, no name twice, no empty values (which the schemas let pass)."""
    seen, spaces = set(), set()
    for d in m.docs:
        key = (d["kind"], d["metadata"]["name"])
        if key in seen:
            yield f"{key[0]} {key[1]} is there twice"
        seen.add(key)
        if d["kind"] != "Namespace":
            spaces.add(d["metadata"].get("namespace", ""))
        yield from (f"{key[0]} {key[1]}: {path} is empty" for path in nulls(d, ""))
    if len(spaces) > 1:
        yield f"more than one namespace: {', '.join(sorted(spaces))}"
    for d in m.of_kind("Namespace"):
        if d["metadata"]["name"] not in spaces:
            yield f"nothing is in namespace {d['metadata']['name']}"


def nulls(value, path):
    if value is None:
        yield path
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nulls(below, f"{path}.{key}".lstrip("."))


def selectors(m):
    """Whoever selects pods selects those of exactly one workload."""
    for d in m.docs:
        selector = d.get("spec", {}).get("selector")
        if selector is None or d["kind"] == "PersistentVolumeClaim":
            continue
        wanted = selector if d["kind"] == "Service" else selector.get("matchLabels", {})
        hit = [w for w in m.workloads if wanted and wanted.items() <= w.labels.items()]
        if len(hit) != 1 or (d["kind"] == "Deployment" and hit[0].doc is not d):
            yield f"{d['kind']} {d['metadata']['name']} selects the pods of {[w.title for w in hit] or 'nothing'}"
    for w in m.workloads:
        for spread in w.pod.get("topologySpreadConstraints", []):
            if not spread["labelSelector"]["matchLabels"].items() <= w.labels.items():
                yield f"{w.title}: topologySpreadConstraints selects other pods"


def references(m):
    """Every name that a pod gives exists, and every volume is mounted."""
    accounts = {d["metadata"]["name"]: d for d in m.of_kind("ServiceAccount")}
    claims = {d["metadata"]["name"] for d in m.of_kind("PersistentVolumeClaim")}
    for w in m.workloads:
        yield from m.environment(w)[1]
        if w.pod.get("serviceAccountName") not in accounts:
            yield f"{w.title}: no ServiceAccount {w.pod.get('serviceAccountName')}"
        mounts = w.container.get("volumeMounts", [])
        for mount in mounts:
            if mount["name"] not in w.volumes():
                yield f"{w.title}: mounts {mount['name']}, which is no volume"
        for name, volume in w.volumes().items():
            if name not in [mount["name"] for mount in mounts]:
                yield f"{w.title}: volume {name} is mounted nowhere"
            for kind, field in (("configMap", "name"), ("secret", "secretName")):
                if kind in volume and m.values(kind[0].upper() + kind[1:], volume[kind][field]) is None:
                    yield f"{w.title}: volume {name} is of {kind} {volume[kind][field]}, which does not exist"
            if "persistentVolumeClaim" in volume and volume["persistentVolumeClaim"]["claimName"] not in claims:
                yield f"{w.title}: no PersistentVolumeClaim {volume['persistentVolumeClaim']['claimName']}"
        for twice in ("name", "mountPath"):
            values = [x[twice] for x in (w.pod.get("volumes", []) if twice == "name" else mounts)]
            if len(values) != len(set(values)):
                yield f"{w.title}: two volumes of one {twice}"


def security(m):
    """The restricted Pod Security Standard, and a read-only root."""
    for w in m.workloads:
        pod, box = w.pod.get("securityContext", {}), w.container.get("securityContext", {})
        for holds, what in (
                (pod.get("runAsNonRoot") is True, "runAsNonRoot is not set"),
                (pod.get("runAsUser", 0) > 0 and pod.get("runAsGroup", 0) > 0, "runs as root"),
                ("fsGroup" in pod, "fsGroup is not set, so volumes belong to root"),
                (pod.get("seccompProfile", {}).get("type") == "RuntimeDefault", "seccompProfile is not RuntimeDefault"),
                (box.get("allowPrivilegeEscalation") is False, "allowPrivilegeEscalation is not false"),
                (box.get("readOnlyRootFilesystem") is True, "the root file system is writable"),
                (box.get("capabilities") == {"drop": ["ALL"]}, "capabilities are not all dropped"),
                (not box.get("privileged"), "is privileged"),
                (w.pod.get("automountServiceAccountToken") is False, "a service account token is mounted"),
                (w.pod.get("enableServiceLinks") is False, "enableServiceLinks would put a Service's RUBRIC_* variables "
                                                           "among the options"),
                (not any(w.pod.get(k) for k in ("hostNetwork", "hostPID", "hostIPC")), "uses the host's namespaces"),
                (len(w.pod["containers"]) == 1 and not w.pod.get("initContainers"), "has containers nobody checks"),
                (all(VOLUMES & set(v) for v in w.volumes().values()), "has a volume that is not allowed")):
            if not holds:
                yield f"{w.title}: {what}"
    for account in m.of_kind("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {account['metadata']['name']}: its token is mounted"


def secrets(m):
    """Nothing secret in plain sight."""
    for d in m.of_kind("ConfigMap"):
        for key, value in d.get("data", {}).items():
            if re.search(r"(?mi)^[^#\n]*(password|jaas|secret)[\w.-]*\s*=", value) or re.search(r"://[^/\s@]*:[^/\s@]+@", value):
                yield f"ConfigMap {d['metadata']['name']}: {key} holds a password"
    for w in m.workloads:
        for item in w.container.get("env", []):
            if re.search(r"PASSWORD|SECRET", item["name"]) and "secretKeyRef" not in item.get("valueFrom", {}):
                yield f"{w.title}: {item['name']} is not from a Secret"
        if re.search(r"password", " ".join(w.container.get("args", []))):
            yield f"{w.title}: a password among the arguments"


def resources(m):
    for w in m.workloads:
        have = w.container.get("resources", {})
        for name in ("cpu", "memory", "ephemeral-storage"):
            least, most = have.get("requests", {}).get(name), have.get("limits", {}).get(name)
            if least is None or most is None:
                yield f"{w.title}: no request or no limit of {name}"
            elif quantity(least) > quantity(most) or (name == "memory" and quantity(least) != quantity(most)):
                yield f"{w.title}: {name} {least} requested, {most} allowed"
        scratch = 0
        for name, volume in w.volumes().items():
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{w.title}: emptyDir {name} has no sizeLimit"
            scratch += quantity(volume.get("emptyDir", {}).get("sizeLimit", 0))
        if scratch > quantity(have.get("limits", {}).get("ephemeral-storage", "1Ti")):
            yield f"{w.title}: its emptyDirs may hold more than ephemeral-storage allows"


def images(m):
    for w in m.workloads:
        image = w.container["image"]
        _, colon, tag = image.rpartition("/")[2].partition(":")
        if not colon or tag == "latest":
            yield f"{w.title}: image {image} is whatever was built last"
    if len({w.container["image"] for w in m.workloads}) > 1:
        yield "worker and trainer are of different images"


def budgets(m):
    """A disruption budget lets one pod go."""
    for d in m.of_kind("PodDisruptionBudget"):
        most, least = d["spec"].get("maxUnavailable"), d["spec"].get("minAvailable")
        if most in (0, "0%") or least is not None:
            yield f"PodDisruptionBudget {d['metadata']['name']}: a node could never be drained"
    for w in m.workloads:
        if w.job is None and not any(d["spec"]["selector"]["matchLabels"].items() <= w.labels.items()
                                     for d in m.of_kind("PodDisruptionBudget")):
            yield f"{w.title}: no PodDisruptionBudget"


def schedule(m):
    for w in m.workloads:
        if w.job is None:
            continue
        spec, job = w.spec, w.job
        rules = job.get("podFailurePolicy", {}).get("rules", [])
        for holds, what in (
                (len(spec["schedule"].split()) == 5, "schedule has not five fields"),
                (spec.get("timeZone"), "timeZone is not set"),
                (spec.get("concurrencyPolicy") == "Forbid", "concurrencyPolicy is not Forbid"),
                (spec.get("startingDeadlineSeconds", 0) >= 10, "startingDeadlineSeconds: a hundred missed starts would "
                                                               "end the schedule"),
                ("successfulJobsHistoryLimit" in spec and "failedJobsHistoryLimit" in spec, "no history limits"),
                (0 < job.get("activeDeadlineSeconds", 0) <= 86400, "activeDeadlineSeconds: a stuck run would block the "
                                                                   "schedule"),
                ("backoffLimit" in job, "backoffLimit is not set"),
                (w.pod.get("restartPolicy") == "Never", "restartPolicy is not Never, which podFailurePolicy needs"),
                (all(r.get("onExitCodes", {}).get("containerName", w.container["name"]) == w.container["name"]
                     for r in rules), "podFailurePolicy names a container that is not there")):
            if not holds:
                yield f"{w.title}: {what}"


def arguments(m, programs):
    """Command, verb, options and RUBRIC_* variables are the programs' own."""
    for w in m.workloads:
        if w.program not in programs.paths or len(w.container.get("command", [])) != 1:
            yield f"{w.title}: command {w.container.get('command')} is not in the image"
            continue
        args = w.container.get("args", [])
        known = programs.options(w.program, args[0] if args else "")
        if known is None:
            yield f"{w.title}: {w.program} has no verb {args[:1]}"
            continue
        for a in args[1:]:
            if a.startswith("--") and a[2:].split("=")[0] not in known and not a.startswith("--kafka."):
                yield f"{w.title}: {w.program} {args[0]} has no option {a}"
        for item in w.container.get("env", []):
            option = item["name"][7:].lower().replace("_", "-")
            if not item["name"].startswith("RUBRIC_") or option in known:
                continue
            if w.program != "rubric-worker" or not option.startswith("kafka-"):
                yield f"{w.title}: {item['name']} is no option of {w.program} {args[0]}"


def retries(m, programs):
    """A run that said its last word is not started again, nor one that can only fail the same way."""
    for w in m.workloads:
        if w.program != "rubric-trainer":
            continue
        final = {n for r in w.job.get("podFailurePolicy", {}).get("rules", []) if r["action"] == "FailJob"
                 for n in r.get("onExitCodes", {}).get("values", [])}
        wanted = (programs.statuses(w.container["args"][0]) | {64, 65, 66, 70, 78}) - TRY_AGAIN
        if wanted != final:
            yield f"{w.title}: podFailurePolicy ends the job on {sorted(final)}, the trainer means {sorted(wanted)}"


def trainer(m, programs):
    """The trainer's options as it says that it would use them."""
    for w in m.workloads:
        if w.program != "rubric-trainer":
            continue
        options, why = programs.effective(w, m.environment(w)[0], m)
        if why:
            yield f"{w.title}: {why}"
        for name in ("registry", "name", "data", "arch") if options else ():
            if name not in options:
                yield f"{w.title}: {name} is not set"


def worker(m, programs):
    """The worker as the real check-config sees it: ports, drain, identity, paths."""
    for w in m.workloads:
        if w.program != "rubric-worker":
            continue
        env, _ = m.environment(w)
        options, why = programs.effective(w, env, m)
        if why:
            yield f"{w.title}: {why}"
            continue
        yield from probes(w, options.get("http", ""))
        yield from ports(m, w)
        grace = w.pod.get("terminationGracePeriodSeconds", 30) * 1000
        if grace < int(options["drain-timeout-ms"]) + LEAVING_MS:
            yield f"{w.title}: terminationGracePeriodSeconds {grace // 1000} is not over drain-timeout-ms " \
                  f"{options['drain-timeout-ms']} by {LEAVING_MS} ms"
        if "<metadata.name>" not in options.get("transactional-id", ""):
            yield f"{w.title}: transactional-id \"{options.get('transactional-id', '')}\" does not follow the pod's name"
        if options["delivery"] != "exactly-once":
            yield f"{w.title}: delivery is {options['delivery']}"


def probes(w, http):
    host, _, port = http.rpartition(":")
    declared = {p.get("name"): p["containerPort"] for p in w.container.get("ports", [])}
    if host not in ("", "0.0.0.0", "[::]"):
        yield f"{w.title}: http = {http} cannot be reached from outside the pod"
    if port not in map(str, declared.values()):
        yield f"{w.title}: http = {http}, the container's ports are {declared}"
    for kind, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        get = w.container.get(kind, {}).get("httpGet")
        if not get:
            yield f"{w.title}: no {kind}"
            continue
        if get["path"] != path:
            yield f"{w.title}: {kind} asks {get['path']}, not {path}"
        if str(declared.get(get["port"], get["port"])) != port:
            yield f"{w.title}: {kind} asks port {get['port']}, http = {http}, the container's ports are {declared}"


def ports(m, w):
    declared = {p.get("name"): p["containerPort"] for p in w.container.get("ports", [])}
    services = [d for d in m.of_kind("Service") if d["spec"].get("selector", {}).items() <= w.labels.items()]
    if not services:
        yield f"{w.title}: no Service"
    for d in services:
        for p in d["spec"]["ports"]:
            target = p.get("targetPort", p["port"])
            if target not in declared and target not in declared.values():
                yield f"Service {d['metadata']['name']}: port {target} is none of the container's: {declared}"
            if not p.get("name"):
                yield f"Service {d['metadata']['name']}: a port without a name"
            if d["spec"].get("clusterIP") == "None" and declared.get(target, target) != p["port"]:
                yield f"Service {d['metadata']['name']}: headless, so port {p['port']} must be the container's"


def paths(m, programs):
    """What a program reads is mounted; what it writes is mounted and writable."""
    for w in m.workloads:
        env, _ = m.environment(w)
        args = w.container.get("args", [])
        given = {a[2:]: b for a, b in zip(args, args[1:]) if a.startswith("--")}
        for what, path in (("config", given.get("config")), ("data", given.get("data"))):
            volume, mount = w.mount_of(path) if path else (None, None)
            if path and not mount:
                yield f"{w.title}: {what} {path} is on no volume"
            elif path and "configMap" in volume:
                key = path[len(mount["mountPath"].rstrip("/")) + 1:]
                if key not in (m.values("ConfigMap", volume["configMap"]["name"]) or {}):
                    yield f"{w.title}: {what} {path}: the ConfigMap has no key {key}"
        writes = [("TMPDIR", env.get("TMPDIR", "/tmp"))]
        if w.program not in programs.paths:
            continue
        options, _ = programs.effective(w, env, m)
        cache = (options or {}).get("cache", env.get("RUBRIC_CACHE", ""))
        writes.append(("cache", cache))
        size = ((w.mount_of(cache)[0] or {}).get("emptyDir") or {}).get("sizeLimit")
        if size and "cache-mb" in (options or {}) and int(options["cache-mb"]) + FETCHED_MB > quantity(size) / (1 << 20):
            yield f"{w.title}: cache-mb {options['cache-mb']} and a version being fetched are over the volume's sizeLimit {size}"
        for what, path in writes:
            volume, mount = w.mount_of(path)
            if not mount or mount.get("readOnly") or "emptyDir" not in (volume or {}):
                yield f"{w.title}: {what} \"{path}\" is on no writable volume"


def registry(m, programs):
    """Worker and trainer mean the same model."""
    seen = {}
    for w in m.workloads:
        env, _ = m.environment(w)
        for name in ("RUBRIC_REGISTRY", "RUBRIC_NAME", "RUBRIC_ALIAS"):
            seen.setdefault(name, set()).add(env.get(name))
    for name, values in seen.items():
        if len(values) != 1 or None in values:
            yield f"{name} differs between worker and trainer: {sorted(map(str, values))}"


ALONE = (names, selectors, references, security, secrets, resources, images, budgets, schedule)
WITH_PROGRAMS = (arguments, worker, trainer, retries, paths, registry)


def everything(m, schemas, programs):
    """All that is wrong. What the schemas refuse is not looked at further: the other checks rely on its form."""
    wrong = [f"{d.get('kind')} {d.get('metadata', {}).get('name')}: {e}" for d in m.docs for e in schemas.check(d)]
    if not wrong:
        wrong = [e for check in ALONE for e in check(m)] + [e for check in WITH_PROGRAMS for e in check(m, programs)]
    return wrong
