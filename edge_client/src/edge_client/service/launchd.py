"""An agent of macOS's launchd. Never tried on a Mac: its form alone is tested."""

import os
import plistlib

from .kinds import RESTART_SECONDS, Kind, Service


def _label(name: str) -> str:
    return f"org.fedit.{name}"


def _domain() -> str:
    return f"gui/{os.getuid()}" if hasattr(os, "getuid") else "gui"


def _render(service: Service) -> bytes:
    return plistlib.dumps(
        {
            "Label": _label(service.name),
            "ProgramArguments": list(service.command),
            "EnvironmentVariables": service.environment,
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": 150,
            "ThrottleInterval": RESTART_SECONDS,
            "ProcessType": "Background",
            "LowPriorityIO": True,
            "Nice": 19,
            "Umask": 0o077,
        }
    )


KIND = Kind(
    manager="launchd",
    render=_render,
    path=lambda name, home: home / "Library" / "LaunchAgents" / f"{_label(name)}.plist",
    start=lambda service, path: [["launchctl", "bootstrap", _domain(), str(path)]],
    stop=lambda service, path: [["launchctl", "bootout", f"{_domain()}/{_label(service.name)}"]],
    ask=lambda service: ["launchctl", "print", f"{_domain()}/{_label(service.name)}"],
    next=lambda service: [
        "It runs while you are logged in. A client that ends with an error is started again each minute, whatever the "
        "error: `fedit-client status` and `history` tell how it goes.",
    ],
)
