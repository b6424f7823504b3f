"""Reading of the rows that the runs of rules left, and their tables in words."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rule_recipes import Recipe, recipe_digest, shared_training

from brainscore_lite.learning_rules import LEARNING_RULES

#: The order of tables and figures.
FAMILIES = (
    "transport", "perturbation", "hebbian", "energy", "predictive_coding", "target", "local",
    "self_supervised", "temporal", "none",
)  # fmt: skip
RUN = ["rule", "network", "seed"]


def read_rows(file: Path) -> pd.DataFrame:
    """Read the rows of runs, the last of each, with a label: rule, or rule@network.

    A rule that was trained on several networks is labelled by its network too.
    """
    return _labelled(pd.read_csv(file)).drop_duplicates(RUN, keep="last", ignore_index=True)


def read_angles(rows: Path, angles: Path) -> pd.DataFrame:
    """Read the alignment over training, the last of each run, with the labels of `read_rows`."""
    found = pd.read_csv(angles).drop_duplicates([*RUN, "epoch", "layer"], keep="last")
    return found.merge(read_rows(rows)[[*RUN, "label", "family", "exactness"]], on=RUN)


def _labelled(rows: pd.DataFrame) -> pd.DataFrame:
    several = rows.groupby("rule")["network"].transform("nunique") > 1
    return rows.assign(label=rows["rule"].mask(several, rows["rule"] + "@" + rows["network"]))


def ordered(rows: pd.DataFrame, by: str = "test_error") -> pd.DataFrame:
    """Sort by family, and within it."""
    places = rows["family"].map(FAMILIES.index)
    return rows.assign(place=places).sort_values(["place", by], kind="stable").drop(columns="place")


def own_settings(row: pd.Series) -> str:
    """Write what a run does not share with the rule's defaults and its experiment's training."""
    used = json.loads(row["settings"])
    rule, training = LEARNING_RULES[row["rule"]], shared_training(row["experiment"])
    own = {
        key: value
        for key, value in used["rule"].items()
        if value != json.loads(json.dumps(getattr(rule, key)))
    }
    own |= {key: value for key, value in used["training"].items() if value != training.get(key)}
    return in_words(own)


def in_words(settings: dict[str, Any]) -> str:
    """Write settings as ``key=value``, those of a table within them too."""
    parts = []
    for key, value in settings.items():
        if isinstance(value, dict):
            parts.append(in_words(value))
        elif isinstance(value, list):
            parts.append(f"{key}={' '.join(str(each) for each in value)}")
        else:
            parts.append(f"{key}={value}")
    return ", ".join(parts)


def unless_said_otherwise(experiment: str) -> str:
    """Write the training that all runs of an experiment share."""
    training = shared_training(experiment)
    shown = {key: value for key, value in training.items() if key != "checkpoint_epochs"}
    return f"Unless the settings say otherwise: {in_words(shown)}, and the defaults of the rule."


def cost(rows: pd.DataFrame) -> str:
    """Write the CPU time of all runs."""
    return f"CPU time of all {len(rows)} runs: {rows['cpu_seconds'].sum() / 3600:.2f} hours."


def without_row(cells: Iterable[tuple[Recipe, int]], rows: pd.DataFrame) -> str:
    """Write which runs have no row with the present settings, by their budget in epochs."""
    there = set(rows["digest"])
    missing: dict[int, dict[str, list[str]]] = {}
    for recipe, seed in cells:
        if recipe_digest(recipe, seed) not in there:
            own = missing.setdefault(recipe.training["epochs"], {})
            own.setdefault(recipe.name, []).append(str(seed))
    if not missing:
        return "Every recipe has its rows."
    lines = [
        f"* {epochs} epochs: "
        + ", ".join(f"{name} (seed {', '.join(seeds)})" for name, seeds in own.items())
        for epochs, own in sorted(missing.items())
    ]
    return "No row yet, by budget:\n\n" + "\n".join(lines)


def warned(rows: pd.DataFrame) -> str:
    """Write the warnings on the cards of the trained networks, those of one rule once."""
    found = rows.dropna(subset="warnings").groupby("label", sort=False)["warnings"].first()
    if found.empty:
        return ""
    return "Warnings:\n\n" + "\n".join(f"* {label}: {text}" for label, text in found.items())


def number(value: float, digits: int = 2) -> str:
    """Write a number with so many digits, and nothing where there is none."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def markdown(table: pd.DataFrame, columns: Sequence[str] = ()) -> str:
    """Write some columns of a table, or all, as Markdown."""
    names = list(columns) or list(table.columns)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for _, row in table.iterrows():
        cells = ["" if pd.isna(row[c]) else f"{row[c]}" for c in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
