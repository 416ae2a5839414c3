"""A unit of systemd's manager for one user."""

import os
from pathlib import Path

from .kinds import RESTART_SECONDS, Kind, Service

_UNIT = """\
# Written by `fedit-client service install`, which writes it anew.
[Unit]
Description={description}
# A client that fails is tried again for ever: the network, memory, or a disk, may be back tomorrow (3).
StartLimitIntervalSec=0

[Service]
Type=exec
{environment}ExecStart={command}
Restart=on-failure
RestartSec={seconds}
# A wrong option or file (2), a refusal by the server (4) and a task that was not agreed to (5) need their owner.
RestartPreventExitStatus=2 4 5
# The client stops its own children, which end the piece that they are at and keep what they have.
KillMode=mixed
TimeoutStopSec=150
Nice=19
CPUWeight=20
IOSchedulingClass=idle
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


def quoted(word: str) -> str:
    """One word of a command line as systemd reads it: no specifier, variable or quote in it means anything."""
    for sign, meant in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(sign, meant)
    return f'"{word}"'


def _render(service: Service) -> bytes:
    program, *words = service.command
    first = f'"{program.replace("%", "%%")}"'  # of the program's own name, systemd expands specifiers only
    if set(program) & set("\"'\\"):  # which systemd has in no program's name
        first = f"/usr/bin/env {quoted(program)}"
    command = " ".join([first, *map(quoted, words)])
    description = service.description.replace("%", "%%")  # a backslash at its end would take the next line with it
    environment = "".join(f"Environment={_assigned(*pair)}\n" for pair in service.environment.items())
    return _UNIT.format(
        description=description, command=command, environment=environment, seconds=RESTART_SECONDS
    ).encode()


def _assigned(name: str, value: str) -> str:
    """As systemd reads it: of a variable's value it takes a dollar as it stands."""
    return quoted(f"{name}={value}").replace("$$", "$")


def _path(name: str, home: Path) -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home / ".config") / "systemd" / "user" / f"{name}.service"


KIND = Kind(
    manager="systemd",
    render=_render,
    path=_path,
    start=lambda service, path: [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", f"{service.name}.service"],
        ["systemctl", "--user", "restart", f"{service.name}.service"],
    ],
    stop=lambda service, path: [["systemctl", "--user", "disable", "--now", f"{service.name}.service"]],
    ask=lambda service: ["systemctl", "--user", "is-active", f"{service.name}.service"],
    next=lambda service: [
        "It runs while you are logged in. For always: loginctl enable-linger",
        f"What it says: journalctl --user -u {service.name} -f",
    ],
)
