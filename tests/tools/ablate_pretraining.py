"""The ablations of AIMv2's pre-training in miniature, and what they give beside the paper's (Table 9).

    python -m tests.tools.ablate_pretraining WORK [--only NAME ...] [--seeds 3] [--write]

WORK keeps a file of numbers for each variant and seed: killed, the same command goes on. Prints docs/ablations.md
in the end; `--write`: writes it.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from tests.tools.ablations.one_run import run
from tests.tools.ablations.page import page
from tests.tools.ablations.variants import VARIANTS, names

ROOT = Path(__file__).parents[2]


def measured(work: Path, name: str, seed: int) -> dict[str, float]:
    """The numbers of a variant and a seed, from WORK or from a run now."""
    kept = work / f"{list(VARIANTS).index(name):02}-{seed}.json"
    if not kept.is_file():
        folder = kept.with_suffix(".training")
        found = run(VARIANTS[name], seed, folder)
        unfinished = kept.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"variant": name, "seed": seed, **found}, ensure_ascii=False, indent=1))
        unfinished.replace(kept)
        shutil.rmtree(folder, ignore_errors=True)
        told = {key: round(number, 3) for key, number in found.items()}
        print(f"{name}, seed {seed}: {told}", file=sys.stderr, flush=True)
    return json.loads(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of: {'; '.join(VARIANTS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write docs/ablations.md instead of printing it")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        chosen = names(args.only)
    except ValueError as error:
        parser.error(str(error))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for seed in range(args.seeds):  # all variants of a seed first: what is there can be compared at any time
        for name in chosen:
            found[name].append(measured(args.work, name, seed))
    if args.only:
        return
    text = page(found)
    if args.write:
        (ROOT / "docs" / "ablations.md").write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
