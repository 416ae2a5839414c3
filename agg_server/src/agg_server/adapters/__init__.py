"""Versions of the adapter: from the mean update through the optimizer's step to a signed PEFT folder and its card."""
