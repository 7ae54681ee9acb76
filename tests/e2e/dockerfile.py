"""Carries out a Dockerfile with Debian's tools, for machines without a Docker engine. Needs root.

A stage is a directory that starts as a copy of Debian with Python, each instruction works on it as Docker's
reference says, each RUN is a chroot. :func:`run` enters the last stage like `docker run --read-only --tmpfs /tmp`.
Only the instructions and forms that our file uses are known; any other is an error. What an engine adds is not
reproduced: layers and their cache, the seccomp filter, a build's limited root, networks.
"""

import ast
import json
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from docker.utils.build import exclude_paths

BASE = "python:3.11-slim-bookworm"
# That image is Debian's smallest, the first three, and the newest Python 3.11 built from source below /usr/local.
# Here it is Debian's own 3.11.2, linked there; it brings the libraries of the system that the other one needs too.
PACKAGES = ["ca-certificates", "netbase", "tzdata", "python3.11", "python3.11-venv", "python3-distutils"]
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

# What an engine mounts into every container, with its options.
_SYSTEM = """
mount --bind -o ro /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs -o nosuid,mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
mount -t tmpfs -o noexec,nosuid,nodev,mode=1777,size=64m tmpfs "$root/dev/shm"
"""
# --read-only --tmpfs /tmp: nothing in /tmp can be executed, or mapped as code, either.
_READ_ONLY = """
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o noexec,nosuid,nodev,mode=1777 tmpfs "$root/tmp"
"""


@dataclass
class Stage:
    """A root file system, and what the instructions so far have set."""

    root: Path
    name: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    user: str = "root"
    directory: str = "/"
    volumes: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=lambda: ["python3"])

    def inside(self, path: str) -> Path:
        """A path of the image on this machine; relative ones start in the working directory."""
        return self.root / os.path.join(self.directory, path).lstrip("/")  # noqa: PTH118 (an absolute path wins)

    def substituted(self, text: str) -> str:
        """`text` with $NAME and ${NAME} replaced; an unknown name is an error, which Docker would make empty."""
        return string.Template(text).substitute(self.arguments | self.environment)

    def account(self) -> tuple[str, str, str]:
        """The user's id, first group and home, as the image's own list of users gives them."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, user_id, group_id, _, home, _ = line.split(":")
            if self.user in (name, user_id):
                return user_id, group_id, home
        raise LookupError(f"USER {self.user} has no line in /etc/passwd")


def debian(directory: Path) -> Path:
    """Debian 12 with Python 3.11, made in `directory` once; complete or absent.

    Raises:
        subprocess.CalledProcessError: debootstrap failed, for example because no mirror can be reached.
    """
    made, work = directory / "bookworm", directory / ".work"
    if not made.exists():
        shutil.rmtree(work, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(work)]
        # It mounts /proc and /sys below its target: in a namespace of its own, none of that outlives it.
        subprocess.run(["unshare", "--mount", *command], check=True, capture_output=True, text=True)
        shutil.rmtree(work / "var/cache/apt/archives")
        (work / "usr/local/bin/python3").symlink_to("/usr/bin/python3.11")
        (work / "usr/local/bin/python").symlink_to("python3")
        work.rename(made)
    return made


def instructions(path: Path) -> list[tuple[str, str]]:
    """The file's instructions in order, each as (word, rest), comments taken out and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    pairs = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in pairs]


def build(path: Path, base: Path, directory: Path) -> Stage:
    """Carries out the file at `path`, whose folder is the context, below the empty `directory`.

    Returns:
        The last stage.
    """
    context = _context(path.parent, directory / "context")
    stages: list[Stage] = []
    for word, rest in instructions(path):
        print(f"{word} {rest}", flush=True)
        if word == "FROM":
            image, *name = shlex.split(rest)
            if image != BASE or name[:1] not in ([], ["AS"]):
                raise NotImplementedError(f"FROM {rest}")
            root = directory / f"stage-{len(stages)}"
            subprocess.run(["cp", "--archive", str(base), str(root)], check=True)
            stages.append(Stage(root, name=name[-1] if name else ""))
        elif not stages:
            raise NotImplementedError(f"{word} before FROM")
        elif word == "COPY":
            _copy(stages[-1], rest, {stage.name: stage.root for stage in stages[:-1]} | {"": context})
        else:
            _carry_out(stages[-1], word, rest)
    for stage in stages[:-1]:
        shutil.rmtree(stage.root)
    return stages[-1]


def run(image: Stage, *arguments: str, volume: Path, entrypoint: list[str] | None = None) -> list[str]:
    """The command that does ``docker run --read-only --tmpfs /tmp -v volume:VOLUME [--entrypoint ...] IMAGE``.

    The program is process 1, as there: a signal that it does not handle is ignored.
    """
    [point] = image.volumes
    words = [*(entrypoint or image.entrypoint), *(arguments or image.command)]
    return _chroot(image, words, image.environment, {str(volume): point}, read_only=True)


