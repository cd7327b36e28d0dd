"""How fast and how large the models are on this machine, and what holds them back.

`run` (and `gpu`) say what is measured and start a process for each measurement; `worker` and `cold` are what runs in
such a process, `talk` how the two speak. `models` makes what is measured, `flops` counts its arithmetic, `ceilings` and
`memory` measure the machine. Nothing here is needed to run a model, and comparisons with other libraries stand beside
the tests, not here.
"""
