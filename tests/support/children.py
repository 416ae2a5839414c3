"""The processes that a test has started, and that have not ended."""

import psutil


def training_children() -> list[psutil.Process]:
    """Children that train, of this process: it may have others, like multiprocessing's tracker of resources."""
    found = []
    for child in psutil.Process().children():
        try:
            if "edge_client.training" in child.cmdline():
                found.append(child)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found
