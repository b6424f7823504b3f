"""Refusals of settings without a meaning, in the same sentences for all rules."""

from __future__ import annotations

import math
from collections.abc import Iterable

from brainscore_lite.learning_rules.learning_rule import LearningRule
from brainscore_lite.schema import ContractError


def check_choices(rule: LearningRule, **known: Iterable[str]) -> None:
    """Refuse a setting that is none of its choices.

    Parameters
    ----------
    rule : LearningRule
    known : iterable of str
        The choices, by the name of the setting.

    Raises
    ------
    ContractError
    """
    for setting, choices in known.items():
        chosen = getattr(rule, setting)
        if chosen not in (names := tuple(choices)):
            raise ContractError(
                f"{rule.name}: {setting} is '{chosen}', which is unknown. Choose one of: "
                f"{', '.join(names)}."
            )


def check_positive(rule: LearningRule, *settings: str) -> None:
    """Refuse settings that are no finite numbers above 0.

    Parameters
    ----------
    rule : LearningRule
    settings : str
        Their names.

    Raises
    ------
    ContractError
    """
    for setting in settings:
        given = getattr(rule, setting)
        if not 0 < given < math.inf:
            raise ContractError(f"{rule.name}: {setting} is {given}, expected a number above 0.")
