# SPDX-License-Identifier: Apache-2.0
"""Networks that see change: blocks and whole nets."""
