"""``python -m edge_client``: the command line, for whoever knows the interpreter and not where its scripts lie."""

from .cli import main

if __name__ == "__main__":
    main()
