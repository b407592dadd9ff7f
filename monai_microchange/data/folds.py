# SPDX-License-Identifier: Apache-2.0
"""Folds of a cross-validation in which no patient is in two."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monai_microchange.data.errors import InputError
from monai_microchange.data.labelled_pair import LabelledPair

__all__ = ["DEFAULT_FOLDS", "assign_folds", "patients_in_two_folds"]

DEFAULT_FOLDS = 5


def assign_folds(cases: Sequence[LabelledPair], n_folds: int | None = None, *, seed: int = 0) -> list[LabelledPair]:
    """Put each patient, with all pairs, into a fold, so that folds hold about as many labelled pairs, then pairs.

    The patients with most pairs go first, each into the fold that has least; the seed decides among equals. The same
    pairs and seed give the same folds, in whatever order the pairs come.

    Args:
        cases: pairs.
        n_folds: by default five, or as many as there are patients (with labels, if any has).
        seed: of the order of patients with equally many pairs.

    Returns:
        The pairs in their order, with `fold` from 0; None everywhere for `n_folds` 0.

    Raises:
        InputError: if there are fewer patients than folds, or `n_folds` is negative.

    Example:
        >>> pairs = [LabelledPair(f"{i}", "a", "b", "label", patient=f"p{i // 2}") for i in range(6)]
        >>> folds = [case.fold for case in assign_folds(pairs, 3)]
        >>> folds[0] == folds[1], sorted(set(folds))
        (True, [0, 1, 2])
    """
    if n_folds == 0 or not cases:
        return [replace(case, fold=None) for case in cases]
    weight: dict[str, np.ndarray] = {}
    for case in cases:
        weight.setdefault(case.patient, np.zeros(2, int))
        weight[case.patient] += (int(case.labelled), 1)
    split = [name for name in weight if weight[name][0]] or list(weight)
    n_folds = min(DEFAULT_FOLDS, len(split)) if n_folds is None else n_folds
    if not 1 <= n_folds <= len(split):
        raise InputError(
            f"expected 1 to {len(split)} folds, as there are {len(split)} patients to share out, got {n_folds}; "
            "choose fewer folds."
        )
    fold_of = _share_out(weight, n_folds, seed)
    return [replace(case, fold=fold_of[case.patient]) for case in cases]


def _share_out(weight: dict[str, np.ndarray], n_folds: int, seed: int) -> dict[str, int]:
    names = sorted(weight)
    shuffled = [names[i] for i in np.random.RandomState(seed).permutation(len(names))]
    shuffled.sort(key=lambda name: (-weight[name][0], -weight[name][1]))  # stable: equals stay shuffled
    load = np.zeros((n_folds, 2), int)
    fold_of = {}
    for name in shuffled:
        # a patient without labels must not fill up the fold that has fewest of them
        columns = (0, 1) if weight[name][0] else (1,)
        fold_of[name] = min(range(n_folds), key=lambda fold: tuple(load[fold, list(columns)]))
        load[fold_of[name]] += weight[name]
    return fold_of


def patients_in_two_folds(cases: Sequence[LabelledPair]) -> dict[str, str]:
    """Patients, with their folds in words, whose pairs are not all in one: a model would be tested on what it learnt.

    >>> patients_in_two_folds([LabelledPair(f"{n}", "a", "b", patient="p", fold=fold) for n, fold in enumerate((2, 0))])
    {'p': 'folds 0, 2'}
    """
    folds: dict[str, set[str]] = {}
    for case in cases:
        folds.setdefault(case.patient, set()).add(str(case.fold))
    return {patient: f"folds {', '.join(sorted(of))}" for patient, of in folds.items() if len(of) > 1}
