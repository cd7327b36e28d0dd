"""How fast and how large the models are on this machine, and what holds them back.

`run` says what is measured, on the CPU or a GPU, and starts a process for each measurement; `worker` and `cold` are
what runs in such a process, `talk` how the two speak. `models` makes the checkpoints that are measured, `subject` and
`gpu` time them, `profile` tells where the time goes, `flops` counts the arithmetic, `ceilings`, `memory`, `machine`,
`blas` and `backends` look at the machine. Nothing here is needed to run a model, and comparisons with other libraries
stand beside the tests, not here.
"""
