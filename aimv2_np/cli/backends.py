"""`aimv2-np info --backends`: what can compute here."""

from aimv2_np.cli import output


def tell_backends(as_json: bool) -> None:
    """Print what `describe_backends` finds."""
    from aimv2_np.bench.backends import describe_backends

    found = describe_backends()
    if as_json:
        output.print_json(found)
        return
    table = output.facts()
    numpy, cupy = found["numpy"], found["cupy"]
    threads = f", {output.plural(numpy['threads'], 'thread')}" if numpy["threads"] else ""
    table.add_row("python", found["python"])
    table.add_row("numpy", f"{numpy['version']} with {numpy['blas']}{threads}; {', '.join(numpy['dtypes'])}")
    if not cupy["usable"]:
        table.add_row("cupy", output.printable(cupy["problem"]))
    else:
        dtypes = ", ".join(cupy["dtypes"])
        table.add_row("cupy", f"{cupy['version']} for CUDA {cupy['runtime']}, driver for {cupy['driver']}; {dtypes}")
    for number, device in enumerate(cupy["devices"]):
        memory = f"{output.bytes_of(device['free'])} of {output.bytes_of(device['memory'])} free"
        facts = f"{device['name']}, compute capability {device['compute_capability']}, {memory}"
        table.add_row(f"device {number}", output.printable(facts))
    output.console().print(table)
