# SPDX-License-Identifier: Apache-2.0
"""The `microchange` command: parses, calls, prints."""
