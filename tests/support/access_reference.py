"""
Who may do what, decided a second time: slowly, and written from C{docs/access.md} alone.
"""

from __future__ import annotations

from typing import Any

LEVELS = ["none", "observe", "operate", "admin"]


def may(
    document: dict[str, Any], attributes: list[str], endpoint: str, cap: str, command: list[str], needed: str
) -> bool:
    """
    :param document: the rules, as TOML gives them
    :param attributes: what the caller is
    :param endpoint: type and first argument of the endpoint it came by
    :param cap: the level of that endpoint
    :param command: the command's name and its aliases
    :param needed: the command's level
    :return: whether the caller may run the command
    """
    said = []
    also = []
    never = []
    for grant in document.get("grant", []):
        if grant.get("endpoint", endpoint) == endpoint and is_granted(grant, attributes):
            if "level" in grant:
                said.append(grant["level"])
            also.extend(grant.get("also", []))
            never.extend(grant.get("never", []))
    level = document.get("default", "none")
    if said:
        level = max(said, key=LEVELS.index)
    if LEVELS.index(cap) < LEVELS.index(level):
        level = cap
    if is_named(command, never):
        return False
    if LEVELS.index(needed) <= LEVELS.index(level):
        return True
    return is_named(command, also) and LEVELS.index(needed) <= LEVELS.index(cap)


def is_granted(grant: dict[str, Any], attributes: list[str]) -> bool:
    """Whether one of the grant's patterns is for the caller."""
    for pattern in grant["who"]:
        for attribute in attributes:
            if matches_identity(pattern, attribute):
                return True
    return False


def is_named(command: list[str], patterns: list[str]) -> bool:
    """Whether one of the patterns is for the command, under any of its names."""
    for name in command:
        for pattern in patterns:
            if matches(pattern, name):
                return True
    return False


def matches_identity(pattern: str, attribute: str) -> bool:
    """A certificate's attributes are compared one by one; anything else as a whole."""
    if pattern[:5] == "cert:":
        return attribute[:5] == "cert:" and _each_matches(split(pattern[5:]), split(attribute[5:]))
    return matches(pattern, attribute)


def split(subject: str) -> list[str]:
    """The attributes of a subject: between the commas that have no backslash before them."""
    parts = [""]
    at = 0
    while at < len(subject):
        if subject[at] == "\\":
            parts[-1] += subject[at : at + 2]
            at += 2
        elif subject[at] == ",":
            parts.append("")
            at += 1
        else:
            parts[-1] += subject[at]
            at += 1
    return parts


def _each_matches(patterns: list[str], values: list[str]) -> bool:
    if not patterns or not values:
        return not patterns and not values
    if patterns[0] == "*" and any(_each_matches(patterns[1:], values[n:]) for n in range(1, len(values) + 1)):
        return True
    return matches(patterns[0], values[0]) and _each_matches(patterns[1:], values[1:])


def matches(pattern: str, text: str) -> bool:
    """C{*} is any characters, C{?} is one, C{[ab]} one of these, C{[!ab]} one that is none of these."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(matches(pattern[1:], text[n:]) for n in range(len(text) + 1))
    if not text:
        return False
    if pattern[0] == "?":
        return matches(pattern[1:], text[1:])
    close = pattern.find("]", 3 if pattern[1:2] == "!" else 2)
    if pattern[0] == "[" and close > 0:
        inside = pattern[1:close]
        found = text[0] not in inside[1:] if inside[0] == "!" else text[0] in inside
        return found and matches(pattern[close + 1 :], text[1:])
    return pattern[0] == text[0] and matches(pattern[1:], text[1:])
