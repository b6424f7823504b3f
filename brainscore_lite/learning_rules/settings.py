"""Refusals of settings without a meaning, in the same sentences for all rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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
    """Refuse settings that are no finite numbers above 0; a `ContractError` names the first."""
    _check(rule, settings, "a number above 0", lambda given: _is_number(given) and given > 0)


def check_not_negative(rule: LearningRule, *settings: str) -> None:
    """Refuse settings that are no finite numbers of at least 0, as `check_positive` does."""
    _check(rule, settings, "a number of at least 0", lambda given: _is_number(given) and given >= 0)


def check_counts(rule: LearningRule, *settings: str, least: int = 1) -> None:
    """Refuse settings that are no whole numbers, or below the least, as `check_positive` does."""
    expected = f"a whole number of at least {least}"
    _check(rule, settings, expected, lambda given: _is_count(given) and given >= least)


def check_shares(
    rule: LearningRule, *settings: str, above_0: bool = False, below_1: bool = False
) -> None:
    """Refuse settings that are no numbers from 0 to 1, as `check_positive` does.

    Parameters
    ----------
    rule : LearningRule
    settings : str
        Their names.
    above_0, below_1 : bool
        Whether 0 and 1 themselves are refused.
    """
    expected = "a number from 0 to 1"
    if above_0 or below_1:
        lowest, highest = "above" if above_0 else "of at least", "below" if below_1 else "at most"
        expected = f"a number {lowest} 0 and {highest} 1"

    def within(given: Any) -> bool:
        excluded = (above_0 and given == 0) or (below_1 and given == 1)
        return _is_number(given) and 0 <= given <= 1 and not excluded

    _check(rule, settings, expected, within)


def check_flags(rule: LearningRule, *settings: str) -> None:
    """Refuse settings that are neither true nor false, as `check_positive` does."""
    _check(rule, settings, "true or false", lambda given: isinstance(given, bool))


def check_sizes(rule: LearningRule, *settings: str) -> None:
    """Refuse settings that are no tuples of whole numbers above 0, as `check_positive` does."""
    _check(
        rule,
        settings,
        "a tuple of whole numbers above 0",
        lambda given: isinstance(given, tuple) and all(_is_count(n) and n > 0 for n in given),
    )


def check_series(rule: LearningRule, *settings: str) -> None:
    """Refuse settings that are no tuples of positive numbers by area, as `check_positive` does."""
    _check(
        rule,
        settings,
        "a tuple of one positive number or more, by area",
        lambda given: (
            isinstance(given, tuple)
            and len(given) > 0
            and all(_is_number(each) and each > 0 for each in given)
        ),
    )


def _check(
    rule: LearningRule, settings: Iterable[str], expected: str, valid: Callable[[Any], bool]
) -> None:
    for setting in settings:
        given = getattr(rule, setting)
        if not valid(given):
            raise ContractError(f"{rule.name}: {setting} is {given}, expected {expected}.")


def _is_count(given: Any) -> bool:
    return type(given) is not bool and isinstance(given, int)


def _is_number(given: Any) -> bool:
    return type(given) is not bool and isinstance(given, Real) and math.isfinite(given)
