"""What was found, in lines."""

from edge_client.hardware import CARDS_VARIABLE, Hardware
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
    lines.append(_where(hardware))
    if hardware.advice:
        lines.append(hardware.advice)
    return lines


def _where(hardware: Hardware) -> str:
    if hardware.accelerator != "cuda":
        return "Training will run on the processor."
    if len(hardware.gpus) < 2 or hardware.card is None:
        return "Training will run on the card."
    place = hardware.gpus.index(hardware.card) + 1
    return f"Training will run on card {place}, {hardware.card.name}; {CARDS_VARIABLE} can name another."
