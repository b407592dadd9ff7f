# SPDX-License-Identifier: Apache-2.0
"""Tests of the quality gate."""
