# SPDX-License-Identifier: Apache-2.0
"""The error of input that cannot be compared."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A scan, mask or pair that cannot be used, with the reason in one sentence.

    The message names the file, what was expected, what came and what to do. The command line prints it and exits
    with code 2.

    Example:
        >>> raise InputError("a.nii.gz: expected a 3D image, got 2D; give the whole volume.")
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: a.nii.gz: expected a 3D image, got 2D; give the whole volume.
    """
