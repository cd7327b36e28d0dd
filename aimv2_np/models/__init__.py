"""The models: inputs are checked, the network runs, and its results are checked and returned as outputs with names.

Also new models, models from checkpoints and back, and other ways to run
them: packs of images of many sizes, features of layers, windows. Equations belong to `network`.
"""
