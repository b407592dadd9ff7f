# SPDX-License-Identifier: Apache-2.0
"""The error type of the input side."""

from monai_microchange.data import InputError


def test_is_a_value_error():
    assert issubclass(InputError, ValueError)