def _carry_out(stage: Stage, word: str, rest: str) -> None:
    match word:
        case "ARG":
            [(name, default)] = _pairs(stage.substituted(rest))
            stage.arguments[name] = default
        case "ENV":
            stage.environment |= _pairs(stage.substituted(rest))
        case "RUN":
            if rest.startswith(("[", "-")) or "<<" in rest:
                raise NotImplementedError(f"RUN {rest}")
            variables, binds = _package_index()
            variables |= stage.arguments | stage.environment
            subprocess.run(_chroot(stage, ["/bin/sh", "-c", rest], variables, binds), check=True)
        case "WORKDIR":
            directory = stage.inside(stage.substituted(rest))
            directory.mkdir(parents=True, exist_ok=True)
            stage.directory = f"/{directory.relative_to(stage.root)}"
        case "USER":
            stage.user = stage.substituted(rest)
        case "VOLUME":
            stage.volumes += shlex.split(stage.substituted(rest))
        case "ENTRYPOINT":
            stage.entrypoint, stage.command = json.loads(rest), []
        case "CMD":
            stage.command = json.loads(rest)
        case _:
            raise NotImplementedError(f"{word} {rest}")


def _pairs(text: str) -> list[tuple[str, str]]:
    """NAME=VALUE ..., with quotes taken away; the forms without "=" are errors."""
    return [(name, value) for name, value in (word.split("=", 1) for word in shlex.split(text))]


def _context(tree: Path, directory: Path) -> Path:
    """What Docker's client would send to the engine: the tree without what .dockerignore names."""
    patterns = [line.strip() for line in (tree / ".dockerignore").read_text().splitlines()]
    patterns = [pattern for pattern in patterns if pattern and not pattern.startswith("#")]
    for name in exclude_paths(str(tree), patterns):
        if not (tree / name).is_dir():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, directory / name)
    return directory


def _copy(stage: Stage, rest: str, origins: dict[str, Path]) -> None:
    """COPY: of a directory its content, of a file the file; all of it belongs to root afterwards."""
    words = shlex.split(stage.substituted(rest))
    flags = [word for word in words if word.startswith("--")]
    *sources, destination = [word for word in words if word not in flags]
    origin = origins["".join(flags).removeprefix("--from=")]
    target = stage.inside(destination)
    if destination.endswith("/") or len(sources) > 1:
        target.mkdir(parents=True, exist_ok=True)
    for source in sources:
        path = origin / source.lstrip("/")
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(path, target)


def _chroot(
    stage: Stage, words: list[str], variables: dict[str, str], binds: dict[str, str], read_only: bool = False
) -> list[str]:
    """The command that runs `words` as the stage's user in namespaces of its own, with nothing but `variables`."""
    names = binds | {"/etc/hosts": "/etc/hosts", "/etc/resolv.conf": "/etc/resolv.conf"}
    mounts = [
        f'mount --bind {shlex.quote(source)} "$root"{shlex.quote(point)}\n' for source, point in names.items()
    ]
    script = "".join(
        ["root=$1; shift\n", _READ_ONLY if read_only else "", _SYSTEM, *mounts, 'exec chroot "$root" "$@"']
    )
    user_id, group_id, home = stage.account()
    settings = [f"{name}={value}" for name, value in ({"HOME": home} | variables).items()]
    return [
        *("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
        *("sh", "-euc", script, "sh", str(stage.root)),
        *("/usr/bin/setpriv", f"--reuid={user_id}", f"--regid={group_id}", "--clear-groups", "--inh-caps=-all"),
        *("/usr/bin/env", "-i", f"--chdir={stage.directory}", *settings, *words),
    ]


def _package_index() -> tuple[dict[str, str], dict[str, str]]:
    """Variables and mounted files that let RUN reach the package index as this machine's pip does.

    An engine gives proxies to a build as predefined arguments, and the rest by the network that it stands in.
    """
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, check=True, capture_output=True, text=True).stdout.splitlines()
    # The later a line the stronger: files first, then the environment.
    settings = {
        key.rpartition(".")[2]: ast.literal_eval(value) for key, _, value in (s.partition("=") for s in listed)
    }
    variables = {}
    for name in ("index-url", "extra-index-url", "trusted-host", "default-timeout", "proxy"):
        # An index in a folder of this machine is not reached from there.
        if reached := [word for word in settings.get(name, "").split() if not word.startswith("file:")]:
            variables[f"PIP_{name.upper().replace('-', '_')}"] = " ".join(reached)
    variables |= {k: v for k, v in os.environ.items() if k.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")}
    if "cert" not in settings:
        return variables, {}
    return variables | {"PIP_CERT": CERTIFICATES}, {settings["cert"]: CERTIFICATES}
