"""The door to the network: inputs are checked, the network runs, what comes out is looked at and named.

Also new models, models from checkpoints and back, and what goes through the same door: packs of images of many sizes,
features of layers, windows. No equation stands here; those are in `network`.
"""
