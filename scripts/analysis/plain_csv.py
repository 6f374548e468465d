"""CSV output that is safe to open in a spreadsheet."""

from __future__ import annotations

import pandas as pd


def csv_text(data: pd.DataFrame) -> str:
    """A table as CSV. Texts that a spreadsheet would run as a formula get a leading apostrophe."""
    safe = data.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = [f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
                          else value for value in safe[name]]
    return safe.to_csv(index=False, lineterminator="\n", float_format="%.10g")
