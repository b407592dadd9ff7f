# SPDX-License-Identifier: Apache-2.0
"""A package, so that modules here may bear the names of test modules elsewhere."""
