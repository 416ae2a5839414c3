"""``fedit-bench``: federated instruction tuning simulated on one machine, with client and server code as it is."""
