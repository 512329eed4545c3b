"""
What several tests share, without tests of its own: fakes (C{fake_qemu}, C{qmp_server}, C{hmp_fakes}), providers (C{balloon},
C{jobs}, C{qemu_commands}), generators of input (C{dialect_cases}, C{json_samples}, C{job_scenarios}, C{history}), and C{playing},
which plays the pages of the documentation.
"""
