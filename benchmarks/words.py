"""Photos found by words that nobody wrote: names of kinds asked of collections whose names and folders are hidden.

    python benchmarks/words.py [--shared ../shared/data] [--only corel1k ...]

Each collection is indexed with nothing named but the encoder ``neural``, from links with numbers for names. A word's right answers
are the images of its folders; labels only score. The words of Corel-1k are those of its folders that name a kind. Imagenette's kinds
are among the classes that the networks learnt, so it says how much the stored descriptors keep, and no more. The constants of
``search/tags.py`` were chosen with Corel-1k in sight.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from study import keep

from lookalike import build_index
from lookalike.encoders.concepts import concepts

#: Collection -> word -> its folders.
WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "corel1k": {
        "bus": ("buses",), "elephant": ("elephants",), "horse": ("horses",), "flower": ("flowers",),
        "dinosaur": ("dinosaurs",), "beach": ("beaches",), "mountain": ("mountains",), "food": ("food",),
    },
    "imagenette": {
        name.replace("-", " "): (name,)
        for name in ("cassette-player", "chain-saw", "church", "english-springer", "french-horn", "garbage-truck", "gas-pump",
                     "golf-ball", "parachute", "tench")
    },
    "cifar10": {
        name: (name,) for name in ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    },
    "corel80": {
        "castle": ("bld_castle",), "lighthouse": ("bld_lighthse",), "sculpture": ("bld_sculpt",), "drink": ("eat_drinks",),
        "balloon": ("obj_balloon",), "bonsai": ("obj_bonsai",), "bus": ("obj_bus",), "car": ("obj_car",), "dish": ("obj_dish",),
        "doll": ("obj_doll",), "door": ("obj_door",), "mask": ("obj_mask",), "ship": ("obj_ship",), "train": ("obj_train",),
        "cat": ("pet_cat",), "dog": ("pet_dog",), "flower": ("pl_flower",), "mushroom": ("pl_mashroom",), "iceberg": ("sc_iceburg",),
        "mountain": ("sc_mountain",), "waterfall": ("sc_waterfal",), "ski": ("sp_ski",), "butterfly": ("wl_buttrfly",),
        "cougar": ("wl_cougr",), "deer": ("wl_deer",), "eagle": ("wl_eagle",), "elephant": ("wl_elephant",), "fish": ("wl_fish",),
        "fox": ("wl_fox",), "goat": ("wl_goat",), "horse": ("wl_horse",), "leopard": ("wl_lepoad",), "lion": ("wl_lion",),
        "lizard": ("wl_lizard",), "owl": ("wl_owls",), "primate": ("wl_primates",), "rhinoceros": ("wl_roho",),
        "tiger": ("wl_tiger",), "wolf": ("wl_wolf",),
    },
    "stamps": {
        "bird": ("animals-birds",), "fish": ("animals-fish",), "insect": ("animals-insects",), "mammal": ("animals-mammals",),
        "hat": ("clothes-hats",), "fruit": ("food-fruit",), "vegetable": ("food-vegetables",), "dish": ("household-dishes",),
        "tool": ("household-tools",), "flower": ("plants-flowers",), "tree": ("plants-trees",),
    },
}  # fmt: skip


def asked(folder: Path, words: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return precision at 10 and average precision of each word; an image that isn't found comes after all others."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    order = np.random.default_rng(0).permutation(len(files))
    kind = {f"{number:05}{files[at].suffix}": files[at].parent.name for number, at in enumerate(order.tolist())}
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch, "images")
        images.mkdir()
        for name, at in zip(kind, order.tolist(), strict=True):
            (images / name).symlink_to(files[at].resolve())
        index = build_index(images, "neural", Path(scratch, "index"))
        for word, folders in words.items():
            right = {name for name, of in kind.items() if of in folders}
            if not right:
                continue
            meaning = concepts().meaning(word)
            matches = [match.id for match in index.ask({"words": word, "k": len(index)}).matches]
            hits = np.array([name in right for name in matches], np.bool_)
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            known = "no" if meaning is None else "by another" if meaning.instead else "yes"
            found.append({
                "word": word, "known": known, "right": len(right), "found": len(matches), "P@10": float(hits[:10].sum() / 10),
                "AP": float((precision * hits).sum() / len(right)),
            })  # fmt: skip
            print(folder.name, found[-1], flush=True)
    return found


def main() -> None:
    """Ask, and keep what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", nargs="+", choices=WORDS, default=list(WORDS))
    options = parser.parse_args()
    for name in options.only:
        folder = options.shared / name if name == "corel1k" else options.shared / "labelled" / name
        keep("words", name, asked(folder, WORDS[name]))


if __name__ == "__main__":
    main()
