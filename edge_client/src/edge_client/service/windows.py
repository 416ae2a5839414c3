"""A task of the Windows task scheduler. Never tried on Windows: its form alone is tested."""

import os
import subprocess
from xml.etree import ElementTree

from .kinds import RESTART_SECONDS, Kind, Service

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_RESTARTS = 255
"""The most that the scheduler allows; then it waits for the next logon."""


def _task(name: str) -> str:
    return f"FedIT\\{name}"


def _render(service: Service) -> bytes:
    program, *words = service.command
    user = "\\".join(part for part in (os.environ.get("USERDOMAIN"), os.environ.get("USERNAME")) if part)
    task = ElementTree.Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
    _add(task, "RegistrationInfo", Description=service.description)
    _add(_add(task, "Triggers"), "LogonTrigger", Enabled="true", **({"UserId": user} if user else {}))
    who = _add(_add(task, "Principals"), "Principal", LogonType="InteractiveToken", RunLevel="LeastPrivilege")
    who.set("id", "Author")
    settings = _add(
        task,
        "Settings",
        MultipleInstancesPolicy="IgnoreNew",
        DisallowStartIfOnBatteries="false",
        StopIfGoingOnBatteries="false",
        StartWhenAvailable="true",
        ExecutionTimeLimit="PT0S",
        Priority="9",
    )
    _add(settings, "RestartOnFailure", Interval=f"PT{RESTART_SECONDS}S", Count=str(_RESTARTS))
    actions = _add(task, "Actions")
    actions.set("Context", "Author")
    _add(actions, "Exec", Command=program, Arguments=subprocess.list2cmdline(words))
    ElementTree.indent(task)
    content: bytes = ElementTree.tostring(task, encoding="utf-16", xml_declaration=True)
    return content


def _add(parent: ElementTree.Element, name: str, **texts: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    for inner, text in texts.items():
        ElementTree.SubElement(child, inner).text = text
    return child


KIND = Kind(
    manager="Windows task scheduler",
    render=_render,
    path=lambda name, home: home / "AppData" / "Local" / "fedit" / f"{name}.xml",
    start=lambda service, path: [
        ["schtasks", "/Create", "/F", "/TN", _task(service.name), "/XML", str(path)],
        ["schtasks", "/Run", "/TN", _task(service.name)],
    ],
    stop=lambda service, path: [
        ["schtasks", "/End", "/TN", _task(service.name)],
        ["schtasks", "/Delete", "/F", "/TN", _task(service.name)],
    ],
    ask=lambda service: ["schtasks", "/Query", "/TN", _task(service.name)],
    next=lambda service: ["It starts when you log on, in a console window of its own."],
)
