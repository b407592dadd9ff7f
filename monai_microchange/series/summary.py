# SPDX-License-Identifier: Apache-2.0
"""What `series.json` and each pair's `result.json` say of a series: what was done, how well, and what is in doubt."""

from collections.abc import Mapping, Sequence
from typing import Any

from monai_microchange.data import Visit
from monai_microchange.enums import VISITS
from monai_microchange.result import ChangeResult
from monai_microchange.series.align import SeriesAlignment
from monai_microchange.series.records import SeriesLesion, SeriesVisit, pair_name

__all__ = ["pair_facts", "series_facts"]

SHARED = ("software", "bundle", "anatomy", "device", "seeds", "region", "change_labels", "note")
"""What of a pair's record holds for the whole series."""
OF_PAIR = ("interval_days", "counts", "volume_mm3", "registration")


def pair_facts(pair: tuple[int, int], n_visits: int, result: ChangeResult) -> dict[str, Any]:
    """The record of a pair, with its place in the series."""
    series = {"visits": list(pair), "n_visits": n_visits, "lesion_ids": "one number for one lesion in the whole series"}
    return {**result.provenance, "series": series}


def series_facts(
    scans: Sequence[Visit],
    visits: Sequence[SeriesVisit],
    pairs: Mapping[tuple[int, int], ChangeResult],
    lesions: Sequence[SeriesLesion],
    alignment: SeriesAlignment,
) -> dict[str, Any]:
    """The record of a series. It names no patient, no path and no date."""
    records = {pair: result.provenance for pair, result in pairs.items()}
    first = next(iter(records.values()))
    inputs = {number: record["inputs"][visit] for pair, record in records.items() for number, visit in _named(pair)}
    return {
        **{name: first[name] for name in SHARED if name in first},
        "visits": [
            {
                "number": visit.number,
                "days": visit.days,
                "brain_share_in_common_grid": _rounded(share),
                **inputs[visit.number],
            }
            for visit, share in zip(visits, alignment.brain_shares, strict=True)
        ],
        "pairs": [
            {"visits": list(pair), "folder": f"pairs/{pair_name(pair)}", **_chosen(record)}
            for pair, record in records.items()
        ],
        "alignment": _alignment_facts(alignment),
        "lesions": {"all": len(lesions), "changed": sum(_is_changed(lesion) for lesion in lesions)},
        "warnings": _warnings(scans, records, alignment),
    }


def _named(pair: tuple[int, int]) -> list[tuple[int, str]]:
    return list(zip(pair, VISITS, strict=True))


def _chosen(record: Mapping[str, Any]) -> dict[str, Any]:
    comparability = {name: record["comparability"][name] for name in ("verdict", "reasons")}
    return {**{name: record[name] for name in OF_PAIR}, "comparability": comparability}


def _is_changed(lesion: SeriesLesion) -> bool:
    return any(row.change_type is not None for row in lesion.rows.values())


def _alignment_facts(alignment: SeriesAlignment) -> dict[str, Any]:
    closure = alignment.loop_closure_mm
    edges = [
        {"visits": [a + 1, b + 1], **{name: _rounded(value) for name, value in edge.items()}}
        for (a, b), edge in alignment.edges.items()
    ]
    return {"loop_closure_mm": None if closure is None else _rounded(closure), "registrations": edges}


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _warnings(
    scans: Sequence[Visit], records: Mapping[tuple[int, int], Mapping[str, Any]], alignment: SeriesAlignment
) -> list[str]:
    """Each doubt once: of the visits, of the alignment, of the pairs."""
    of_visits = list(dict.fromkeys(warning for visit in scans for warning in visit.warnings))
    of_pairs = [
        f"visits {a} and {b}: {warning}"
        for (a, b), record in records.items()
        for warning in record["warnings"]
        if warning not in of_visits
    ]
    return [*of_visits, *alignment.warnings, *of_pairs]
