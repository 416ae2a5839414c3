"""What was found, in lines."""

from edge_client.hardware import Hardware
from edge_client.sizes import size


def hardware_lines(hardware: Hardware) -> list[str]:
    """Processor, memory, cards, and what to do so that they are used."""
    lines = [
        f"Processor: {hardware.cpu or 'unknown'}, {hardware.cores} cores, "
        f"{size(hardware.free_bytes)} of {size(hardware.memory_bytes)} memory free."
    ]
    lines += [
        f"Card: {gpu.name}, {size(gpu.free_bytes)} of {size(gpu.memory_bytes)} free, driver {gpu.driver}."
        for gpu in hardware.gpus
    ]
    lines.append(
        "Training will run on the card." if hardware.accelerator == "cuda" else "Training will run on the processor."
    )
    if hardware.advice:
        lines.append(hardware.advice)
    return lines
