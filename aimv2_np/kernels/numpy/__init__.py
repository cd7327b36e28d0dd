"""NumPy bodies of the network's operations: fewer passes over memory, and all cores."""
