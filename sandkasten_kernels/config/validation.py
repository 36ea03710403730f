"""Checks of a value against a trait, stricter than those of traitlets, with messages for an operator."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from traitlets import Bool, Dict, Enum, Float, HasTraits, Int, List, TraitError, TraitType, Unicode

from ..errors import ConfigError

__all__ = ["SECRETS", "Fault", "PositiveFloat", "expected", "fault", "in_words"]

SECRETS = frozenset({"api_key"})
LARGEST = 2**31 - 1

Fault: TypeAlias = tuple[tuple[str, ...], str]
"""The path inside a value, and a description of the fault there."""


@runtime_checkable
class FaultFinder(Protocol):
    """A trait that finds the place of a fault inside a value."""

    def find_fault(self, value: Any) -> Fault | None:
        """Return the first fault in `value`; None for a valid value."""


class PositiveFloat(Float[float, Any]):
    """A finite number above 0."""

    info_text = "a number above 0"

    def validate(self, obj: Any, value: Any) -> Any:
        value = super().validate(obj, value)
        if not (value > 0 and math.isfinite(value)):
            self.error(obj, value)
        return value


def fault(owner: type[HasTraits], trait: TraitType[Any, Any], value: Any) -> Fault | None:
    """Return why `value` is not valid for `trait` of `owner`; None where it is.

    The value of a secret is never in the description.
    """
    bearer = owner.__new__(owner)  # has the validators of the class; __init__ does not run, so nothing starts
    if isinstance(trait, FaultFinder):
        return trait.find_fault(value)
    found = _mismatch(bearer, trait, value)
    if found is None:
        try:
            trait._validate(bearer, value)  # noqa: SLF001  the only call that runs the validators of the class too
        except (TraitError, ConfigError) as error:
            message = " ".join(str(error).split()).removeprefix(f"{trait.name}: ")
            return (), "not a valid value" if trait.name in SECRETS else message
        return None
    inside, expected, got = found
    if trait.name in SECRETS:
        return inside, f"expected {expected} (the given value is not shown)"
    hint = " (put it in quotes)" if expected == "a string" and not isinstance(got, dict | list | None) else ""
    return inside, f"expected {expected}, got {in_words(got)}{hint}"


def _mismatch(bearer: HasTraits, trait: TraitType[Any, Any], value: Any) -> tuple[tuple[str, ...], str, Any] | None:
    """Return path, expected type and value of the first part of `value` that `trait` does not accept.

    Stricter than traitlets: a boolean is not a number, and numbers fit in 32 bits, so none is infinite.
    """
    if value is None and trait.allow_none:
        return None
    here: tuple[tuple[str, ...], str, Any] = ((), expected(trait), value)
    inner: Iterable[tuple[str, Any, Any]] = ()
    if isinstance(trait, Int | Float) and isinstance(value, int | float):
        if isinstance(value, int) and value > LARGEST and trait.max is None:
            return (), f"a number of at most {LARGEST}", value
        if isinstance(value, bool) or not -LARGEST <= value <= LARGEST:  # NaN is in no range either
            return here
    elif isinstance(trait, Bool) and not isinstance(value, bool):
        return here
    elif isinstance(trait, List) and isinstance(value, list):
        of_item = trait._trait  # noqa: SLF001  traitlets has no public name for the type of the elements
        inner = ((str(index), of_item, item) for index, item in enumerate(value))
    elif isinstance(trait, Dict) and isinstance(value, dict):
        of_value = trait._value_trait  # noqa: SLF001
        inner = ((str(key), of_value, item) for key, item in value.items())
    for key, inner_trait, item in inner:
        found = _mismatch(bearer, inner_trait, item) if isinstance(inner_trait, TraitType) else None
        if found is not None:
            return (key, *found[0]), found[1], found[2]
    validate = getattr(trait, "validate", None)
    try:
        if validate is not None:
            validate(bearer, value)
    except TraitError:
        return here
    return None


def expected(trait: TraitType[Any, Any]) -> str:
    """Return the values that a trait accepts, in words: ``a whole number of at least 1``."""
    if isinstance(trait, PositiveFloat):
        return PositiveFloat.info_text
    if isinstance(trait, Int | Float):
        kind = "a whole number" if isinstance(trait, Int) else "a number"
        least, most = (None if bound is None or math.isinf(bound) else bound for bound in (trait.min, trait.max))
        if least is not None and most is not None:
            return f"{kind} from {least} to {most}"
        return kind + (
            f" of at least {least}" if least is not None else f" of at most {most}" if most is not None else ""
        )
    if isinstance(trait, Enum):
        return " or ".join(str(value) for value in trait.values or ())
    kinds: dict[type[TraitType[Any, Any]], str] = {
        Bool: "true or false",
        Unicode: "a string",
        List: "a list",
        Dict: "a mapping of names to values",
    }
    return next((words for kind, words in kinds.items() if isinstance(trait, kind)), trait.info())


def in_words(value: Any) -> str:
    """Return `value` for an error message: one line of limited length."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() if abs(value) > 2**63:
            return "a huge number"
        case str():
            return repr(value if len(value) <= 60 else value[:60] + "...")
        case dict():
            return "a mapping"
        case list():
            texts = [item for item in value if isinstance(item, str)]
            return in_words(", ".join(texts)) if texts and len(texts) == len(value) else "a list"
        case _:
            return str(value)
