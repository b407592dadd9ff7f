# SPDX-License-Identifier: Apache-2.0
"""Where the bundles and the sample that come with the package lie, installed or in a checkout."""

from pathlib import Path

__all__ = ["shipped_bundle", "shipped_sample"]


def shipped_bundle(name: str = "ms_lesion_change") -> Path:
    """Folder of a bundle that comes with the package.

    Raises:
        FileNotFoundError: if there is no such bundle.

    Example:
        >>> shipped_bundle("ms_lesion_change").name
        'ms_lesion_change'
    """
    return _shipped("bundles", name)


def shipped_sample(name: str = "ms_flair_pair") -> Path:
    """Folder of a sample pair that comes with the package.

    Raises:
        FileNotFoundError: if there is no such sample.

    Example:
        >>> shipped_sample().name
        'ms_flair_pair'
    """
    return _shipped("data_samples", name)


def _shipped(kind: str, name: str) -> Path:
    package = Path(__file__).resolve().parent
    # a wheel carries them inside the package, a checkout beside it
    for parent in (package, package.parent):
        if (parent / kind / name).is_dir():
            return parent / kind / name
    raise FileNotFoundError(f"{kind}/{name} is neither in {package} nor beside it: install monai-microchange again")
