"""Turn the sdist of Detectron2 0.5 into a package that today's numpy, Pillow and pip can use.

The release of 2021 does not import with numpy 1.24 or Pillow 10 and later, and its C++ code does not
compile against today's torch. This module replaces the few removed names by current ones, the compiled module by a
stand-in, and the setup.py by one that needs neither torch nor a compiler. The functions of the compiled module (rotated
boxes, deformable convolution, the fast COCO evaluator) are missing. The COCO evaluator falls back to pycocotools, which
computes the same.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

LACKS = (
    "rotated boxes and deformable convolution (they need its compiled code)",
    "the fast COCO evaluator (pycocotools takes its place: same numbers, slower)",
    "export by Caffe2, which torch has dropped (detectron2.export keeps its tracing and scripting)",
    "gloo in its launcher (several processes need CUDA and nccl)",
)

STAND_IN = '''"""Stands in for Detectron2's compiled module, which this installation was made without."""


def get_compiler_version():
    return "none"


def get_cuda_version():
    return "none"


def has_cuda():
    return False


def __getattr__(name):
    raise AttributeError(
        f"detectron2._C.{name} is compiled code, and this Detectron2 0.5 was installed without any. "
        "Install detectron2 from https://github.com/facebookresearch/detectron2 to have it."
    )
'''

SLOW_COCO_EVALUATION = """

if not hasattr(_C, "COCOevalEvaluateImages"):
    COCOeval_opt = COCOeval
"""

EXPORT = """

try:
    from .api import *  # needs Caffe2
except ModuleNotFoundError as error:
    if error.name.partition(".")[0] != "caffe2":
        raise
"""

SETUP = """from setuptools import find_packages, setup

PROJECTS = {
    "detectron2.projects.point_rend": "projects/PointRend/point_rend",
    "detectron2.projects.deeplab": "projects/DeepLab/deeplab",
    "detectron2.projects.panoptic_deeplab": "projects/Panoptic-DeepLab/panoptic_deeplab",
}

setup(
    name="detectron2",
    version="0.5",
    description="Detectron2 0.5 without its compiled code, made importable (sdist detectron2-cdo)",
    url="https://github.com/facebookresearch/detectron2",
    license="Apache-2.0",
    packages=find_packages(include=["detectron2", "detectron2.*"]) + list(PROJECTS),
    package_dir=PROJECTS,
    package_data={"detectron2.model_zoo": ["configs/**/*.yaml", "configs/**/*.py"]},
    install_requires=[
        "cloudpickle",
        "fvcore>=0.1.5,<0.1.6",
        "iopath>=0.1.7,<0.1.10",
        "matplotlib",
        "omegaconf>=2.1,<2.4",
        "Pillow>=9.1",
        "pycocotools>=2.0.2",
        "setuptools<81",
        "tabulate",
        "tensorboard",
        "termcolor>=1.1",
        "torch",
        "torchvision",
        "tqdm>4.29.0",
        "yacs>=0.1.6",
    ],
)
"""


def modernize(text: str) -> str:
    """Replace the names in the source `text` that numpy 1.24 and Pillow 10 removed.

    >>> modernize("np.zeros(3, dtype=np.int), np.int64(1), Image.LINEAR")
    'np.zeros(3, dtype=int), np.int64(1), Image.BILINEAR'
    """
    text = re.sub(r"\bnp\.(bool|int|float|object|str)\b", r"\1", text)
    return re.sub(r"\bImage\.LINEAR\b", "Image.BILINEAR", text)


def patch(source: Path) -> None:
    """Patch the unpacked sdist in the folder `source` in place; raises ValueError for another one."""
    package = source / "detectron2"
    init = package / "__init__.py"
    if not init.is_file() or '__version__ = "0.5"' not in init.read_text():
        raise ValueError(f"{source} does not hold the source of Detectron2 0.5")
    for path in source.rglob("*.py"):
        path.write_text(modernize(path.read_text()))
    (package / "_C.py").write_text(STAND_IN)
    with (package / "evaluation" / "fast_eval_api.py").open("a") as evaluator:
        evaluator.write(SLOW_COCO_EVALUATION)
    export = package / "export" / "__init__.py"
    export.write_text(export.read_text().replace("\nfrom .api import *\n", EXPORT))
    for metadata in source.glob("*.egg-info"):
        shutil.rmtree(metadata)
    (source / "setup.py").write_text(SETUP)
