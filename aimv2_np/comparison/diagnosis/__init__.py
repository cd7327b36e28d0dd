"""Why two implementations differ: one file for each family of faults, and the search among them.

A fault is a row of a table: a sentence, and how to give it to a module of the network. `diagnose` plants them; what
differs has been found before, by `compare`, and what is said of it is `report`'s business.
"""
