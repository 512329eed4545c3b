"""Log events from the watchdog's thread: L{twisted_qmon.watchdog.hand_over} and L{twisted_qmon._log_publisher}."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogEvent, Logger, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.main_reactor import MainReactor
from twisted_qmon._log_publisher import diverted, publish
from twisted_qmon.watchdog.hand_over import MAX_HANDED_OVER, HandOver


class HandOverTests(SynchronousTestCase):
    """Events are published when the main reactor runs, in their order."""

    def setUp(self) -> None:
        self.main = MainReactor()
        self.published: list[LogEvent] = []
        self.hand_over = HandOver(self.main, self.published.append)

    def test_order(self) -> None:
        """Nothing is published before the reactor runs; then everything is, once, with one call."""
        for number in range(3):
            self.hand_over({"number": number})
        self.assertEqual((self.published, len(self.main.from_threads)), ([], 1))
        self.main.run()
        self.assertEqual([event["number"] for event in self.published], [0, 1, 2])
        self.hand_over({"number": 3})
        self.main.run()
        self.assertEqual([event["number"] for event in self.published], [0, 1, 2, 3])

    def test_limit(self) -> None:
        """As many as may wait are kept, the latest, and how many are lost is logged, once."""
        log = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        for number in range(MAX_HANDED_OVER + 7):
            self.hand_over({"number": number})
        self.main.run()
        self.assertEqual([event["number"] for event in self.published], list(range(7, MAX_HANDED_OVER + 7)))
        self.hand_over({"number": 0})
        self.main.run()
        self.assertEqual([event["count"] for event in log if "are lost" in event.get("log_format", "")], [7])
        self.assertEqual(self.hand_over.lost, 7)

    def test_eventWhilePublishing(self) -> None:
        """One that comes while others are published is published too."""

        def publish(event: LogEvent) -> None:
            self.published.append(event)
            if event["number"] == 0:
                hand_over({"number": 1})

        hand_over = HandOver(self.main, publish)
        hand_over({"number": 0})
        self.main.run()
        self.main.run()
        self.assertEqual([event["number"] for event in self.published], [0, 1])

    def test_diverted(self) -> None:
        """In a thread that must not log, this package's loggers go elsewhere, until it ends."""
        log = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        logger = Logger(namespace="tests", observer=publish)
        with diverted(self.hand_over):
            logger.info("inside")
        logger.info("outside")
        self.assertEqual([event["log_format"] for event in log], ["outside"])
        self.main.run()
        self.assertEqual([event["log_format"] for event in self.published], ["inside"])
