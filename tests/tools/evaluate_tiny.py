"""Measure `aimv2-tiny-shapes` with this library alone and print docs/tiny-model.md (`--write`: write it).

    python -m tests.tools.evaluate_tiny [--write] [--model FOLDER] [--count N]

Pictures come from one fixed seed that training does not use.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aimv2_np import Aimv2Model, Aimv2Processor
from aimv2_np.data import tiny_model_path
from aimv2_np.data.drawing import draw
from aimv2_np.data.grammar import fact, paraphrase
from aimv2_np.data.world import ALL_PAIRS, HELD_OUT, SEEN, Pair, Scene, Thing, caption, random_scene
from tests.tools.tiny_pictures import exchanged, misplaced
from tests.tools.train_tiny import FEW, GREY, ORDERED, STEPS

SEED = 20_000
ROOT = Path(__file__).parents[2]


class Judge:
    """The model behind two functions: unit vectors of captions and of pictures of scenes."""

    def __init__(self, folder: Path, seed: int = SEED) -> None:
        self.model = Aimv2Model.from_pretrained(folder)
        self.processor = Aimv2Processor.from_pretrained(folder)
        self.rng = np.random.default_rng(seed)
        self.scale = float(np.exp(self.model.state_dict()["logit_scale"]))

    def texts(self, captions: Sequence[str]) -> np.ndarray:
        inputs = self.processor(text=list(captions), padding=True)
        features = self.model.get_text_features(**inputs)
        return features / np.linalg.norm(features, axis=-1, keepdims=True)

    def pictures(self, scenes: Sequence[Scene], batch: int = 200) -> np.ndarray:
        parts = []
        for start in range(0, len(scenes), batch):
            drawn = [draw(scene, self.rng) for scene in scenes[start : start + batch]]
            parts.append(self.model.get_image_features(self.processor(images=drawn)["pixel_values"]))
        features = np.concatenate(parts)
        return features / np.linalg.norm(features, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Named:
    """Single things named out of all 64 pairs: (right pair, answered pair) for each picture."""

    answers: list[tuple[Pair, Pair]]

    @property
    def accuracy(self) -> float:
        return float(np.mean([right == said for right, said in self.answers]))

    def part(self, index: int) -> float:
        """Share of right colours (0) or shapes (1)."""
        return float(np.mean([right[index] == said[index] for right, said in self.answers]))

    def of(self, pair: Pair) -> tuple[float, int]:
        hits = [right == said for right, said in self.answers if right == pair]
        return float(np.mean(hits)), len(hits)


def name_single_things(judge: Judge, pairs: Sequence[Pair], count: int, size: str | None = None) -> Named:
    labels = judge.texts([caption(Scene((Thing(shape, color),))) for color, shape in ALL_PAIRS])
    scenes = [random_scene(judge.rng, pairs) for _ in range(count)]
    if size:
        scenes = [Scene((replace(scene.things[0], size=size),)) for scene in scenes]
    best = (judge.pictures(scenes) @ labels.T).argmax(1)
    rights = [(str(s.things[0].color), str(s.things[0].shape)) for s in scenes]
    return Named([(right, ALL_PAIRS[b]) for right, b in zip(rights, best, strict=True)])


def distinct_doubles(rng: np.random.Generator, pairs: Sequence[Pair], count: int) -> list[Scene]:
    """`count` scenes of two things, no two of which could be told by the same caption."""
    scenes: dict[Scene, Scene] = {}
    while len(scenes) < count:
        scene = random_scene(rng, pairs, 2)
        scenes.setdefault(fact(scene), scene)
    return list(scenes.values())


def retrieve(judge: Judge, pairs: Sequence[Pair], draws: int, reword: bool = False) -> tuple[float, float]:
    """R@1 among 100: (caption for a picture, picture for a caption), mean over `draws` sets of 100 scenes."""
    hits = []
    for _ in range(draws):
        scenes = distinct_doubles(judge.rng, pairs, 100)
        captions = [paraphrase(scene, judge.rng) if reword else caption(scene) for scene in scenes]
        similarity = judge.pictures(scenes) @ judge.texts(captions).T
        truth = np.arange(100)
        hits.append([(similarity.argmax(1) == truth).mean(), (similarity.argmax(0) == truth).mean()])
    to_caption, to_picture = np.mean(hits, axis=0)
    return float(to_caption), float(to_picture)


# Captions that are wrong in one respect, to be told from the right one (chance: 50 %).
TWISTS = {
    "colours exchanged": lambda s: exchanged(s, "color"),
    "shapes exchanged": lambda s: exchanged(s, "shape"),
    "sizes exchanged": lambda s: exchanged(s, "size"),
    "places exchanged": misplaced,
}

REQUIRED = {"places exchanged": "≥ 90 %"}


def tell_apart(judge: Judge, twist: str, count: int) -> float:
    """How often the true caption beats the same caption with one twist, on pictures of two seen things."""
    kept: list[Scene] = []
    while len(kept) < count:
        scene = random_scene(judge.rng, SEEN, 2)
        if fact(TWISTS[twist](scene)) != fact(scene):
            kept.append(scene)
    pictures = judge.pictures(kept)
    right = judge.texts([caption(scene) for scene in kept])
    wrong = judge.texts([caption(TWISTS[twist](scene)) for scene in kept])
    return float(((pictures * right).sum(1) > (pictures * wrong).sum(1)).mean())


def _percent(x: float) -> str:
    return f"{100 * x:.1f} %"


def report(folder: Path, count: int) -> str:
    """docs/tiny-model.md, with the prose from its template and every number measured now."""
    judge = Judge(folder)
    unseen = name_single_things(judge, HELD_OUT, count)
    seen = name_single_things(judge, SEEN, count)
    draws = max(1, count // 100)
    found, found_picture = retrieve(judge, ALL_PAIRS, draws)
    found_seen, _ = retrieve(judge, SEEN, draws)
    found_unseen, _ = retrieve(judge, HELD_OUT, draws)
    found_reworded, _ = retrieve(judge, ALL_PAIRS, draws, reword=True)
    results = [
        ("single thing of an **unseen** pair, among all 64 captions", unseen.accuracy, "≥ 95 %"),
        ("single thing of a **seen** pair, among all 64 captions", seen.accuracy, "≥ 99 %"),
        ("caption of a picture of **two things**, among 100 (R@1)", found, "≥ 98.5 %"),
        ("the same with every pair seen", found_seen, ""),
        ("the same with every pair unseen", found_unseen, ""),
        ("the same with captions in free wording", found_reworded, ""),
        ("picture for a caption, among 100 (R@1)", found_picture, ""),
        ("unseen pairs: the colour right", unseen.part(0), ""),
        ("unseen pairs: the shape right", unseen.part(1), ""),
        ("seen pairs: the colour right", seen.part(0), ""),
        ("seen pairs: the shape right", seen.part(1), ""),
    ]
    results += [
        (f"{size} things of {what} pairs", name_single_things(judge, pairs, count, size).accuracy, "")
        for size in ("small", "large")
        for what, pairs in (("unseen", HELD_OUT), ("seen", SEEN))
    ]
    twists = [(name, tell_apart(judge, name, count), REQUIRED.get(name, "")) for name in TWISTS]
    errors = Counter(pair for pair in unseen.answers + seen.answers if pair[0] != pair[1])
    weights = folder / "model.safetensors"
    template = (Path(__file__).parent / "tiny_model.md").read_text()
    return template.format(
        parameters=sum(a.size for a in judge.model.state_dict().values()),
        megabytes=sum(f.stat().st_size for f in folder.iterdir()) / 1e6,
        weights_megabytes=weights.stat().st_size / 1e6,
        scale=judge.scale,
        seed=SEED,
        steps=STEPS,
        few=FEW,
        grey=GREY,
        ordered=ORDERED,
        ordered_twice=2 * ORDERED,
        count=count,
        draws=draws,
        margin=100 * 1.96 * (0.95 * 0.05 / count) ** 0.5,
        results="\n".join(f"| {what} | {_percent(value)} | {wanted} |" for what, value, wanted in results),
        held_out="\n".join(
            f"| {color} {shape} | {_percent(unseen.of((color, shape))[0])} | {unseen.of((color, shape))[1]} |"
            for color, shape in HELD_OUT
        ),
        twists="\n".join(f"| {what} | {_percent(value)} | {wanted} |" for what, value, wanted in twists),
        errors="\n".join(
            f"| {' '.join(right)} | {' '.join(said)} | {times} |" for (right, said), times in errors.most_common(10)
        )
        or "| none | | |",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="checkpoint folder (default: the embedded one)")
    parser.add_argument("--count", type=int, default=2000, help="pictures per measurement")
    parser.add_argument("--write", action="store_true", help="write docs/tiny-model.md instead of printing it")
    args = parser.parse_args()
    if args.count < 1000:
        parser.error(f"--count is {args.count}; with fewer than 1000 pictures a pair may not turn up. Ask for more.")
    text = report(args.model or tiny_model_path(), args.count)
    if args.write:
        (ROOT / "docs").mkdir(exist_ok=True)
        (ROOT / "docs" / "tiny-model.md").write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
