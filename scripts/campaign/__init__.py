"""A campaign against the kit: kills, damaged files, hostile archives, full disks, at random (`make campaign`).

Each kind of disturbance has a class with the seeded draw of its cases; see `harness.Kind`.
"""
