"""Where arrays live and who computes with them: operations and their bodies, NumPy and CuPy arrays, devices, threads.

Nothing here knows a layer, a model or a file.
"""
