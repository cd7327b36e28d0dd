"""One file per layout: the names that a codebase gives to our tensors, each a table; which one a checkpoint has.

Names and shapes alone belong here: how bytes are read and written is for `formats`.
"""
