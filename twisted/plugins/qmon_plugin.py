"""
What makes C{twistd qmon} and C{twist qmon} exist.

Every C{twistd} on the machine imports this file, whatever plugin it runs. So it imports nothing of twisted_qmon: the options
and the service are named, and imported only when C{qmon} is run.
"""

from twisted.application.service import ServiceMaker

qmon = ServiceMaker(
    "twisted-qmon",
    "twisted_qmon.tap",
    "A monitor that speaks QEMU's QMP and HMP.",
    "qmon",
)
