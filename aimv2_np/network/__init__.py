"""The network: one equation per file, and the towers that they make.

Only arithmetic on arrays: no checks of a caller's input, no files, no threads, no devices.
"""
