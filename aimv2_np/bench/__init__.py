"""How fast and how large the models are on this machine, and what holds them back.

Nothing here is needed to run a model; every measurement runs in a process of its own.
"""
