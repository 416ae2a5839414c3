"""How good a model with this or that adapter is: losses, answers, what they are worth, and how sure that is.

Light to import: the model is in the child process of :mod:`edge_client.inference`.
"""
