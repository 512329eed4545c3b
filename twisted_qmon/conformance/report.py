"""
What came out: one outcome for each thing that was looked at, as text and as JUnit's XML.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

__all__ = ["DIFFERS", "KNOWN", "OK", "SKIPPED", "Outcome", "Report"]

OK = "ok"
DIFFERS = "differs"
#: It differs in a way that is known of this kind of server.
KNOWN = "known"
#: It could not be looked at.
SKIPPED = "skipped"

# What XML can't say.
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Outcome:
    """
    What came out of one thing.

    :ivar group: what kind of thing it is: C{"session"}, C{"recorded"}, C{"arguments"} or C{"random"}
    :ivar name: its name
    :ivar status: L{OK}, L{DIFFERS}, L{KNOWN} or L{SKIPPED}
    :ivar text: what differs; why it was skipped
    :ivar known: the names of the known differences that were seen
    """

    group: str
    name: str
    status: str = OK
    text: str = ""
    known: tuple[str, ...] = ()


@dataclass
class Report:
    """
    All outcomes.

    :ivar server: what the server says it is
    :ivar kind: which kind of server it was taken for
    :ivar seed: of the random cases
    :ivar outcomes: in order
    """

    server: str
    kind: str
    seed: int
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def differences(self) -> list[Outcome]:
        """Those that differ in a way that is not known."""
        return [outcome for outcome in self.outcomes if outcome.status == DIFFERS]

    @property
    def known(self) -> list[str]:
        """The names of the known differences that were seen, each once."""
        return list(dict.fromkeys(name for outcome in self.outcomes for name in outcome.known))

    def lines(self, show: int) -> list[str]:
        """
        :param show: how many differences to show in full
        :return: the report for a person
        """
        found = self.differences
        lines = [f"{self.server} (compared as {self.kind}), seed {self.seed}"]
        for group in dict.fromkeys(outcome.group for outcome in self.outcomes):
            count = Counter(outcome.status for outcome in self.outcomes if outcome.group == group)
            counts = ", ".join(f"{count[status]} {status}" for status in (OK, DIFFERS, KNOWN, SKIPPED) if count[status])
            lines.append(f"{group:10} {counts}")
        for outcome in found[:show]:
            lines += ["", f"{outcome.group}: {outcome.name}", *(f"  {line}" for line in outcome.text.splitlines())]
        if len(found) > show:
            lines += ["", f"... and {len(found) - show} more"]
        if self.known:
            lines += ["", "known differences: " + "; ".join(self.known)]
        skipped = Counter(outcome.text for outcome in self.outcomes if outcome.status == SKIPPED)
        lines += [f"skipped: {text} ({count})" for text, count in skipped.items()]
        lines += ["", f"{len(self.outcomes)} looked at, {_count(len(found))}"]
        return lines

    def junit(self) -> bytes:
        """:return: the report as JUnit's XML"""
        root = ElementTree.Element("testsuites", name="qmon conformance")
        for group in dict.fromkeys(outcome.group for outcome in self.outcomes):
            outcomes = [outcome for outcome in self.outcomes if outcome.group == group]
            suite = ElementTree.SubElement(root, "testsuite", {"name": group, "errors": "0", **_counts(outcomes)})
            for outcome in outcomes:
                case = ElementTree.SubElement(suite, "testcase", classname=group, name=_xml(outcome.name))
                if outcome.status == DIFFERS:
                    failure = ElementTree.SubElement(case, "failure", message="the replies differ")
                    failure.text = _xml(outcome.text)
                elif outcome.status == SKIPPED:
                    ElementTree.SubElement(case, "skipped", message=_xml(outcome.text))
                elif outcome.status == KNOWN:
                    out = ElementTree.SubElement(case, "system-out")
                    out.text = _xml("known: " + "; ".join(outcome.known))
        text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        return text


def _count(number: int) -> str:
    return {0: "no differences", 1: "1 difference"}.get(number, f"{number} differences")


def _counts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    count = Counter(outcome.status for outcome in outcomes)
    return {"tests": str(len(outcomes)), "failures": str(count[DIFFERS]), "skipped": str(count[SKIPPED])}


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
