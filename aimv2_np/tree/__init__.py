"""A model as a tree of arrays: modules, the paths of their arrays, and recording what each module computes.

Nothing here knows which layers there are.
"""
