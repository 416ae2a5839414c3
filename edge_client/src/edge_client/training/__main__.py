"""``python -m edge_client.training``: the child process. Reads one job from stdin; see :mod:`.worker`."""

from .child import main

if __name__ == "__main__":
    main()
