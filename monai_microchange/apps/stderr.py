# SPDX-License-Identifier: Apache-2.0
"""Where commands report what is wrong, and the exit code that goes with it."""

from rich.console import Console

__all__ = ["BAD_INPUT", "errors"]

BAD_INPUT = 2
"""Exit code when the input cannot be used."""

errors = Console(stderr=True, highlight=False)
