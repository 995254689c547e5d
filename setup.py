"""What synthdiv is, what it needs, and the extras that add an accelerator, evaluation or tests.

The base installation scores and generates corpora and stays light: no JAX, no PyTorch. Lower
bounds are versions that the test suite has passed with; the exact versions that are known to work
together, one set per Python minor, are in third_party/locks/.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The version of synthdiv/__init__.py, read as text: nothing is imported to build."""
    text = (HERE / "synthdiv" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE).group(1)


class BuildWithConfigs(build_py):
    """Takes configs/ along as synthdiv/configs/ wherever the package is not run from a checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            inside = Path(self.build_lib) / "synthdiv" / "configs"
            shutil.copytree(HERE / "configs", inside, dirs_exist_ok=True)


BASE = [
    "absl-py>=2.1",
    "gin-config>=0.5",
    "jinja2>=3.1",
    "json_repair>=0.30",
    "lazy_loader>=0.4",
    "markupsafe>=3.0",
    "numpy>=2.0",
    "openai>=1.60",
    "py3langid>=0.4",
    "pyarrow>=18",
    "pydantic>=2.10",
    "rensa>=0.5,<0.6",
    "scikit-learn>=1.6",
    "scipy>=1.14",
    "tqdm>=4.66",
    "zstandard>=0.23",
]
TRAIN = [
    "array_record>=0.8.1",
    "flax>=0.12.8",
    "grain>=0.2.18",
    "importlib_resources>=6.0",  # tensorflow-datasets builds data sets with it and does not say so
    "jax>=0.10.2",
    "ml_dtypes>=0.5",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "safetensors>=0.5",
    "sentencepiece>=0.2",
    "tensorboardX>=2.6",
    "tensorflow-datasets>=4.9.9",
    "tokenizers>=0.21",
]
# Data sets, tokenizers and models of the Hugging Face hub.
HUB = ["datasets>=3.0", "huggingface_hub>=0.30"]
# Buckets: s3:// of Amazon and all servers that speak its protocol, gs:// of Google.
S3 = ["fsspec>=2026.9", "s3fs>=2026.9"]
GCS = ["fsspec>=2026.9", "gcsfs>=2026.9"]
EVAL = [*TRAIN, *HUB, "lm_eval>=0.4.13", "transformers>=5.0"]
# Before 3.0 it sends calls again by itself when a connection breaks: caps would not hold.
GEMINI = ["google-genai>=3.0"]
# PyPI's default build of torch brings several GB of CUDA; launch/test.sh looks for the CPU build.
PARITY = [*EVAL, "torch>=2.6"]
# Embeddings of documents by a pre-trained model; brings PyTorch too.
EMBEDDINGS = ["sentence-transformers>=3.0"]
WANDB = ["wandb>=0.18"]
# Figures for a paper; pages draw theirs without it.
PLOTS = ["matplotlib>=3.9"]
# Work on the machines of a cluster, which all need it.
RAY = ["ray>=2.40"]
# The site is built by mkdocs 1.x; 2.0 drops the themes and plugins that it is made of.
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7", "mkdocstrings[python]>=1.0"]
DEV = [
    *EVAL,
    *GEMINI,
    *DOCS,
    *PLOTS,
    *S3,
    "axe-playwright-python>=0.1.4",
    "flask>=3.1",  # with flask-cors, what moto's server needs
    "flask-cors>=6.0",
    "hypothesis>=6.100",
    "import-linter>=2.5",
    "ipykernel>=6.29",
    "kubeflow-trainer-api>=2.3",  # the published API of JobSet and Kubernetes, as models
    "moto[s3]>=5.2",
    "mypy>=2.0",
    "nbclient>=0.10",
    "pandas>=2.2",
    "pre-commit>=4.0",
    "playwright>=1.50",
    "pytest>=8.3",
    "pytest-xdist>=3.6",
    "pyyaml>=6.0",
    "ruff>=0.12",
    "scipy-stubs>=1.14",
]

setup(
    name="synthdiv",
    version=version(),
    description="Measures how diverse a synthetic corpus is, and what that does to a model.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8")
    if (HERE / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.15",
    packages=find_packages(include=["synthdiv", "synthdiv.*"]),
    package_dir={"": "."},
    package_data={
        "": ["*.jinja", "*.json", "*.jsonl", "*.css", "*.js", "*.txt", "*.pyi", "py.typed"],
        "synthdiv.reporting": ["templates/*.jinja"],
    },
    cmdclass={"build_py": BuildWithConfigs},
    install_requires=BASE,
    extras_require={
        "train": TRAIN,
        "cuda": [*TRAIN, "jax[cuda12]>=0.10.2; sys_platform == 'linux'"],
        "tpu": [*TRAIN, "jax[tpu]>=0.10.2; sys_platform == 'linux'"],
        "eval": EVAL,
        "hub": HUB,
        "s3": S3,
        "gcs": GCS,
        "gemini": GEMINI,
        # The retired SDK holds protobuf below 6, which the other extras do not: on its own only.
        "gemini-retired": ["google-generativeai>=0.8.5"],
        "parity": PARITY,
        "embeddings": EMBEDDINGS,
        "wandb": WANDB,
        "plots": PLOTS,
        "ray": RAY,
        "docs": DOCS,
        "dev": DEV,
    },
    entry_points={
        "console_scripts": ["synthdiv = synthdiv.cli:main"],
        "synthdiv.backends": ["offline = synthdiv.offline.backend:make_backend"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
