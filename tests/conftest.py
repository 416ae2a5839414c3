"""What holds for every test."""

from hypothesis import settings

# A busy machine takes its time over an example, which is no fault of what is tested.
settings.register_profile("unhurried", parent=settings.default, deadline=None)
settings.load_profile("unhurried")
