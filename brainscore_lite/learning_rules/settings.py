"""Refusals of settings without a meaning, in the same sentences for all rules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

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
        if not (_is_number(given) and 0 < given < math.inf):
            raise ContractError(f"{rule.name}: {setting} is {given}, expected a number above 0.")


def check_not_negative(rule: LearningRule, *settings: str) -> None:
    """Refuse settings that are no finite numbers of at least 0.

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
        if not (_is_number(given) and 0 <= given < math.inf):
            raise ContractError(
                f"{rule.name}: {setting} is {given}, expected a number of at least 0."
            )


def check_counts(rule: LearningRule, *settings: str, least: int = 1) -> None:
    """Refuse settings that are no whole numbers, or too few.

    Parameters
    ----------
    rule : LearningRule
    settings : str
        Their names.
    least : int

    Raises
    ------
    ContractError
    """
    for setting in settings:
        given = getattr(rule, setting)
        if not (isinstance(given, int) and _is_number(given) and given >= least):
            raise ContractError(
                f"{rule.name}: {setting} is {given}, expected a whole number of at least {least}."
            )


def _is_number(given: Any) -> bool:
    return isinstance(given, Real) and not isinstance(given, bool)
