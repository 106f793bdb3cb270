"""The Containerfile against the programs that the build made and the pods that run its image."""

import functools
import os
import re
import subprocess

BASIC = {"libc6"}  # in every Debian


def instructions(text):
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def stages(text):
    """[(base, name, [(instruction, rest)])] with ARGs of the top put in."""
    args, out = {}, []
    for word, rest in instructions(text):
        if word == "ARG" and not out:
            name, _, value = rest.partition("=")
            args[name] = value
        elif word == "FROM":
            base, _, name = re.sub(r"\$\{(\w+)\}", lambda m: args.get(m[1], ""), rest).partition(" AS ")
            out.append((base, name, []))
        elif out:
            out[-1][2].append((word, rest))
    return out


def packages(steps):
    found = set()
    for word, rest in steps:
        for command in re.split(r"&&|;", rest) if word == "RUN" else ():
            if re.search(r"apt-get install\b", command):
                found |= {w for w in command.split("install", 1)[1].split() if not w.startswith("-")}
    return found


@functools.lru_cache(maxsize=None)
def needed(binaries):
    """Debian packages of the libraries that the programs name. Not MPI: the image's build has none, so its trainer is built without."""
    wanted = set()
    for binary in binaries:
        said = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True, check=True).stdout
        names = {n for n in re.findall(r"NEEDED.*\[(.+)\]", said) if not n.startswith("libmpi")}
        for name, path in re.findall(r"(\S+) => (\S+)", subprocess.run(["ldd", binary], capture_output=True, text=True,
                                                                       check=True).stdout):
            if name in names:
                said = subprocess.run(["dpkg", "-S", os.path.realpath(path)], capture_output=True, text=True).stdout
                said = said or subprocess.run(["dpkg", "-S", os.path.realpath(path).replace("/usr/lib", "/lib", 1)],
                                              capture_output=True, text=True).stdout
                wanted.add(said.partition(":")[0] or f"(the owner of {path})")
    return wanted - BASIC


def system():
    with open("/etc/os-release", encoding="utf-8") as f:
        said = dict(line.rstrip().split("=", 1) for line in f if "=" in line)
    return f"{said.get('ID')}:{said.get('VERSION_ID', '')}".replace('"', "")


def check(text, binaries, workloads):
    found = stages(text)
    if len(found) < 2:
        yield "one stage: the compiler would be in the image"
        return
    known = {name for _, name, _ in found}
    for base, _, steps in found:
        image = base.rpartition("/")[2]
        if base not in known and (":" not in image or image.endswith(":latest")):
            yield f"FROM {base} is whatever is newest"
        for word, rest in steps:
            source = re.match(r"--from=(\S+)", rest) if word == "COPY" else None
            if source and source[1] not in known:
                yield f"COPY from {source[1]}, which is no stage"
    base, _, steps = found[-1]
    if found[0][0] != base:
        yield f"built on {found[0][0]}, run on {base}"
    if not any("make install" in rest for _, rest in found[0][2]):
        yield "not built by the Makefile"
    have = packages(steps)
    if any(p.endswith("-dev") for p in have):
        yield "development packages in the image"
    if system() == base.rpartition("/")[2].replace("-slim", ""):
        for package in sorted(needed(tuple(binaries)) - have):
            yield f"{package} is not installed in the image"
    users = [rest for word, rest in steps if word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        yield f"runs as {users[-1] if users else 'root'}: Kubernetes needs a number that is not 0"
    for w in workloads:
        user = w.pod["securityContext"].get("runAsUser")
        if users and users[-1].split(":")[0] != str(user):
            yield f"{w.title}: runAsUser {user}, the image's user is {users[-1]}"
    if not any(word == "COPY" and rest.split()[-1] == "/usr/local/" for word, rest in steps):
        yield "the programs are not on the PATH"
    with open("data/segment.h", encoding="utf-8") as f:
        words = re.search(r'SEGMENT_DIR "/usr(\S+)"', f.read())[1]
    made = " ".join(rest for word, rest in found[0][2] if word == "RUN")
    copied = [rest.split()[-2] for word, rest in steps if word == "COPY" and rest.split()[-1] == "/usr/"]
    if not any(f" {root.rstrip('/')}{words}/" in made for root in copied):
        yield f"jieba's files are not in /usr{words}"


MISTAKES = (
    ("newest base", "debian:12-slim", "debian:latest", r"is whatever is newest"),
    ("root in the image", "USER 65532:65532", "USER root", r"runs as root"),
    ("no user", "USER 65532:65532\n", "", r"runs as root"),
    ("another user than the pod's", "USER 65532:65532", "USER 1000:1000", r"runAsUser 65532, the image's user is 1000"),
    ("library left out", "librdkafka1 ", "", r"librdkafka1 is not installed"),
    ("library of the trainer left out", "liblinear4 ", "", r"liblinear4 is not installed"),
    ("stage that does not exist", "--from=build", "--from=builder", r"which is no stage"),
    ("development package", "libssl3", "libssl3 libssl-dev", r"development packages"),
    ("no dictionary of words", "COPY --from=build /opt/jieba/ /usr/\n", "", r"jieba's files are not in /usr/lib/python3"),
    ("programs off the PATH", "/opt/rubric/ /usr/local/", "/opt/rubric/ /opt/", r"not on the PATH"),
)
