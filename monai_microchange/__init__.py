# SPDX-License-Identifier: Apache-2.0
"""Compare two scans of one patient and show what changed."""

__version__ = "0.1.0"
