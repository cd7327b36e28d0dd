"""A folder of pictures that grows, and what a file of them has to be."""

from pathlib import Path

from aimv2_np.tasks import embed, open_features
from aimv2_np.tasks.embedding.ledger import read_ledger
from tests.support.pictures import photo


def add(folder, numbers, **options):
    """Pictures of different sizes in a folder; every 30th is none."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        photo(17 + number % 7, 25 + number % 5, seed=number, **options).save(folder / f"{number:03d}.png")
        if number % 30 == 7:
            (folder / f"{number:03d}.png").write_bytes(b"no picture")
    return folder


def whole(model, output, **options):
    """A file of one run over the pictures that are in `output`, in its order."""
    names = read_ledger(open_features(output)).names
    clean = Path(f"clean{output.suffix}")
    clean.unlink(missing_ok=True)
    embed(names, clean, model=model, **options)
    return clean.read_bytes()
