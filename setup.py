"""Package metadata. The exact versions that `make` installs stand in requirements.lock."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "deepspeech/__init__.py").read_text(), re.MULTILINE)

EXTRAS = {
    # torchaudio works with the torch it was built for and some later ones: up to 2.14.
    "align": ["torchaudio>=2.11"],
    # flashlight-text has no wheels for Python 3.13 yet.
    "beam": [
        "flashlight-text>=0.0.7; python_version < '3.13'",
        "kaldingram>=0.1.2",
        "kenlm-ex>=0.2.1; python_version < '3.13'",
        "optuna>=4",
    ],
    "synthetic": ["espeakng-loader>=0.2.4"],
    "shards": ["webdataset>=1.0"],
    "tensorboard": ["tensorboard>=2.17"],
}
EXTRAS["dev"] = sorted(
    {
        *(requirement for requirements in EXTRAS.values() for requirement in requirements),
        "cysox>=0.3; sys_platform != 'win32'",  # oracle of the change of tempo
        "hypothesis>=6.100",
        "jiwer>=4",  # oracle of the error rates
        "librosa>=0.11",  # oracle of the features
        "pytest>=8",
        "pytest-xdist>=3.6",  # tests on several cores
        "ruff>=0.12",
        "setuptools>=77",  # installs this package into the environment
    }
)

setup(
    name="deepspeech",
    version=VERSION[1],
    description="Deep Speech 2 in PyTorch: train speech-to-text models, measure them, transcribe",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["deepspeech*"]),
    package_data={"deepspeech.tools": ["templates/*.html"]},
    python_requires=">=3.11",
    install_requires=[
        "fsspec>=2024.6",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "python-Levenshtein>=0.25",
        "scipy>=1.11",
        "soundfile>=0.12.1",
        "soxr>=0.5",
        "torch>=2.11,<2.15",
        "tqdm>=4.66",
    ],
    extras_require=EXTRAS,
)
