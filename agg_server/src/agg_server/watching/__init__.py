"""What an operator sees of a running server: logs, metrics, phases, and the self-test at its start."""
