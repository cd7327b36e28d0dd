"""`aimv2-np info --backends`: what can compute here."""

from typing import Any

from aimv2_np.cli import output


def tell_backends(as_json: bool) -> None:
    """Print what `describe_backends` finds, and whether a GPU records CUDA graphs."""
    from aimv2_np.bench.backends import describe_backends, try_graphs

    found = describe_backends()
    if found["cupy"]["usable"]:
        found["cupy"]["graphs"] = try_graphs()
    if as_json:
        output.print_json(found)
        return
    table = output.facts()
    numpy, cupy = found["numpy"], found["cupy"]
    threads = f", {output.plural(numpy['threads'], 'thread')}" if numpy["threads"] else ""
    table.add_row("python", found["python"])
    table.add_row("numpy", f"{numpy['version']} with {numpy['blas']}{threads}; {', '.join(numpy['dtypes'])}")
    table.add_row("float32", output.printable(found["native"]["reason"]))
    if not cupy["usable"]:
        table.add_row("cupy", output.printable(cupy["problem"]))
    else:
        dtypes = ", ".join(cupy["dtypes"])
        table.add_row("cupy", f"{cupy['version']} for CUDA {cupy['runtime']}, driver for {cupy['driver']}; {dtypes}")
        table.add_row("graphs", output.printable(graphs_line(cupy["graphs"])))
    for number, device in enumerate(cupy["devices"]):
        memory = f"{output.bytes_of(device['free'])} of {output.bytes_of(device['memory'])} free"
        facts = f"{device['name']}, compute capability {device['compute_capability']}, {memory}"
        table.add_row(f"device {number}", output.printable(facts))
    output.console().print(table)


def graphs_line(counts: dict[str, Any]) -> str:
    """What was recorded and replayed, and why not more, as one sentence."""
    recorded, replayed = output.plural(counts["recorded"], "CUDA graph"), output.plural(counts["replayed"], "time")
    line = f"{recorded} recorded, replayed {replayed}"
    if counts["failed"]:
        line += f"; {output.plural(counts['failed'], 'recording')} failed: {'; '.join(counts['reasons'])}"
    return line
