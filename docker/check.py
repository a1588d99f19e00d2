"""Runs the lines of docker/Dockerfile one after another in a clean Debian, where no Docker engine is to be had.

    sudo .venv/bin/python docker/check.py FOLDER [--arg VARIANT=cuda] [--bind /a/path] [--pass NAME]

What stands in for python:3.11-slim-bookworm is a fresh debootstrap of Debian 12, from the mirror that this machine's
apt uses, with Debian's own Python 3.11 in a virtual environment at /usr/local. COPY, ENV, ARG, WORKDIR and USER are
done as they say, every RUN is run in it, then CMD is started as the image's user, HEALTHCHECK's command is asked until
it says yes, and CMD must end by itself on SIGTERM. Needs root and debootstrap; FOLDER must not exist yet.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

_DOCKERFILE = Path(__file__).with_name("Dockerfile")
_HEALTHY_S, _STOP_S = 60.0, 30.0
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Image:
    """A folder that stands for the image, and what its lines have set so far."""

    root: Path
    args: dict[str, str]
    env: dict[str, str] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"

    def command(self, argv: list[str]) -> list[str]:
        """What runs `argv` inside, as the image's user, with its environment and nothing of ours."""
        env = {"PATH": _PATH, "HOME": self._home(), **self.passed, **self.env}
        inside = f"cd {shlex.quote(self.folder)} && exec {shlex.join(argv)}"
        pairs = [f"{name}={value}" for name, value in env.items()]
        return [
            "chroot",
            f"--userspec={self.user}:{self.user}",
            str(self.root),
            "env",
            "-i",
            *pairs,
            "sh",
            "-c",
            inside,
        ]

    def _home(self) -> str:
        known = [line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines()]
        return next((entry[5] for entry in known if self.user in (entry[0], entry[2])), "/")

    def run(self, argv: list[str]) -> None:
        """Raises CalledProcessError when it fails."""
        subprocess.run(self.command(argv), check=True)  # noqa: S603

    def path(self, inside: str) -> Path:
        """Where a path of the image lies on this machine."""
        return self.root / str(Path(self.folder) / inside).lstrip("/")


def base(image: Image) -> None:
    """FROM: a fresh Debian 12 with Python at /usr/local."""
    mirrors = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],  # noqa: S607
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    mirror = next(uri for uri in mirrors if uri.rstrip("/").endswith("/debian"))
    subprocess.run(  # noqa: S603
        ["debootstrap", "--variant=minbase", "bookworm", str(image.root), mirror],  # noqa: S607
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run(["mount", "-t", "proc", "proc", str(image.root / "proc")], check=True)  # noqa: S603, S607
    image.run(["apt-get", "update", "-q"])
    image.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "python3-venv", "ca-certificates"])
    image.run(["python3", "-m", "venv", "/usr/local"])


def bind(image: Image, path: Path) -> None:
    """Shows a file or folder of this machine inside, at the same place."""
    there = image.root / str(path.absolute()).lstrip("/")
    if path.is_dir():
        there.mkdir(parents=True, exist_ok=True)
    else:
        there.parent.mkdir(parents=True, exist_ok=True)
        there.touch()
    subprocess.run(["mount", "--bind", str(path), str(there)], check=True)  # noqa: S603, S607


def do(image: Image, name: str, value: str) -> None:
    """One instruction, but for FROM, HEALTHCHECK and CMD."""
    known = string.Template(value).safe_substitute({**image.args, **image.env}) if name != "RUN" else value
    words = shlex.split(known) if name in ("ENV", "COPY", "ARG") else []
    if name == "ENV":
        image.env.update(dict(word.split("=", 1) for word in words))
    elif name == "ARG":
        key, _, default = words[0].partition("=")
        image.args.setdefault(key, default)
    elif name == "WORKDIR":
        image.folder = str(Path(image.folder) / known)
        image.path(".").mkdir(parents=True, exist_ok=True)
    elif name == "USER":
        image.user = known
    elif name == "COPY":
        copy(image, words)
    elif name == "RUN":
        image.run(["env", *(f"{k}={v}" for k, v in image.args.items()), "sh", "-c", value])
    elif name not in ("VOLUME", "EXPOSE", "LABEL", "COMMENT"):
        raise SystemExit(f"docker/check.py does not know the instruction {name}")


def copy(image: Image, words: list[str]) -> None:
    """Files into a folder; a folder's content into a folder: as COPY does. Caches stay out, as .dockerignore says."""
    *sources, target = words
    for source in (_DOCKERFILE.parents[1] / name for name in sources):
        if source.is_dir():
            shutil.copytree(source, image.path(target), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            into = image.path(target)
            shutil.copy2(source, into / source.name if into.is_dir() else into)


def serve(image: Image, cmd: list[str], health: list[str]) -> None:
    """CMD until HEALTHCHECK's command says yes, then SIGTERM. Raises SystemExit when either does not do."""
    began = time.monotonic()
    process = subprocess.Popen(image.command(cmd))  # noqa: S603 - `exec` all the way: its pid is CMD's
    while subprocess.run(image.command(health), capture_output=True).returncode:  # noqa: S603
        if process.poll() is not None or time.monotonic() - began > _HEALTHY_S:
            process.kill()
            raise SystemExit(f"CMD is not healthy after {time.monotonic() - began:.0f} s (status {process.poll()})")
        time.sleep(0.5)
    print(f"healthy after {time.monotonic() - began:.1f} s, as user {image.user}", flush=True)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = process.wait(_STOP_S)
    print(f"stopped {time.monotonic() - began:.1f} s after SIGTERM, status {status}", flush=True)
    if status not in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
        raise SystemExit("CMD did not end in order")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arg", action="append", default=[], help="a build argument, NAME=VALUE")
    parser.add_argument("--bind", action="append", default=[], type=Path, help="what pip needs here: mirror, settings")
    parser.add_argument(
        "--pass", action="append", default=[], dest="passed", help="a variable of ours that is passed on"
    )
    given = parser.parse_args()
    if "REFAM_CHECK_APART" not in os.environ:  # mounts of our own, which end with us
        again = ["unshare", "--mount", sys.executable, *sys.argv]
        os.execvpe("unshare", again, {**os.environ, "REFAM_CHECK_APART": "1"})  # noqa: S606, S607
    if given.folder.exists():
        raise SystemExit(f"{given.folder} is there already: remove it, or name another")
    image = Image(given.folder.absolute(), dict(pair.split("=", 1) for pair in given.arg))
    image.passed = {name: os.environ[name] for name in given.passed if name in os.environ}
    lines = DockerfileParser(fileobj=_DOCKERFILE.open("rb")).structure
    health, cmd = [], []
    for line in lines:
        name, value, began = line["instruction"], line["value"], time.monotonic()
        if name == "FROM":
            base(image)
            for path in given.bind:
                bind(image, path)
        elif name == "HEALTHCHECK":
            health = json.loads(value[value.index("CMD") + 3 :])
        elif name == "CMD":
            cmd = json.loads(value)
        else:
            do(image, name, value)
        if name != "COMMENT":
            print(f"{time.monotonic() - began:7.1f} s  {name} {value[:90]}", flush=True)
    shown = [f"--exclude={image.root}{path.absolute()}" for path in given.bind]
    size = subprocess.run(["du", "-sxm", *shown, str(image.root)], capture_output=True, text=True).stdout.split()[0]  # noqa: S603, S607
    print(f"the folder holds {size} MB", flush=True)
    serve(image, cmd, health)


if __name__ == "__main__":
    main()
