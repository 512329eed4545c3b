"""
What several tests share, without tests of its own: fakes (C{fake_qemu}, C{qmp_server}, C{hmp_fakes}), providers (C{balloon},
C{jobs}, C{qemu_commands}), servers that are wrong (C{wires}), generators of input (C{json_samples}, C{job_scenarios},
C{history}), and C{playing}, which plays the pages of the documentation.
"""
