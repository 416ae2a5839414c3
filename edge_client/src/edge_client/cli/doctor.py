"""``fedit-client doctor``."""

import click

OVERHEAD_BYTES = 3 << 29
"""Libraries, activations of one short record, and the allocator's slack."""
BYTES_PER_PARAMETER = 1.15
"""An 8-bit base with its scales, and an adapter of rank 8 with its gradients and optimizer state."""


@click.command()
def command() -> None:
    """What this machine has, which libraries are installed, and what fits."""
    from edge_client.hardware import find_hardware

    from .hardware import hardware_lines

    hardware = find_hardware()
    for line in hardware_lines(hardware):
        click.echo(line)
    for name, version in hardware.versions.items():
        click.echo(f"{name}: {version or 'not installed'}")
    free = max((gpu.free_bytes for gpu in hardware.gpus), default=0) if hardware.accelerator == "cuda" else 0
    billions = max(0.0, (free or hardware.free_bytes) - OVERHEAD_BYTES) / BYTES_PER_PARAMETER / 1e9
    click.echo(f"Fits: models up to about {billions:.1f} billion parameters in 8 bits.")
