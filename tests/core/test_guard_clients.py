"""The list of clients, and how one of them is disconnected: in memory, with identities that are given."""

from __future__ import annotations

from tests.support.guarded import ROOT, Fixture, user


class ClientTests(Fixture):
    """Who is connected."""

    def test_list(self) -> None:
        """Each client is listed with who it is, what it may do, and what it has done."""
        self.clock.advance(100)
        bob = self.qmp(user("bob"))
        self.clock.advance(2)
        person = self.hmp(user("alice"), level="observe")
        person.type("sw on")
        bob.execute("nothing")
        self.clock.advance(3)
        infos = {info["session"]: info for info in bob.execute("query-connections-monitor")["return"]}
        self.assertEqual(
            infos[bob.protocol.name],
            {
                "session": bob.protocol.name,
                "kind": "qmp",
                "endpoint": "",
                "identity": "uid:1001(bob) pid:1",
                "level": "operate",
                "since": {"seconds": 100, "microseconds": 0},
                "idle": 0.0,
                "requests": 3,
                "errors": 1,
                "events-queued": 0,
                "last-command": "query-connections-monitor",
            },
        )
        about = infos[person.protocol.name]
        self.assertEqual(
            {key: about[key] for key in ("kind", "level", "idle", "requests", "errors", "last-command")},
            {"kind": "hmp", "level": "observe", "idle": 3.0, "requests": 1, "errors": 1, "last-command": "switch"},
        )
        text = self.hmp(user("bob")).type("info clients")
        self.assertIn("uid:1000(alice) pid:1", text)
        self.assertIn("last command", text)
        self.assertIn("Permission denied", person.type("info clients"))

    def test_disconnect(self) -> None:
        """Admin ends another's connection; nobody else does; a client that is not there is an error."""
        bob, root = self.qmp(user("bob")), self.qmp(ROOT)
        self.assertIn("needs admin", bob.execute("client-disconnect", {"session": root.protocol.name})["error"]["desc"])
        self.assertEqual(root.execute("client-disconnect", {"session": bob.protocol.name}), {"return": {}})
        self.assertTrue(bob.closed)
        self.assertEqual(
            root.execute("client-disconnect", {"session": bob.protocol.name})["error"]["desc"],
            f"There is no client '{bob.protocol.name}'",
        )
        self.assertEqual(list(self.monitor.guard.clients), [root.protocol.name])

    def test_in_a_batch(self) -> None:
        """What has been answered reaches a client that is disconnected by a command behind it, by itself or another's rules."""
        root = self.qmp(ROOT)
        name = root.protocol.name
        root.send(
            {"execute": "query-lamp", "id": 1},
            {"execute": "client-disconnect", "arguments": {"session": name}, "id": 2},
        )
        self.clock.advance(0)
        self.assertEqual(root.received(), [{"return": True, "id": 1}, {"return": {}, "id": 2}])
        self.assertTrue(root.closed)
        rules = self.folder / "rules"
        rules.write_text("default = 'admin'")
        self.monitor.set_guard(access=rules)
        bob = self.qmp(user("bob"))
        rules.write_text("default = 'none'")
        bob.send({"execute": "query-lamp", "id": 1}, {"execute": "access-reload", "id": 2})
        lamp, denial = bob.received()[:2]
        self.assertEqual(lamp, {"return": True, "id": 1})
        self.assertIn("has no access here", denial["error"]["desc"])
        self.assertTrue(bob.closed)

    def test_oneself_at_the_prompt(self) -> None:
        """A person may end the own session so, too."""
        person = self.hmp(ROOT)
        person.type(f"client-disconnect {person.protocol.name}")
        self.clock.advance(0)
        self.assertTrue(person.closed)
