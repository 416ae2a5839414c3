"""The crew that the command line asks for."""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_client.disk import Disk
from edge_client.hardware import find_hardware
from edge_client.training.outlook import FREE_SHARE, free_memory

from .crew import Crew, Here
from .lab import Lab, model_folder
from .processes import Processes
from .settings import Machine
from .station import Opening, Station


class Wanted(NamedTuple):
    """``workers``: None is one, in this process; ``ray``: a cluster's address, "" for one of this machine alone."""

    workers: int | None = None
    ray: str | None = None


def hire(lab: Lab, wanted: Wanted) -> Crew:
    """Nothing is started and no model loaded before there is a job. Raises UserError where Ray is not installed."""
    machine = lab.experiment.machine
    Disk().make(lab.work)
    opening = Opening(
        task=lab.task,
        machine=machine,
        model=model_folder(lab.experiment),
        blobs=str(lab.blobs.path("").resolve()),
        work=str(lab.work.resolve()),
    )
    if wanted.ray is not None:
        from .on_ray import Ray

        return Ray(wanted.ray, wanted.workers, opening, lab.population, lab.view.event, lab.view.say)
    if wanted.workers is None:

        def station() -> Station:
            lab.view.say("Loading the model")
            return Station(opening, lab.population, lab.view.say)

        return Here(station, lab.view.event)
    shared = msgspec.structs.replace(opening, machine=share(machine, wanted.workers))
    people = lab.work / "population.msgpack"
    Disk().write(people, msgspec.msgpack.encode(lab.population))
    return Processes(wanted.workers, msgspec.msgpack.encode(shared), Path(people), lab.view.event, lab.view.say)


def share(machine: Machine, workers: int) -> Machine:
    """What each of so many workers has of this machine."""
    if machine.threads is None:
        machine = msgspec.structs.replace(machine, threads=max(1, cores() // workers))
    if machine.memory is None and workers > 1:
        hardware = find_hardware()
        free = free_memory(hardware, cuda=machine.device != "cpu" and hardware.accelerator == "cuda")
        machine = msgspec.structs.replace(machine, memory=int(FREE_SHARE * free / workers))
    return machine


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
