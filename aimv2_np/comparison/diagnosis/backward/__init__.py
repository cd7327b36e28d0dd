"""Why gradients differ where what they are of agrees: one file for each family of faults, and the search among them.

A fault is a module whose output is right and whose derivative is not: the network's own operations, differentiated by
their own derivatives, of which one step is left out, repeated or taken from another expression of the same value.
"""
