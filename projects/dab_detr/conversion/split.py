"""Splits a validation set off the training set."""

import random
from collections import Counter

from .records import Picture


def split_off(pictures: list[Picture], fraction: float, seed: int) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures of train and of val; together they are `pictures`, each once and in their order.

    fraction: the fraction that becomes val: at least one picture, and never all.
    seed: the same pictures and the same seed give the same sets, independent of the order and the place of the files.

    Classes take turns, the rarest first. A fraction of the pictures of each class goes to val: at least one picture if
    the class has two or more. A class with a single picture stays in train. Raises ValueError if the fraction is not
    between 0 and 1, or if there are fewer than two pictures.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction for val must be between 0 and 1, got {fraction}")
    if len(pictures) < 2:
        raise ValueError("a training set of fewer than two pictures cannot be split into train and val")
    wanted = min(max(1, round(fraction * len(pictures))), len(pictures) - 1)
    order = sorted(range(len(pictures)), key=lambda i: pictures[i].path.as_posix())
    random.Random(seed).shuffle(order)
    names = [{item.name for item in picture.items} for picture in pictures]
    in_train = Counter(name for i in order for name in names[i])
    totals, chosen, settled = in_train.copy(), set(), set()

    def choose(i: int) -> None:
        """Move a picture to val if train keeps each of its classes and val is not full."""
        if i not in chosen and len(chosen) < wanted and all(in_train[name] > 1 for name in names[i]):
            chosen.add(i)
            in_train.subtract(names[i])

    for name in sorted(totals, key=lambda name: (totals[name], name)):
        share = max(1, round(fraction * totals[name]))
        for i in order:
            if name in names[i] and i not in settled:
                settled.add(i)
                if totals[name] - in_train[name] < share:
                    choose(i)
    for i in (*(i for i in order if not names[i]), *order):  # background first, then what train can spare
        choose(i)
    chosen = chosen or {order[0]}
    train = [picture for i, picture in enumerate(pictures) if i not in chosen]
    return train, [picture for i, picture in enumerate(pictures) if i in chosen]
