"""The demo: a whole federation on this machine, from check-in to a better adapter."""
