"""``fedit-bench``: federated instruction tuning simulated, with client and server code as it is."""
