"""`python -m aimv2_np` is the `aimv2-np` command."""

from aimv2_np.cli import main

main()
