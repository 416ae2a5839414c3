"""What people are told to type where a program is missing or too old.

The packages are not on PyPI yet, and their names there may be anybody's: no text may name a package, only folders of a
clone. Whoever publishes them changes this file and README.
"""

INSTALL_CLIENT = "pip install ./shared ./edge_client"
INSTALL_SERVER = "pip install ./shared ./agg_server"
UPGRADE_CLIENT = f"Upgrade the client: `{INSTALL_CLIENT}` in an up-to-date clone of fedit's repository."
UPGRADE_SERVER = f"upgrade the server: `{INSTALL_SERVER}` in an up-to-date clone of fedit's repository."
