"""
C{twistd qmon}: its options, and the service they make.

Each group of options has a module, which says what they are, checks them, and serves what they ask for. L{OptionGroup} is what a
group has, and L{Options} is all of them. L{makeService} calls L{twisted_qmon.service}. A new option is a row of its group; a new
group is a module with a subclass of L{OptionGroup}, which is entered in L{Options}.
"""

from __future__ import annotations

from twisted_qmon._twistd.loading import no_collection

with no_collection():
    from twisted_qmon.tap.group import OptionGroup
    from twisted_qmon.tap.make import makeService
    from twisted_qmon.tap.options import Options

__all__ = ["OptionGroup", "Options", "makeService"]
