"""Programs that measure this project and show it at work. None of them is part of a distribution."""
